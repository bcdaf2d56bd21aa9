"""Where a trajectory starts: what the user names, as cells; what they reach; and which of them is the root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import MISSING_TEXTS, as_categories
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.trajectory.lineages import take_landmarks
from scvi_downstream.pipelines.trajectory.options import START_OPTIONS, TrajectoryOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.slow_types import AnnData

START_SHARE = 0.03  # Share of the cells that a marker gene or known time chooses.
MIN_START_CELLS = 10  # Start cells by a marker gene or by known time: fewer would rest on single cells.
MIN_TIMES = 3  # Two times tell early from late, and give no order.
# Means over neighbourhoods that a marker gene's counts are put through: the counts of single cells are noise.
SMOOTHING_STEPS = 2
# Permutations of a marker gene's counts over the cells; the smallest p-value that can be told is 0.01.
N_PERMUTATIONS = 99


def choose_start(
    counts: AnnData,
    neighbors: NeighborsGraph,
    clusters: pd.DataFrame,
    keys: Keys,
    options: TrajectoryOptions,
    seed: int,
) -> dict[str, Any]:
    """The cells at which trajectories start: a cell, those of a cluster or label, of a marker gene, or the earliest.

    Known time decides where nothing else is named.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes; ``obs`` holds the labels and the time.
    neighbors
        kNN graph of the same cells, over which a marker gene's expression is smoothed.
    clusters, keys
        Clusterings of the same cells, a column each, and the label; where both have the name, the cluster is meant.
    options, seed
        The start, the known time and the clustering; seed of the permutations that tell a marker gene from noise.

    Returns
    -------
    ``cells`` (names, in the order of the counts), ``how`` they were chosen (cell, cluster, gene or time), and
    ``sentences``: the choice in words, and what speaks against it.

    Raises
    ------
    InputError
        None or several are given, a name does not exist, the gene has no counts, or the time is not a number of at
        least three values.
    """
    if options.time_key:
        known_time(counts.obs, options.time_key)  # refused before anything is learnt
    groups = take_landmarks(clusters, options)["landmark"].reindex(counts.obs_names)
    given = {name: value for name in START_OPTIONS if (value := getattr(options, name)) is not None}
    if options.start_cell or options.start_cluster or options.start_gene:
        given.pop("time_key", None)
    if len(given) != 1:
        seen = " and ".join(f"trajectory.{name}='{value}'" for name, value in given.items())
        raise InputError(
            "a trajectory needs exactly one start: trajectory.start_cell, trajectory.start_cluster, "
            f"trajectory.start_gene or trajectory.time_key; {seen or 'none of them is given'}"
        )
    ((option, name),) = given.items()
    if option == "start_cell":
        how, (chosen, sentences) = "cell", _cell_named(name, counts.obs_names)
    elif option == "start_cluster":
        labels = {keys.label_key: counts.obs[keys.label_key]} if keys.label_key else {}
        how, (chosen, sentences) = "cluster", _cells_of_cluster(name, {"clusters": groups} | labels)
    elif option == "start_gene":
        how, (chosen, sentences) = "gene", _cells_of_gene(counts, neighbors, name, seed)
    else:
        how, (chosen, sentences) = "time", _earliest_cells(counts.obs, name)
    return {"cells": counts.obs_names[chosen].tolist(), "how": how, "sentences": sentences}


def _cell_named(name: str, cells: pd.Index) -> tuple[np.ndarray, list[str]]:
    if name not in cells:
        raise InputError(
            f"trajectory.start_cell '{name}' is not a cell of the counts{closest(name, _similar_names(name, cells))}"
        )
    return cells == name, [f"trajectories start at the cell '{name}'"]


def _similar_names(name: str, cells: pd.Index, most: int = 20_000) -> list[str]:
    """Names worth comparing: difflib takes seconds on a million of them."""
    if len(cells) <= most:
        return list(cells)
    alike = [cell for cell in cells if str(cell)[:4].lower() == name[:4].lower()]
    return (alike or list(cells))[:most]


def _cells_of_cluster(value: str, columns: dict[str, pd.Series]) -> tuple[np.ndarray, list[str]]:
    groups = {name: as_categories(column) for name, column in columns.items()}
    holding = [name for name, values in groups.items() if value in values.categories]
    if not holding:
        choices = [text for values in groups.values() for text in values.categories]
        raise InputError(
            f"trajectory.start_cluster '{value}' is neither a cluster nor a label{closest(value, choices)}"
        )
    chosen = np.asarray(groups[holding[0]] == value)
    sentence = f"trajectories start in '{value}' of {holding[0]} ({chosen.sum():,} cells)"
    if len(holding) > 1:
        sentence += f"; '{value}' is also a value of {holding[1]}, which is not meant"
    return chosen, [sentence]


def _earliest_cells(observations: pd.DataFrame, time_key: str) -> tuple[np.ndarray, list[str]]:
    time = known_time(observations, time_key)
    known = np.sort(time.dropna().to_numpy())
    n_earliest = min(max(MIN_START_CELLS, int(np.ceil(START_SHARE * len(known)))), len(known))
    latest = known[n_earliest - 1]
    chosen = (time <= latest).to_numpy()
    sentences = [
        f"trajectories start at the {chosen.sum():,} cells with the earliest '{time_key}' "
        f"({known[0]:g} to {latest:g}; the data reach {known[-1]:g})"
    ]
    if len(known) < len(time):
        sentences.append(
            f"'{time_key}' is missing in {len(time) - len(known):,} of {len(time):,} cells; none of them is a start"
        )
    return chosen, sentences


def _cells_of_gene(
    counts: AnnData, neighbors: NeighborsGraph, gene: str, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Cells in whose neighbourhood a gene is highest, in one connected patch: that with the most expression."""
    position = _position_of_gene(gene, counts.var)
    values = log_normalize(counts, np.array([position])).toarray()[:, 0].astype(np.float64)
    expressing = int((values > 0).sum())
    if not expressing:
        raise InputError(
            f"trajectory.start_gene '{gene}' has no counts in any cell; name a gene that is expressed"
        )
    order = neighbors.cells.get_indexer(counts.obs_names)
    connectivities = sparse.csr_matrix(neighbors.connectivities)[order][:, order]
    smooth = _smooth(connectivities, values)
    n_top = min(max(MIN_START_CELLS, round(START_SHARE * counts.n_obs)), counts.n_obs)
    top = np.sort(np.argsort(-smooth, kind="stable")[:n_top])
    n_patches, codes = csgraph.connected_components(connectivities[top][:, top], directed=False)
    patch = top[codes == np.bincount(codes, weights=smooth[top]).argmax()]
    sentences = [
        f"trajectories start at the {len(patch):,} cells in whose neighbourhood '{gene}' is highest "
        f"(expressed in {expressing:,} of {len(values):,} cells)"
    ]
    if len(patch) < len(top):
        sentences.append(
            f"'{gene}' is highest in {n_patches} places that are not neighbours; the one with the most expression, "
            f"{len(patch):,} of {len(top):,} cells, is taken"
        )
    if _looks_like_noise(connectivities, values, smooth, seed):
        sentences.append(
            f"'{gene}' does not vary between neighbourhoods more than shuffled counts do, so this start is arbitrary; "
            "name another gene, or a cell, a cluster or the time"
        )
    return patch, sentences


def _position_of_gene(gene: str, genes: pd.DataFrame) -> int:
    names = genes.index.astype(str)
    if gene in names:
        return int(np.flatnonzero(names == gene)[0])
    symbols = genes["symbol"].astype(str).to_numpy() if "symbol" in genes else np.array([], dtype=str)
    found = np.flatnonzero(symbols == gene)
    if len(found) > 1:
        raise InputError(
            f"trajectory.start_gene '{gene}' is the symbol of {len(found)} genes; name one of them: "
            + ", ".join(f"'{names[i]}'" for i in found[:5])
        )
    if not len(found):
        raise InputError(
            f"trajectory.start_gene '{gene}' is not a gene of the counts{closest(gene, [*names, *symbols])}"
        )
    return int(found[0])


def _smooth(connectivities: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    """Means over weighted neighbourhoods, the cell itself counting as its strongest neighbour."""
    weights = connectivities + sparse.identity(len(values), format="csr")
    totals = np.asarray(weights.sum(axis=1)).ravel()
    for _ in range(SMOOTHING_STEPS):
        values = (weights @ values) / (totals if values.ndim == 1 else totals[:, None])
    return values


def _looks_like_noise(
    connectivities: sparse.csr_matrix, values: np.ndarray, smooth: np.ndarray, seed: int
) -> bool:
    """Whether shuffled expression is as uneven over the graph (p > 0.05)."""
    rng = np.random.default_rng(seed)
    shuffled = np.stack([rng.permutation(values) for _ in range(N_PERMUTATIONS)], axis=1)
    as_uneven = (_smooth(connectivities, shuffled).var(axis=0) >= smooth.var()).sum()
    return bool((1 + as_uneven) / (1 + N_PERMUTATIONS) > 0.05)


def known_time(observations: pd.DataFrame, time_key: str) -> pd.Series:
    """Times of the cells, the obs column ``time_key``; NaN where they are missing.

    Numbers that are kept as text or as categories, such as the time points of samples, are numbers too.

    Raises
    ------
    InputError
        There is no such column, it holds something else than numbers, or fewer than three different ones.
    """
    if time_key not in observations:
        raise InputError(
            f"trajectory.time_key '{time_key}' is not in obs{closest(time_key, map(str, observations.columns))}"
        )
    column = observations[time_key]
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "mMb":
        raise InputError(
            f"trajectory.time_key '{time_key}' holds {column.dtype} values such as '{column.iloc[0]}'; "
            "it must hold numbers, such as hours"
        )
    plain = column.astype(object)
    time = pd.to_numeric(plain, errors="coerce").astype(np.float64)
    missing = plain.isna() | plain.astype(str).str.strip().isin(MISSING_TEXTS)
    wrong = plain[time.isna() & ~missing]
    if len(wrong):
        raise InputError(
            f"trajectory.time_key '{time_key}' holds '{wrong.iloc[0]}', which is not a number; "
            "it must hold numbers, such as hours"
        )
    time = time.where(np.isfinite(time))
    n_values = time.nunique()
    if n_values < MIN_TIMES:
        raise InputError(
            f"trajectory.time_key '{time_key}' holds {n_values} different numbers; an order needs at least {MIN_TIMES}"
        )
    return time


# A connected part with a smaller share of the cells is taken for outliers, not for a population.
FRAGMENT_SHARE = 0.01
MOST = 0.5  # Share of a cluster's cells that must be left out for the cluster to be named.


@dataclass(frozen=True, eq=False)
class Reach:
    """What is connected to the start.

    ``parts`` is the ``(n_cells,)`` connected part of each cell, 0 for the largest; ``reachable`` whether a cell is
    in the start's part; ``starts`` the positions of the start cells in it; ``sentences`` say what is left out, if
    anything is.
    """

    parts: np.ndarray
    reachable: np.ndarray
    starts: np.ndarray
    sentences: list[str]


def reach_from(neighbors: NeighborsGraph, start_cells: np.ndarray, clusters: pd.Series) -> Reach:
    """Cells that are connected to the start over the neighbours graph.

    The start's part is the one that holds most of the ``start_cells`` (positions); ``clusters`` name what is left
    out.

    Raises
    ------
    InputError
        There is no start cell, or the start lies in a fragment of outliers.
    """
    if not len(start_cells):
        raise InputError("there are no start cells; choose another trajectory start")
    _, codes = csgraph.connected_components(neighbors.connectivities, directed=False)
    sizes = np.bincount(codes)
    by_size = np.argsort(-sizes, kind="stable")
    parts, sizes = np.argsort(by_size)[codes], sizes[by_size]
    held = np.bincount(parts[start_cells], minlength=len(sizes))
    own = int(held.argmax())
    n_cells = len(parts)
    is_fragment = sizes < FRAGMENT_SHARE * n_cells
    if is_fragment[own]:
        raise InputError(
            f"the trajectory start lies among {sizes[own]:,} of {n_cells:,} cells that are connected to no others; "
            "choose another trajectory start"
        )
    apart = ~is_fragment & (np.arange(len(sizes)) != own)
    sentences = []
    if apart.any():
        left_out = apart[parts]
        sentences.append(
            f"{left_out.sum():,} of {n_cells:,} cells{_name_clusters(clusters, left_out)} are not connected to the "
            "start: they have no pseudotime"
        )
    if is_fragment.any():
        strays = int(is_fragment[parts].sum())
        sentences.append(
            f"{strays:,} of {n_cells:,} cells are outliers, in {is_fragment.sum()} small groups that are connected to "
            "no others: they have no pseudotime"
        )
    elsewhere = len(start_cells) - int(held[own])
    if elsewhere:
        sentences.append(
            f"{elsewhere:,} of {len(start_cells):,} start cells are not connected to the other ones and are left out"
        )
    starts = start_cells[parts[start_cells] == own]
    return Reach(parts, parts == own, starts, sentences)


def _name_clusters(clusters: pd.Series, mask: np.ndarray) -> str:
    """Clusters of which most cells are chosen, in brackets; empty where there is none."""
    share = pd.Series(mask).groupby(clusters.to_numpy(), observed=True).mean()
    names = [str(name) for name in share.index[share > MOST]]
    if not names:
        return ""
    return f" (cluster{'s' if len(names) > 1 else ''} {', '.join(names)})"


def reach_of_start(
    neighbors: NeighborsGraph, landmarks: pd.DataFrame, trajectory_start: dict[str, Any]
) -> Reach:
    """What the start cells of :func:`choose_start` reach; ``landmarks`` name what they do not."""
    return reach_from(neighbors, start_positions(neighbors, trajectory_start), landmarks["landmark"])


def start_positions(neighbors: NeighborsGraph, trajectory_start: dict[str, Any]) -> np.ndarray:
    """Positions of the start cells among the cells of the graph."""
    positions = neighbors.cells.get_indexer(trajectory_start["cells"])
    return positions[positions >= 0]


def root_cell(start_cells: np.ndarray, coordinates: np.ndarray, neighbors: NeighborsGraph) -> int:
    """One start cell to measure distances from, by position: the outermost one.

    Pseudotime is a distance from the root. From a root inside the start cells, those on its outer side would come
    after it, folded onto the ones that lead on; so not their medoid, but the cell at their far end is the root:
    the one farthest from all cells that are not start cells. Distances are averaged over neighbourhoods, and start
    cells with hardly any start cell around them (wrong labels, outliers) are passed over, for a stray cell at the
    other end of the data would be farther still. ``coordinates`` are ``(n_cells, n_dims)``, best in diffusion
    distance (:func:`.diffusion.diffusion_coordinates`); rows of cells that cannot be reached from the start are
    NaN.

    Raises
    ------
    InputError
        No start cell has coordinates.
    """
    from scipy.spatial.distance import cdist

    starts = np.asarray(start_cells)
    starts = starts[np.isfinite(coordinates[starts]).all(axis=1)]
    if not len(starts):
        raise InputError(
            "none of the start cells is connected to other cells; choose another trajectory start"
        )
    is_start = np.zeros(len(coordinates), dtype=bool)
    is_start[starts] = True
    around = neighbors.indices[starts, : neighbors.n_neighbors]
    support = is_start[around].mean(axis=1)
    supported = starts[support >= np.median(support) / 2]
    others = np.flatnonzero(np.isfinite(coordinates).all(axis=1) & ~is_start)
    if not len(others):
        others = starts
    # Evenly spread cells stand for all: the mean over 2,000 is exact to a few per cent of the spread.
    others = others[np.linspace(0, len(others) - 1, min(len(others), 2000)).astype(np.int64)]
    near = neighbors.indices[supported, : neighbors.n_neighbors]
    needed, inverse = np.unique(near, return_inverse=True)
    remoteness = np.full(len(needed), np.nan)
    finite = np.isfinite(coordinates[needed]).all(axis=1)
    remoteness[finite] = cdist(coordinates[needed[finite]], coordinates[others]).mean(axis=1)
    return int(supported[np.nanmean(remoteness[inverse.reshape(near.shape)], axis=1).argmax()])
