"""Fates: the states in which a walk along pseudotime ends, and each cell's probability to end in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.trajectory.options import ORDER_COLUMNS, FateOptions, TrajectoryOptions
from scvi_downstream.pipelines.trajectory.terminal_states import (
    MAJORITY,
    N_CORE_CELLS,
    TerminalStates,
    find_terminal_states,
    tabulate_states,
)
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.correlation import fisher_interval, fisher_z
from scvi_downstream.statistics.testing import benjamini_hochberg

PSEUDOTIME_WEIGHT = 0.8  # Weight of the pseudotime kernel; the rest is the undirected connectivity kernel.
# Of a cell's neighbours, whom the pseudotime kernel keeps though they are earlier: CellRank's defaults.
NEAREST_SHARE, MAX_NEAREST = 0.3, 30
# Of the walks from a cell, the share that no terminal state may account for: an error of the solver.
LOST = 1e-3
MIN_CELLS = 50  # With a pseudotime: fewer hold no metastable states of some thirty cells.
DECIDED = 0.7  # Probability of a fate from which a cell is not undecided.
MIN_DRIVER_CELLS = 10  # With a known fate: a correlation of fewer says nothing.
PREFIX = "fate_"  # Before the name of a terminal state, in the columns by cell.


def map_fates(
    counts: AnnData,
    neighbors: NeighborsGraph,
    landmarks: pd.DataFrame,
    orders: pd.DataFrame,
    options: TrajectoryOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Terminal states and the probability to reach each, as CellRank defines them.

    Returns
    -------
    ``fate_<state>``, ``fate_entropy`` and ``terminal_state`` by cell; driver genes; states and sentences.
    """
    pseudotime = orders[ORDER_COLUMNS[options.fates.pseudotime]].loc[neighbors.cells]
    clusters = landmarks["landmark"].loc[neighbors.cells]
    found = compute_fates(neighbors, pseudotime, clusters, options.fates, seed)
    facts = {"states": found.states.to_dict(orient="records"), "sentences": found.sentences}
    return found.cells, fate_drivers(counts, found.cells), facts


def fate_columns(table: pd.DataFrame) -> list[str]:
    """Columns with the probability of a fate, ``fate_<terminal state>``; those of no state (entropy) are left out."""
    return [name for name in table if name.startswith(PREFIX) and name != f"{PREFIX}entropy"]


@dataclass(frozen=True, eq=False)
class Fates:
    """Where cells go.

    ``cells`` has by cell: ``fate_<terminal state>`` in [0, 1], rows sum to 1; ``fate_entropy``, 0 where the fate is
    certain and 1 where all are equally likely; ``terminal_state``, the state that a cell is part of, if any. NaN for
    cells that cannot be reached from the start. ``states`` is the table of :class:`.terminal_states.TerminalStates`,
    and ``sentences`` say what was found.
    """

    cells: pd.DataFrame
    states: pd.DataFrame
    sentences: list[str]


def compute_fates(
    neighbors: NeighborsGraph, pseudotime: pd.Series, clusters: pd.Series, options: FateOptions, seed: int = 0
) -> Fates:
    """Fate probabilities from a pseudotime, as CellRank defines them.

    Moves against pseudotime are taken out of the graph (except to the nearest neighbours, which keep it connected), and
    a fifth of the undirected graph is mixed in. Terminal states are metastable states of this Markov chain that most
    walks do not leave for later ones (:func:`.terminal_states.find_terminal_states`); a fate is the probability to be
    absorbed there first.

    Parameters
    ----------
    neighbors, pseudotime, clusters
        kNN graph of ``n_cells`` cells and, ``(n_cells,)`` in the same order, their pseudotime, without which cells
        are left out, and the clusters after which terminal states are named.
    options
        Clusters in whose latest cells walks end (``terminal_clusters``), instead of states that are searched; the
        number of terminal states (``n_terminal_states``), found automatically when left out; and the number of cells
        above which metastable states are searched among as many groups of neighbouring cells (``max_cells``): fates are
        still computed for every cell, on the whole graph.
    seed
        Seed of the eigensolver and of the groups of cells.

    Raises
    ------
    InputError
        Fewer than 50 connected cells have pseudotime, a terminal cluster does not exist or has no pseudotime, or there
        are not that many terminal states.

    References
    ----------
    Weiler et al. (2024), doi:10.1038/s41592-024-02303-9; Lange et al. (2022), doi:10.1038/s41592-021-01346-6; GPCCA:
    Reuter et al. (2019), doi:10.1063/1.5064530.
    """
    time = pseudotime.to_numpy(dtype=np.float64)
    ordered, n_apart = _connected_to_first(neighbors, time)
    n_ordered = int(ordered.sum())
    if n_ordered < MIN_CELLS:
        raise InputError(
            f"{n_ordered} connected cells have a pseudotime, and fates need at least {MIN_CELLS}; choose another start"
        )
    groups, when = clusters[ordered].astype(str).to_numpy(dtype=object), time[ordered]
    transitions = directed_walk(neighbors, ordered, when)
    if options.terminal_clusters:
        found = _given_states(options.terminal_clusters, groups, when)
    else:
        found = find_terminal_states(transitions, when, groups, options, seed)
    probabilities = absorb(transitions, when, found.members)
    sentences = [_describe_states(found, probabilities)]
    if found.n_groups is not None:
        sentences.append(
            f"terminal states were searched among {found.n_groups:,} groups of neighbouring cells, as there are "
            f"{n_ordered:,} cells (more than {options.max_cells:,}); fates were computed for every cell"
        )
    if n_apart:
        sentences.append(
            f"{n_apart:,} cells with a pseudotime are not connected to the earliest one: they have no fate"
        )
    return Fates(_by_cell(probabilities, found.members, ordered, neighbors.cells), found.table, sentences)


def _connected_to_first(neighbors: NeighborsGraph, time: np.ndarray) -> tuple[np.ndarray, int]:
    """Mask of the cells with pseudotime that are connected to the earliest one, and the number of the others."""
    timed = np.flatnonzero(np.isfinite(time))
    mask = np.zeros(len(time), dtype=bool)
    if not len(timed):
        return mask, 0
    graph = sparse.csr_matrix(neighbors.connectivities)[timed][:, timed]
    _, parts = csgraph.connected_components(graph, directed=False)
    inside = timed[parts == parts[time[timed].argmin()]]
    mask[inside] = True
    return mask, len(timed) - len(inside)


def directed_walk(neighbors: NeighborsGraph, ordered: np.ndarray, time: np.ndarray) -> sparse.csr_matrix:
    """Transition matrix of CellRank's pseudotime kernel (0.8) and connectivity kernel (0.2), rows sum to 1.

    The first takes edges to earlier cells out of the graph, except those to the nearest 30 % of a cell's neighbours
    (30 at most), which keep it connected. The second divides each edge by the density at both of its ends.
    ``ordered`` is the ``(n_cells,)`` mask of those with pseudotime, ``time`` their ``(n_ordered,)`` pseudotime.

    References
    ----------
    Lange et al. (2022), doi:10.1038/s41592-021-01346-6; hard threshold: Setty et al. (2019),
    doi:10.1038/s41587-019-0068-4.
    """
    edges = sparse.csr_matrix(neighbors.connectivities, dtype=np.float64)[ordered][:, ordered].tocoo()
    n_edges = np.bincount(edges.row, minlength=len(time))
    nearest = np.lexsort((-edges.col, -edges.data, edges.row))
    rank = np.empty(len(nearest), dtype=np.int64)
    rank[nearest] = np.arange(len(nearest)) - np.repeat(np.cumsum(n_edges) - n_edges, n_edges)
    near = rank < np.minimum(np.floor(NEAREST_SHARE * n_edges), MAX_NEAREST)[edges.row]
    density = np.bincount(edges.col, weights=edges.data, minlength=len(time))
    along = edges.data * (near | (time[edges.row] <= time[edges.col]))
    both = edges.data / density[edges.row] / density[edges.col]
    walk = PSEUDOTIME_WEIGHT * _shares(along, edges.row) + (1 - PSEUDOTIME_WEIGHT) * _shares(both, edges.row)
    # A cell without an edge of the first kind moves by the second alone.
    return sparse.csr_matrix((_shares(walk, edges.row), (edges.row, edges.col)), edges.shape)


def _shares(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Weights of edges over their sum by row; 0 where it is 0."""
    sums = np.bincount(rows, weights=weights)[rows]
    return np.divide(weights, sums, out=np.zeros(len(weights)), where=sums > 0)


def _given_states(names: tuple[str, ...], groups: np.ndarray, time: np.ndarray) -> TerminalStates:
    """The latest cells of each named cluster."""
    members = {}
    for name in names:
        cells = np.flatnonzero(groups == name)
        if not len(cells):
            raise InputError(
                f"trajectory.fates.terminal_clusters: no cell of cluster '{name}' has a pseudotime"
                f"{closest(name, sorted(set(groups)))}"
            )
        members[name] = np.sort(cells[np.argsort(-time[cells], kind="stable")[:N_CORE_CELLS]])
    table = tabulate_states(list(members), list(members.values()), time, terminal=True)
    return TerminalStates(members, table, n_groups=None)


def absorb(transitions: sparse.csr_matrix, time: np.ndarray, members: dict[str, np.ndarray]) -> pd.DataFrame:
    """Probability of a walk from each cell to enter each terminal state first.

    It is the mean of the probabilities of the cells that the next step may lead to: a sparse linear system, solved to a
    relative residual of 1e-12. Steps forward in pseudotime alone can be solved for at once, and precondition it. GMRES
    stalls at its restarts where few edges lead out of a region, and GCROT(m,k) keeps what it would forget.

    ``transitions`` are ``(n_cells, n_cells)``, rows sum to 1, ``time`` the ``(n_cells,)`` pseudotime, ``members``
    positions of the cells of each terminal state.

    Returns
    -------
    Cells, by position × terminal states, rows sum to 1.

    Raises
    ------
    InputError
        Some cells are all but cut off from the terminal states.
    """
    from scipy.sparse.linalg import LinearOperator, gcrotmk, splu

    names = list(members)
    values = np.ones((len(time), len(names)))
    if len(names) == 1:
        return pd.DataFrame(values, columns=names)
    ends = np.concatenate(list(members.values()))
    order = np.argsort(time, kind="stable")
    passing = order[~np.isin(order, ends)]
    leaving = transitions[passing]
    system = sparse.csc_matrix(sparse.eye(len(passing)) - leaving[:, passing])
    forward = splu(sparse.triu(system, format="csc"), permc_spec="NATURAL")
    at_once = LinearOperator(system.shape, forward.solve)
    progress = Progress(f"Fate probabilities of {len(time):,} cells", len(names))
    for i, cells in enumerate(members.values()):
        values[ends, i] = np.isin(ends, cells)
        entering = np.asarray(leaving[:, cells].sum(axis=1)).ravel()
        values[passing, i], _ = gcrotmk(system, entering, M=at_once, rtol=1e-12)
        progress.advance()
    totals = values.sum(axis=1, keepdims=True)
    cut_off = int((np.abs(totals - 1) > LOST).sum())
    if cut_off:
        raise InputError(
            f"walks from {cut_off:,} cells all but never reach a terminal state: their graph is barely connected; "
            "leave these cells out, or name ends among them by trajectory.fates.terminal_clusters"
        )
    return pd.DataFrame(np.clip(values, 0, 1) / totals, columns=names)


def _by_cell(
    probabilities: pd.DataFrame, members: dict[str, np.ndarray], ordered: np.ndarray, cells: pd.Index
) -> pd.DataFrame:
    names = list(probabilities.columns)
    values = np.full((len(cells), len(names)), np.nan)
    values[ordered] = probabilities.to_numpy()
    table = pd.DataFrame(values, index=pd.Index(cells, name="cell"), columns=names).add_prefix(PREFIX)
    logs = np.log(np.where(values > 0, values, 1.0))
    entropy = -(values * logs).sum(axis=1) / (np.log(len(names)) if len(names) > 1 else 1.0)
    states = np.full(len(cells), None, dtype=object)
    for name in names:
        states[np.flatnonzero(ordered)[members[name]]] = name
    return table.assign(fate_entropy=np.clip(entropy, 0, 1), terminal_state=pd.Categorical(states, names))


def _describe_states(found: TerminalStates, probabilities: pd.DataFrame) -> str:
    names = list(probabilities.columns)
    if len(names) > 1:
        undecided = float((probabilities.max(axis=1) < DECIDED).mean())
        return (
            f"{len(names)} terminal states are found, in clusters {', '.join(names)}; {undecided:.0%} of the cells are "
            f"undecided (no fate reaches a probability of {DECIDED})"
        )
    if found.table["share_moving_on"].min() > MAJORITY:
        return (
            f"no state keeps the walks that reach it, so cluster {names[0]}, which loses the fewest, stands for "
            "the end; a cycle or a short trajectory looks like this, and fate probabilities say nothing here"
        )
    return (
        f"one terminal state is found (in cluster {names[0]}): every cell has the same fate, so fate probabilities "
        "say nothing here"
    )


def fate_drivers(counts: AnnData, fates: pd.DataFrame) -> pd.DataFrame:
    """Correlation of log-normalised expression with the probability of each fate, as CellRank computes it.

    Cells are treated as independent, and fates were learnt from the same counts: p-values are too small, and genes
    are to be ranked by their correlation. ``counts`` are raw; ``fate_<terminal state>`` by cell is NaN for cells that
    cannot be reached, which are left out.

    Returns
    -------
    One row a terminal state and gene: ``terminal_state``, ``gene``, ``correlation`` (Pearson), ``ci_lower``,
    ``ci_upper`` (95 %, Fisher's transform), ``p`` (two-sided), ``p_adjusted`` (Benjamini–Hochberg within the state) and
    ``rank`` (1: the largest correlation); by state and rank. NaN for genes that do not vary. Empty where only one fate
    exists, as nothing varies with it.

    References
    ----------
    Lange et al. (2022), doi:10.1038/s41592-021-01346-6.
    """
    names = fate_columns(fates)
    probabilities = fates.reindex(counts.obs_names)[names].to_numpy(dtype=np.float64)
    known = np.isfinite(probabilities).all(axis=1)
    n_cells = int(known.sum())
    if len(names) < 2 or n_cells < MIN_DRIVER_CELLS:
        return _rank_drivers("", np.empty(0), MIN_DRIVER_CELLS, counts.var_names[:0])
    expression = log_normalize(counts)[known].astype(np.float64)
    correlation = _correlate(expression, probabilities[known])
    tables = [
        _rank_drivers(name.removeprefix(PREFIX), correlation[:, i], n_cells, counts.var_names)
        for i, name in enumerate(names)
    ]
    return pd.concat(tables, ignore_index=True)


def _correlate(expression: sparse.csr_matrix, probabilities: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each column with each other one, ``(n_genes, n_fates)``; NaN where one is constant."""
    n_cells = expression.shape[0]
    means = np.asarray(expression.mean(axis=0)).ravel()
    squares = np.asarray(expression.multiply(expression).sum(axis=0)).ravel() - n_cells * means**2
    centred = probabilities - probabilities.mean(axis=0)
    products = expression.T @ centred
    scale = np.sqrt(np.outer(np.maximum(squares, 0), np.square(centred).sum(axis=0)))
    # A gene with the same value in all cells has a sum of squares of rounding errors.
    varies = (squares > 1e-10 * n_cells * np.maximum(means**2, 1e-12))[:, None] & (scale > 0)
    return np.divide(products, scale, out=np.full(scale.shape, np.nan), where=varies)


def _rank_drivers(state: str, correlation: np.ndarray, n_cells: int, genes: pd.Index) -> pd.DataFrame:
    from scipy import stats

    error = 1 / np.sqrt(n_cells - 3)
    low, high = fisher_interval(correlation, error)
    p = 2 * stats.norm.sf(np.abs(fisher_z(correlation)) / error)
    table = pd.DataFrame(
        {
            "terminal_state": state,
            "gene": genes.astype(str),
            "correlation": correlation,
            "ci_lower": low,
            "ci_upper": high,
            "p": p,
            "p_adjusted": benjamini_hochberg(p),
        }
    ).sort_values("correlation", ascending=False, kind="stable", na_position="last")
    return table.assign(rank=np.arange(1, len(table) + 1))
