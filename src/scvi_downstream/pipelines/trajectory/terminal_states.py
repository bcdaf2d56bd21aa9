"""Terminal states of a directed walk: metastable states that walks do not leave for later ones."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.errors import InputError

from .cell_groups import group_means, group_neighbors, lump
from .macrostates import leading_schur, macrostates

METASTABLE = 0.96
"""Eigenvalue from which a mode counts as a state: CellRank's threshold of stability, a mean stay of 25 steps."""
MAX_STATES = 12
N_STEPS = 100
"""Four mean stays in a state that is barely metastable: time to leave it for good if there is somewhere to go."""
MAJORITY = 0.5
COLUMNS = ["cluster", "terminal", "stability", "share_moving_on", "pseudotime", "n_cells"]


@dataclass(frozen=True, eq=False)
class TerminalStates:
    """Terminal states among metastable ones.

    Attributes
    ----------
    members
        Positions of the cells of each terminal state, by name.
    table
        One row a metastable state, earliest first: the ``cluster`` that most of its cells are in, ``terminal``,
        ``stability`` (probability to stay, of one step), ``share_moving_on`` (of walks of 100 steps, how many end later
        than all its cells), median ``pseudotime``, ``n_cells``.
    n_groups
        Number of groups of cells among which states were searched, if not among the cells themselves.
    """

    members: dict[str, np.ndarray]
    table: pd.DataFrame
    n_groups: int | None

    @classmethod
    def of(
        cls, members: dict[str, np.ndarray], rows: list[tuple[Any, ...]], n_groups: int | None
    ) -> TerminalStates:
        """From rows of the table."""
        return cls(members, pd.DataFrame(rows, columns=COLUMNS), n_groups)


@contextmanager
def quiet_cellrank() -> Iterator[None]:
    """Silence what CellRank and pyGPCCA log and warn of, and put everything back afterwards."""
    import cellrank  # sets the level of its logger, so it comes first

    own, root = logging.getLogger(cellrank.__name__), logging.getLogger()
    level = own.level
    own.setLevel(logging.CRITICAL)
    root.addFilter(_not_of_pygpcca)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        own.setLevel(level)
        root.removeFilter(_not_of_pygpcca)


def _not_of_pygpcca(record: logging.LogRecord) -> bool:
    return "pygpcca" not in record.pathname  # it logs to the root logger


def find_terminal_states(
    transitions: sparse.csr_matrix,
    time: np.ndarray,
    clusters: np.ndarray,
    *,
    n_states: int | None = None,
    max_cells: int = 20_000,
    seed: int = 0,
) -> TerminalStates:
    """Metastable states by GPCCA, and which of them are terminal.

    There are as many metastable states as eigenvalues of at least 0.96. Stability alone does not tell an end from a
    bottleneck or from the start. So walks of 100 steps are sent off from each state: it is terminal if no more than
    half of them end later in pseudotime than all of its 30 cells. Of several terminal states in one cluster the one
    that the fewest walks leave is kept: clusters are the resolution at which states are told apart.

    Parameters
    ----------
    transitions
        ``(n_cells, n_cells)``, rows sum to 1.
    time
        ``(n_cells,)`` pseudotime.
    clusters
        ``(n_cells,)`` names.
    n_states
        The number of terminal states, those that the fewest walks leave; by the rule above when left out.
    max_cells
        Above it, states are searched on the walk between as many groups of neighbouring cells.
    seed
        Of the eigensolver and of the groups.

    Raises
    ------
    InputError
        ``n_states`` is more than 11, or there are fewer metastable states in different clusters.

    References
    ----------
    Reuter et al. (2018), doi:10.1021/acs.jctc.8b00079; Reuter et al. (2019), doi:10.1063/1.5064530.
    """
    if n_states is not None and n_states >= MAX_STATES:
        raise InputError(
            f"trajectory.fates.n_terminal_states is {n_states}; at most {MAX_STATES - 1} are searched, or name them by "
            "trajectory.fates.terminal_clusters"
        )
    groups = None
    if len(time) > max_cells:
        groups = group_neighbors(transitions, max_cells, seed)
        walk, when = lump(transitions, groups), group_means(time, groups)
    else:
        walk, when = transitions, time
    vectors, matrix, eigenvalues = leading_schur(walk, min(MAX_STATES + 2, walk.shape[0] - 2), seed)
    wanted = int((eigenvalues.real >= METASTABLE).sum())
    if n_states is not None:
        wanted = max(wanted, n_states + 1)
    cores, stability = macrostates(walk, vectors, matrix, eigenvalues, min(wanted, MAX_STATES))
    moving_on = share_moving_on(walk, cores, when)
    if groups is not None:
        cores = [np.flatnonzero(np.isin(groups, core)) for core in cores]
    names = [_dominant(clusters[core]) for core in cores]
    best: dict[str, int] = {}
    for i in np.argsort(moving_on, kind="stable"):
        best.setdefault(names[i], int(i))
    if n_states is None:
        chosen = [i for i in best.values() if moving_on[i] <= MAJORITY] or [int(np.argmin(moving_on))]
    else:
        chosen = list(best.values())[:n_states]
        if len(chosen) < n_states:
            raise InputError(
                f"trajectory.fates.n_terminal_states is {n_states}, but the cells form only {len(chosen)} metastable "
                f"states in different clusters; ask for at most {len(chosen)}, or use finer clusters"
            )
    middle = np.array([np.median(time[core]) for core in cores])
    rows = [
        (names[i], i in chosen, stability[i], moving_on[i], middle[i], len(cores[i]))
        for i in np.argsort(middle, kind="stable").tolist()
    ]
    members = {names[i]: np.sort(cores[i]) for i in sorted(chosen, key=lambda i: _natural(names[i]))}
    return TerminalStates.of(members, rows, None if groups is None else int(groups.max()) + 1)


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (2**31, name)


def _dominant(names: np.ndarray) -> str:
    return str(pd.Series(names).value_counts(sort=False).sort_index().idxmax())


def share_moving_on(transitions: sparse.csr_matrix, cores: list[np.ndarray], time: np.ndarray) -> np.ndarray:
    """Share of walks of 100 steps from each state that end later than all its cells.

    Parameters
    ----------
    transitions
        ``(n_cells, n_cells)``, rows sum to 1.
    cores
        Positions of the cells of each state.
    time
        ``(n_cells,)`` pseudotime.
    """
    at = np.zeros((transitions.shape[0], len(cores)))
    for i, core in enumerate(cores):
        at[core, i] = 1 / len(core)
    backwards = sparse.csr_matrix(transitions.T)
    for _ in range(N_STEPS):
        at = backwards @ at
    return np.array([at[time > time[core].max(), i].sum() for i, core in enumerate(cores)])
