"""Where a trajectory starts: what the user names, as cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.obs import MISSING_TEXTS, as_categories
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.runtime.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData


MIN_VALUES = 3


def known_time(observations: pd.DataFrame, time_key: str) -> pd.Series:
    """Times of the cells; NaN where they are missing.

    Numbers that are kept as text or as categories, such as the time points of samples, are numbers too.

    Parameters
    ----------
    observations
        ``obs`` of the counts.
    time_key
        Name of the column, as in ``trajectory.time_key``.

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
    if n_values < MIN_VALUES:
        raise InputError(
            f"trajectory.time_key '{time_key}' holds {n_values} different numbers; an order needs at least {MIN_VALUES}"
        )
    return time


def root_cell(start_cells: np.ndarray, coordinates: np.ndarray, neighbors: NeighborsGraph) -> int:
    """One start cell to measure distances from: the outermost one.

    Pseudotime is a distance from the root. From a root inside the start cells, those on its outer side would come
    after it, folded onto the ones that lead on; so not their medoid, but the cell at their far end is the root: the
    one farthest from all cells that are not start cells. Distances are averaged over neighbourhoods, and start cells
    with hardly any start cell around them (wrong labels, outliers) are passed over, for a stray cell at the other end
    of the data would be farther still.

    Parameters
    ----------
    start_cells
        Positions of the start cells, at least one.
    coordinates
        ``(n_cells, n_dims)``, best in diffusion distance (:func:`.diffusion.diffusion_coordinates`); rows of cells that
        cannot be reached from the start are NaN.
    neighbors
        kNN graph of the same cells.

    Returns
    -------
    Position of the root among the ``n_cells`` cells.

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


SMOOTHING_STEPS = 2
N_PERMUTATIONS = 99


def cells_of_gene(
    counts: AnnData, neighbors: NeighborsGraph, gene: str, *, n_top: int, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cells in whose neighbourhood a gene is highest, in one connected patch.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes.
    neighbors
        kNN graph of the same cells, over which log-normalised expression is averaged.
    gene
        Name or symbol.
    n_top
        Number of cells before the patch with most expression is taken.
    seed
        Of the permutations that tell the gene from noise.

    Returns
    -------
    Positions of the cells in ``counts``, and sentences.

    Raises
    ------
    InputError
        The gene does not exist, is ambiguous, or has no counts.
    """
    position = _position_of(gene, counts.var)
    values = log_normalize(counts, np.array([position])).toarray()[:, 0].astype(np.float64)
    expressing = int((values > 0).sum())
    if not expressing:
        raise InputError(
            f"trajectory.start_gene '{gene}' has no counts in any cell; name a gene that is expressed"
        )
    order = neighbors.cells.get_indexer(counts.obs_names)
    connectivities = sparse.csr_matrix(neighbors.connectivities)[order][:, order]
    smooth = _smoothed(connectivities, values)
    top = np.sort(np.argsort(-smooth, kind="stable")[:n_top])
    patch, n_patches = _largest_patch(connectivities, top, smooth)
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
    return patch, tuple(sentences)


def _position_of(gene: str, genes: pd.DataFrame) -> int:
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


def _smoothed(connectivities: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    """Means over weighted neighbourhoods, the cell itself counting as its strongest neighbour."""
    weights = connectivities + sparse.identity(len(values), format="csr")
    totals = np.asarray(weights.sum(axis=1)).ravel()
    for _ in range(SMOOTHING_STEPS):
        values = (weights @ values) / (totals if values.ndim == 1 else totals[:, None])
    return values


def _largest_patch(
    connectivities: sparse.csr_matrix, top: np.ndarray, smooth: np.ndarray
) -> tuple[np.ndarray, int]:
    n_patches, codes = csgraph.connected_components(connectivities[top][:, top], directed=False)
    expression = np.bincount(codes, weights=smooth[top])
    return top[codes == expression.argmax()], int(n_patches)


def _looks_like_noise(
    connectivities: sparse.csr_matrix, values: np.ndarray, smooth: np.ndarray, seed: int
) -> bool:
    """Whether shuffled expression is as uneven over the graph (p > 0.05)."""
    rng = np.random.default_rng(seed)
    shuffled = np.stack([rng.permutation(values) for _ in range(N_PERMUTATIONS)], axis=1)
    as_uneven = (_smoothed(connectivities, shuffled).var(axis=0) >= smooth.var()).sum()
    return bool((1 + as_uneven) / (1 + N_PERMUTATIONS) > 0.05)


How = Literal["cell", "cluster", "gene", "time"]
MIN_START_CELLS = 10
"""Of a marker gene or of known time: fewer would rest on single cells."""


@dataclass(frozen=True, eq=False)
class Start:
    """Cells at which trajectories start.

    Attributes
    ----------
    cells
        Their names, in the order of the counts.
    how
        What they were chosen by.
    sentences
        The choice in words, and what speaks against it.
    """

    cells: pd.Index
    how: How
    sentences: tuple[str, ...]


def choose_start(
    counts: AnnData,
    neighbors: NeighborsGraph,
    clusters: pd.Series,
    *,
    start_cell: str | None = None,
    start_cluster: str | None = None,
    start_gene: str | None = None,
    time_key: str | None = None,
    label_key: str | None = None,
    top_share: float = 0.03,
    earliest_share: float = 0.03,
    seed: int = 0,
) -> Start:
    """Start cells by exactly one of a cell, a cluster or label, a marker gene, or known time.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes; ``obs`` holds the labels and the time.
    neighbors
        kNN graph of the same cells, over which a marker gene's expression is smoothed.
    clusters
        ``(n_cells,)`` clusters.
    start_cell
        Name of a cell.
    start_cluster
        A value of ``clusters`` or of the labels; where both have it, the cluster is meant.
    start_gene
        Name or symbol of a gene that is highest where the trajectory starts.
    time_key
        Numeric column of ``obs``; the earliest cells are the start.
    label_key
        Column of ``obs`` with labels.
    top_share, earliest_share
        Share of the cells that a marker gene or known time chooses, before the largest connected patch is taken.
    seed
        Of the permutations that tell a marker gene from noise.

    Raises
    ------
    InputError
        None or several are given, a name does not exist, the gene has no counts, or the time is not a number of at
        least three values.
    """
    given = {
        "start_cell": start_cell,
        "start_cluster": start_cluster,
        "start_gene": start_gene,
        "time_key": time_key,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        seen = " and ".join(f"trajectory.{name}='{given[name]}'" for name in named) or "none of them is given"
        raise InputError(
            "a trajectory needs exactly one start: trajectory.start_cell, trajectory.start_cluster, "
            f"trajectory.start_gene or trajectory.time_key; {seen}"
        )
    if start_cell is not None:
        return _start_at_cell(counts.obs_names, str(start_cell))
    if start_cluster is not None:
        labels = counts.obs[label_key] if label_key else None
        return _start_at_cluster(
            clusters.reindex(counts.obs_names), labels, str(start_cluster), counts.obs_names
        )
    if start_gene is not None:
        n_top = min(max(MIN_START_CELLS, round(top_share * counts.n_obs)), counts.n_obs)
        chosen, sentences = cells_of_gene(counts, neighbors, str(start_gene), n_top=n_top, seed=seed)
        return Start(pd.Index(counts.obs_names[chosen], name="cell"), "gene", sentences)
    return _start_at_time(counts.obs, str(time_key), earliest_share)


def _start_at_cell(cells: pd.Index, name: str) -> Start:
    if name not in cells:
        raise InputError(
            f"trajectory.start_cell '{name}' is not a cell of the counts{closest(name, _near(name, cells))}"
        )
    return Start(pd.Index([name], name="cell"), "cell", (f"trajectories start at the cell '{name}'",))


def _near(name: str, cells: pd.Index, most: int = 20_000) -> list[str]:
    """Names worth comparing: difflib takes seconds on a million of them."""
    if len(cells) <= most:
        return list(cells)
    alike = [cell for cell in cells if str(cell)[:4].lower() == name[:4].lower()]
    return (alike or list(cells))[:most]


def _start_at_cluster(clusters: pd.Series, labels: pd.Series | None, value: str, cells: pd.Index) -> Start:
    columns = {"clusters": clusters} | ({str(labels.name): labels} if labels is not None else {})
    holding = {
        name: (as_categories(column) == value)
        for name, column in columns.items()
        if value in as_categories(column).categories
    }
    if not holding:
        choices = [text for column in columns.values() for text in as_categories(column).categories]
        raise InputError(
            f"trajectory.start_cluster '{value}' is neither a cluster nor a label{closest(value, choices)}"
        )
    name, mask = next(iter(holding.items()))
    sentence = f"trajectories start in '{value}' of {name} ({int(mask.sum()):,} cells)"
    if len(holding) > 1:
        sentence += f"; '{value}' is also a value of {list(holding)[1]}, which is not meant"
    return Start(pd.Index(cells[mask], name="cell"), "cluster", (sentence,))


def _start_at_time(observations: pd.DataFrame, time_key: str, earliest_share: float) -> Start:
    time = known_time(observations, time_key)
    known = np.sort(time.dropna().to_numpy())
    n_earliest = min(max(MIN_START_CELLS, int(np.ceil(earliest_share * len(known)))), len(known))
    latest = known[n_earliest - 1]
    chosen = (time <= latest).to_numpy()
    sentences = [
        f"trajectories start at the {int(chosen.sum()):,} cells with the earliest '{time_key}' "
        f"({known[0]:g} to {latest:g}; the data reach {known[-1]:g})"
    ]
    if len(known) < len(time):
        sentences.append(
            f"'{time_key}' is missing in {len(time) - len(known):,} of {len(time):,} cells; none of them is a start"
        )
    return Start(pd.Index(observations.index[chosen], name="cell"), "time", tuple(sentences))


def describe_start(start: Start) -> dict[str, Any]:
    """The start as plain data: ``cells``, ``how``, ``sentences``."""
    return {"cells": start.cells.tolist(), "how": start.how, "sentences": list(start.sentences)}
