"""Terminal states of a directed walk: metastable states that walks do not leave for later ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scvi_downstream.pipelines.trajectory.gpcca import crisp_memberships, leading_schur
from scvi_downstream.pipelines.trajectory.options import FateOptions
from scvi_downstream.runtime.errors import InputError

N_CORE_CELLS = 30  # Cells with the highest membership that stand for a state, as in CellRank.
# Of these cells, how many must be in no other state more than in this one for it to be a state, as in CellRank.
OWN_SHARE = 0.2
# Eigenvalue from which a mode counts as a state: CellRank's threshold of stability, a mean stay of 25 steps.
METASTABLE = 0.96
MAX_STATES = 12  # States that are searched; the eigensolver is asked for two more.
# Four mean stays in a state that is barely metastable: time to leave it for good if there is somewhere to go.
N_STEPS = 100
LONG_RUN = 1000  # Steps after which a walk through one metastable state has forgotten where it began.
MAJORITY = 0.5  # Share of the walks from a terminal state that may leave it for later cells.


@dataclass(frozen=True, eq=False)
class TerminalStates:
    """Terminal states among metastable ones: positions of the cells of each terminal state in ``members``, by name.

    ``table`` has one row a metastable state, earliest first: the ``cluster`` that most of its cells are in,
    ``terminal``, ``stability`` (probability to stay, of one step), ``share_moving_on`` (of walks of 100 steps, how
    many end later than all its cells), median ``pseudotime``, ``n_cells``. ``n_groups`` counts the groups of cells
    among which states were searched, if not among the cells themselves.
    """

    members: dict[str, np.ndarray]
    table: pd.DataFrame
    n_groups: int | None


def find_terminal_states(
    transitions: sparse.csr_matrix, time: np.ndarray, clusters: np.ndarray, options: FateOptions, seed: int
) -> TerminalStates:
    """Metastable states by GPCCA, and which of them are terminal.

    There are as many metastable states as eigenvalues of at least 0.96. Stability alone does not tell an end from a
    bottleneck or from the start. So walks of 100 steps are sent off from each state: it is terminal if no more than
    half of them end later in pseudotime than all of its 30 cells. Of several terminal states in one cluster the one
    that the fewest walks leave is kept: clusters are the resolution at which states are told apart.

    Parameters
    ----------
    transitions, time, clusters
        ``(n_cells, n_cells)``, rows sum to 1; ``(n_cells,)`` pseudotime and names of clusters.
    options
        The number of terminal states (``n_terminal_states``), those that the fewest walks leave; by the rule above when
        left out. Above ``max_cells``, states are searched on the walk between as many groups of neighbouring cells.
    seed
        Seed of the eigensolver and of the groups of cells.

    Raises
    ------
    InputError
        More than 11 terminal states are asked for, or there are fewer metastable states in different clusters.

    References
    ----------
    Reuter et al. (2018), doi:10.1021/acs.jctc.8b00079; Reuter et al. (2019), doi:10.1063/1.5064530.
    """
    n_states, max_cells = options.n_terminal_states, options.max_cells
    if n_states is not None and n_states >= MAX_STATES:
        raise InputError(
            f"trajectory.fates.n_terminal_states is {n_states}; at most {MAX_STATES - 1} are searched, or name them by "
            "trajectory.fates.terminal_clusters"
        )
    groups = None
    if len(time) > max_cells:
        groups = _group_neighbors(transitions, max_cells, seed)
        walk, when = _lump(transitions, groups), np.bincount(groups, weights=time) / np.bincount(groups)
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
    names = [str(pd.Series(clusters[core]).mode()[0]) for core in cores]
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
    terminal = np.isin(np.arange(len(cores)), chosen)
    table = tabulate_states(names, cores, time, terminal=terminal, stability=stability, moving_on=moving_on)
    table = table.sort_values("pseudotime", kind="stable", ignore_index=True)
    members = {names[i]: np.sort(cores[i]) for i in sorted(chosen, key=lambda i: _by_number(names[i]))}
    return TerminalStates(members, table, None if groups is None else max_cells)


def tabulate_states(
    names: list[str],
    cores: list[np.ndarray],
    time: np.ndarray,
    *,
    terminal: np.ndarray | bool,
    stability: np.ndarray | float = np.nan,
    moving_on: np.ndarray | float = np.nan,
) -> pd.DataFrame:
    """The table of :class:`TerminalStates`, in the order of the states given."""
    return pd.DataFrame(
        {
            "cluster": names,
            "terminal": terminal,
            "stability": stability,
            "share_moving_on": moving_on,
            "pseudotime": [np.median(time[core]) for core in cores],
            "n_cells": list(map(len, cores)),
        }
    )


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (2**31, name)


def share_moving_on(transitions: sparse.csr_matrix, cores: list[np.ndarray], time: np.ndarray) -> np.ndarray:
    """Share of walks of 100 steps from each state that end later than all its cells.

    ``cores`` are positions of the cells of each state, ``time`` is the ``(n_cells,)`` pseudotime.
    """
    at = np.zeros((transitions.shape[0], len(cores)))
    for i, core in enumerate(cores):
        at[core, i] = 1 / len(core)
    backwards = sparse.csr_matrix(transitions.T)
    for _ in range(N_STEPS):
        at = backwards @ at
    return np.array([at[time > time[core].max(), i].sum() for i, core in enumerate(cores)])


def macrostates(
    transitions: sparse.csr_matrix,
    vectors: np.ndarray,
    matrix: np.ndarray,
    eigenvalues: np.ndarray,
    n_states: int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Metastable states on a given Schur decomposition: ``n_states``, or as many fewer as have cells of their own.

    Positions of the 30 cells that stand for each state, and the states' probabilities to stay. ``vectors``,
    ``matrix`` and ``eigenvalues`` are those of :func:`.gpcca.leading_schur`.
    """
    for m in range(n_states, 1, -1):
        if eigenvalues.imag[m - 1] > 0:
            continue  # a complex pair would be parted
        memberships, between = crisp_memberships(vectors[:, :m], matrix[:m, :m])
        n_core = min(N_CORE_CELLS, len(vectors) // (2 * m))
        cores = _cores(memberships, n_core)
        if min(map(len, cores)) >= max(int(OWN_SHARE * n_core), 1):
            return cores, np.diag(between)
    return _single_state(transitions)


def _cores(memberships: np.ndarray, n_core: int) -> list[np.ndarray]:
    """Positions of the ``n_core`` foremost cells of each state; one of several goes where its membership is highest."""
    top = np.argsort(-memberships, axis=0, kind="stable")[:n_core]
    chosen = np.zeros(memberships.shape)
    np.put_along_axis(chosen, top, np.take_along_axis(memberships, top, axis=0), axis=0)
    state = np.where(chosen.any(axis=1), chosen.argmax(axis=1), -1)
    return [np.flatnonzero(state == i) for i in range(memberships.shape[1])]


def _single_state(transitions: sparse.csr_matrix) -> tuple[list[np.ndarray], np.ndarray]:
    """The cells where the walk is in the long run."""
    n_cells = transitions.shape[0]
    occupied = np.full(n_cells, 1 / n_cells)
    for _ in range(LONG_RUN):
        occupied = transitions.T @ occupied
    core = np.sort(np.argsort(-occupied, kind="stable")[: min(N_CORE_CELLS, n_cells // 2)])
    return [core], np.ones(1)


def _group_neighbors(transitions: sparse.csr_matrix, n_groups: int, seed: int) -> np.ndarray:
    """Group of each cell, ``(n_cells,)``: that of the nearest seed cell over the graph; seeds are drawn at random."""
    n_cells = transitions.shape[0]
    seeds = np.sort(np.random.default_rng(seed).choice(n_cells, n_groups, replace=False))
    lengths = transitions.maximum(transitions.T).tocsr()
    lengths.data = 1 - np.log(np.clip(lengths.data, 1e-12, 1))
    *_, nearest = csgraph.dijkstra(
        lengths, directed=False, indices=seeds, min_only=True, return_predecessors=True
    )
    return np.searchsorted(seeds, nearest)


def _lump(transitions: sparse.csr_matrix, groups: np.ndarray) -> sparse.csr_matrix:
    """The walk between groups, from a random cell of each."""
    n_cells, n_groups = len(groups), int(groups.max()) + 1
    membership = sparse.csr_matrix((np.ones(n_cells), (np.arange(n_cells), groups)), (n_cells, n_groups))
    sizes = np.bincount(groups, minlength=n_groups)
    return sparse.csr_matrix(sparse.diags(1 / sizes) @ (membership.T @ transitions @ membership))
