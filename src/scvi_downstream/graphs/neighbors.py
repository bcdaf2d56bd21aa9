"""The one kNN graph of an embedding, and the Leiden communities that are read off it."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.threads import allowed_threads

if TYPE_CHECKING:
    from igraph import Graph

logger = logging.getLogger(__name__)


ROWS_AT_ONCE = 4096
SPARE_CANDIDATES = 10
# Gathered coordinates of more rows leave the cache, which takes four times as long in 100 dimensions.
_ROWS_IN_CACHE = 32
# Of UMAP's scales: steps of the bisection, and where it stops; the least scale by the mean distance.
BISECTIONS, TOLERANCE, LEAST_SCALE = 64, 1e-5, 1e-3


@dataclass(frozen=True)
class NeighborsGraph:
    """kNN search result and its fuzzy union.

    ``cells`` are the names of the ``n_cells`` cells; ``indices`` the ``(n_cells, k)`` int32 nearest neighbours of each,
    itself first, ``distances`` their float32 Euclidean distances, in ascending order; ``connectivities`` ``(n_cells,
    n_cells)`` CSR, symmetric, in [0, 1]: UMAP's fuzzy union of the first ``n_neighbors``, the cell itself included;
    ``exact`` says whether the search was exhaustive.
    """

    cells: pd.Index
    indices: np.ndarray
    distances: np.ndarray
    connectivities: sparse.csr_matrix
    n_neighbors: int
    exact: bool


def nearest_distances(neighbors: NeighborsGraph) -> sparse.csr_matrix:
    """``(n_cells, n_cells)`` float32 distances to each cell's ``n_neighbors - 1`` nearest others, as in scanpy."""
    n_cells, k = len(neighbors.cells), neighbors.n_neighbors - 1
    rows = np.repeat(np.arange(n_cells), k)
    nearest = (neighbors.distances[:, 1 : k + 1].ravel(), (rows, neighbors.indices[:, 1 : k + 1].ravel()))
    return sparse.csr_matrix(nearest, shape=(n_cells, n_cells), dtype=np.float32)


def find_neighbors(latent: np.ndarray, k: int, *, exact: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours in Euclidean distance, each cell first in its own row.

    ``latent`` are ``(n_cells, n_dims)`` coordinates; ``k``, the cell itself included, is cut to ``n_cells``; the search
    is exhaustive with FAISS where ``exact``, or else nearest-neighbour descent, which ``seed`` is of.

    Returns
    -------
    Indices int32 and distances float32, both ``(n_cells, k)``.

    References
    ----------
    Douze et al. (2024), arXiv:2401.08281; Dong, Moses & Li (2011), doi:10.1145/1963405.1963487.
    """
    points = np.ascontiguousarray(latent, dtype=np.float32)
    if not np.isfinite(points).all():
        raise InputError(
            "the embedding holds NaN or infinite values, so neighbours cannot be found; "
            "the model did not converge"
        )
    k = min(k, len(points))
    candidates = _search_exactly(points, k) if exact else _descend(points, k, seed)
    return _rank_with_self_first(points, candidates, k)


def _descend(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    import numba
    from pynndescent import NNDescent

    logger.info("Searching %d neighbours of %d cells by nearest-neighbour descent", k, len(points))
    threads = min(allowed_threads(), numba.get_num_threads())
    found = NNDescent(points, n_neighbors=k, random_state=seed, low_memory=True, n_jobs=threads)
    return found.neighbor_graph[0]


def _search_exactly(points: np.ndarray, k: int) -> np.ndarray:
    """Candidates that hold the ``k`` nearest neighbours of every cell.

    FAISS expands |x - y|² to |x|² - 2xy + |y|², which is fast, but in float32 wrong where cells lie far
    from the origin. The error is bounded by ``n_dims * eps * (|x| + max |y|)²``: rows whose k-th distance
    is not clear of the last candidate by that much are searched again by direct differences, three times
    slower.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells of each library that it tries
    import faiss

    n_cells, n_dims = points.shape
    centred = points - points.mean(axis=0)
    n_candidates = min(k + SPARE_CANDIDATES, n_cells)
    index = faiss.IndexFlatL2(n_dims)
    index.add(centred)
    norms = np.linalg.norm(centred, axis=1)
    bounds = n_dims * np.finfo(np.float32).eps * (norms + norms.max()) ** 2
    indices = np.empty((n_cells, n_candidates), dtype=np.int64)
    progress = Progress(f"Searching {k} neighbours of {n_cells} cells", n_cells)
    for start in range(0, n_cells, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        approximate, indices[rows] = index.search(centred[rows], n_candidates)
        progress.advance(len(approximate))
        if n_candidates == n_cells:
            continue
        kth = np.partition(_squared_distances(centred, indices[rows], start), k - 1, axis=1)[:, k - 1]
        unsure = np.flatnonzero(kth > approximate[:, -1] - bounds[rows])
        if len(unsure):
            indices[start + unsure] = _search_by_differences(index, centred[start + unsure], n_candidates)
    return indices


def _search_by_differences(index: Any, queries: np.ndarray, k: int) -> np.ndarray:
    import faiss

    expanding_from = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = np.iinfo(np.int32).max
    try:
        return index.search(queries, k)[1]
    finally:
        faiss.cvar.distance_compute_blas_threshold = expanding_from


def _squared_distances(points: np.ndarray, indices: np.ndarray, first_row: int) -> np.ndarray:
    squared = np.empty(indices.shape, dtype=np.float32)
    for start in range(0, len(indices), _ROWS_IN_CACHE):
        rows = slice(start, start + _ROWS_IN_CACHE)
        own = points[first_row : first_row + len(indices)][rows, None]
        squared[rows] = np.square(own - points[indices[rows]]).sum(axis=2, dtype=np.float32)
    return squared


def _rank_with_self_first(
    points: np.ndarray, candidates: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` nearest candidates, ties by index; a cell with many duplicates may not be among its own."""
    indices = np.empty((len(points), k), dtype=np.int32)
    distances = np.empty((len(points), k), dtype=np.float32)
    for start in range(0, len(points), ROWS_AT_ONCE):
        found = np.sort(candidates[start : start + ROWS_AT_ONCE], axis=1)
        own = np.arange(start, start + len(found))[:, None]
        squared = _squared_distances(points, found, start)
        squared[found < 0] = np.inf  # the descent found fewer than k
        without_self = ~(found == own).any(axis=1)
        farthest = squared[without_self].argmax(axis=1)
        found[without_self, farthest] = own[without_self, 0]
        squared[found == own] = -1
        order = np.argsort(squared, axis=1, kind="stable")[:, :k]
        rows = slice(start, start + len(found))
        indices[rows] = np.take_along_axis(found, order, axis=1)
        distances[rows] = np.sqrt(np.maximum(np.take_along_axis(squared, order, axis=1), 0))
    return indices, distances


def fuzzy_union(indices: np.ndarray, distances: np.ndarray) -> sparse.csr_matrix:
    """UMAP's symmetric connectivities, ``(n_cells, n_cells)`` float32 CSR in [0, 1], of a kNN search.

    ``indices`` and ``distances`` are ``(n_cells, n_neighbors)``, each cell first in its own row, -1 where fewer
    neighbours are known. McInnes, Healy & Melville (2018), arXiv:1802.03426.
    """
    n_cells = len(indices)
    gaps, scales = _smooth(distances.astype(np.float32))
    own = np.arange(n_cells)[:, None]
    rows, columns = np.nonzero((indices >= 0) & (indices != own))
    # The last bit matters, as it ranks edges of strength 1: single precision where umap-learn has it; the exponential
    # is rounded from double, as numpy's single one differs between processors.
    steps = (gaps[rows, columns] / scales[rows].astype(np.float32)).astype(np.float64)
    strengths = np.exp(-steps).astype(np.float32)
    given = sparse.csr_matrix((strengths, (rows, indices[rows, columns])), shape=(n_cells, n_cells))
    union = (given + given.T - given.multiply(given.T)).tocsr()
    union.eliminate_zeros()
    return union


def _smooth(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much farther than the nearest neighbour others are, and the scale on which that counts, as in UMAP.

    ``distances`` are float32 ``(n_cells, n_neighbors)``, the cell itself first. The scales ``(n_cells,)`` are such
    that the strengths ``exp(-gap / scale)`` of the others sum to ``log2(n_neighbors)``, found by bisection.
    """
    nearest = np.where(distances > 0, distances, np.inf).min(axis=1, keepdims=True)
    gaps = np.maximum(distances - np.where(np.isinf(nearest), 0, nearest), 0)
    low, high, scales = np.zeros(len(gaps)), np.full(len(gaps), np.inf), np.ones(len(gaps))
    open_ = np.arange(len(gaps))
    for _ in range(BISECTIONS):
        excess = np.exp(-gaps[open_, 1:] / scales[open_, None]).sum(axis=1) - np.log2(gaps.shape[1])
        excess, open_ = excess[np.abs(excess) >= TOLERANCE], open_[np.abs(excess) >= TOLERANCE]
        above, below = open_[excess > 0], open_[excess <= 0]
        high[above], low[below] = scales[above], scales[below]
        scales[open_] = np.where(np.isinf(high[open_]), 2 * scales[open_], (low[open_] + high[open_]) / 2)
    means = np.where(np.isinf(nearest[:, 0]), distances.mean(), distances.mean(axis=1))
    return gaps, np.maximum(scales, LEAST_SCALE * means)


def neighbors_graph(
    cells: pd.Index, latent: np.ndarray, *, n_neighbors: int, n_search: int, exact_up_to: int, seed: int
) -> NeighborsGraph:
    """Search once for ``n_search`` neighbours and build the graph on the first ``n_neighbors``.

    Both include the cell itself and are cut to ``n_cells``; ``latent`` are ``(n_cells, n_dims)`` coordinates. Up to
    ``exact_up_to`` cells the search is exhaustive, beyond it is approximate and ``seed`` is that of it.
    """
    exact = len(cells) <= exact_up_to
    indices, distances = find_neighbors(latent, max(n_search, n_neighbors), exact=exact, seed=seed)
    used = min(n_neighbors, indices.shape[1])
    connectivities = fuzzy_union(indices[:, :used], distances[:, :used])
    return NeighborsGraph(cells, indices, distances, connectivities, used, exact)


ITERATIONS = 2


def weighted_graph(connectivities: sparse.csr_matrix) -> Graph:
    """Igraph's copy of symmetric connectivities, each edge once with twice its weight.

    Leiden finds the same communities, to the bit, as with scanpy's and scib-metrics' edges in both directions, in 0.6
    of the time: in all that it compares, weights are added up.
    """
    import igraph

    edges = sparse.triu(connectivities, 1).tocoo()
    graph = igraph.Graph(n=edges.shape[0], edges=np.column_stack([edges.row, edges.col]), directed=False)
    graph.es["weight"] = 2 * edges.data.astype(np.float64)
    return graph


def communities(graph: Graph, resolution: float, seed: int) -> np.ndarray:
    """Leiden communities that maximise modularity; a higher resolution gives more and smaller ones.

    Edges of ``graph`` carry ``weight``; ``seed`` is of the order in which cells are moved. ``(n_cells,)``
    communities, as ``scanpy.tl.leiden(flavor="igraph", n_iterations=2, directed=False)``. Traag, Waltman & van Eck
    (2019), doi:10.1038/s41598-019-41695-z.
    """
    with _seeded(seed):
        found = graph.community_leiden(
            objective_function="modularity", weights="weight", resolution=resolution, n_iterations=ITERATIONS
        )
    return np.asarray(found.membership)


def by_falling_size(membership: np.ndarray) -> pd.Categorical:
    """Number ``(n_cells,)`` clusters by falling size; among equals the one with the earliest cell comes first.

    Categories ``"0"``, ``"1"``, …, each used.
    """
    _, first, codes, sizes = np.unique(membership, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return pd.Categorical.from_codes(rank[codes.ravel()], categories=[str(i) for i in range(len(order))])


class _Generator:
    """The methods igraph calls, on numpy's generator as scanpy sets it up."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed % 2**32)

    def getrandbits(self, k: int) -> int:
        return self._state.tomaxint() & ((1 << k) - 1)

    def randint(self, low: int, high: int) -> int:
        return self._state.randint(low, high + 1)

    def random(self) -> float:
        return self._state.random_sample()

    def gauss(self, mean: float, deviation: float) -> float:
        return self._state.normal(mean, deviation)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    import igraph

    igraph.set_random_number_generator(_Generator(seed))
    try:
        yield
    finally:
        igraph.set_random_number_generator(random)
