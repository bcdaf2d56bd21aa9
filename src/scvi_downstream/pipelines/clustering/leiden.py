"""Leiden communities of the shared graph, and whether halves of the cells agree on them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.progress import Progress

if TYPE_CHECKING:
    from igraph import Graph

ITERATIONS = 2
STABILITY_COLUMNS = ("resolution", "replicate", "n_clusters", "ari")


def column_of(resolution: float) -> str:
    """Column of a resolution: ``leiden_0.5``, ``leiden_1``."""
    return f"leiden_{resolution:g}"


def weighted_graph(connectivities: sparse.csr_matrix) -> Graph:
    """Igraph's copy of the connectivities, each edge in both directions as scanpy has it."""
    import igraph

    edges = connectivities.tocoo()
    graph = igraph.Graph(n=edges.shape[0], edges=np.column_stack([edges.row, edges.col]), directed=False)
    graph.es["weight"] = edges.data.astype(np.float64)
    return graph


def communities(graph: Graph, resolution: float, seed: int) -> np.ndarray:
    """Leiden communities that maximise modularity at a resolution.

    Parameters
    ----------
    graph
        Edges carry ``weight``.
    resolution
        Higher gives more and smaller communities.
    seed
        Of the order in which cells are moved.

    Returns
    -------
    ``(n_cells,)`` communities, as ``scanpy.tl.leiden(flavor="igraph", n_iterations=2, directed=False)``.

    References
    ----------
    Traag, Waltman & van Eck (2019), doi:10.1038/s41598-019-41695-z.
    """
    with _seeded(seed):
        found = graph.community_leiden(
            objective_function="modularity", weights="weight", resolution=resolution, n_iterations=ITERATIONS
        )
    return np.asarray(found.membership)


def stability(
    connectivities: sparse.csr_matrix,
    leiden: pd.DataFrame,
    resolutions: tuple[float, ...],
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Whether two halves of the cells, clustered without each other, are split alike.

    Subsets that overlap share their noise and call splits of noise stable; disjoint halves do not.

    Parameters
    ----------
    connectivities
        ``(n_cells, n_cells)`` shared graph; a half sees its induced part.
    leiden
        Clusters of all cells, one column a resolution.
    resolutions
        Of the columns.
    replicates
        Random divisions into halves.
    seed
        Of the divisions and of Leiden.

    Returns
    -------
    Two rows a resolution and division: the clusters of one half, and their adjusted Rand index with the
    clusters of the other half, carried over by the edges between the halves. It is 0 where all cells
    have several clusters and a half has one.

    References
    ----------
    Lange et al. (2004), doi:10.1162/089976604773717621; Tibshirani & Walther (2005),
    doi:10.1198/106186005X59243.
    """
    n_cells = connectivities.shape[0]
    generator = np.random.default_rng(seed)
    progress = Progress("Testing the stability of Leiden clusters", replicates * len(resolutions))
    rows = []
    for division in range(replicates):
        order = generator.permutation(n_cells)
        halves = np.sort(order[: n_cells // 2]), np.sort(order[n_cells // 2 :])
        graphs = [weighted_graph(connectivities[half][:, half]) for half in halves]
        between = connectivities[halves[0]][:, halves[1]]
        for resolution in resolutions:
            first, second = (communities(graph, resolution, seed + division + 1) for graph in graphs)
            is_split = len(leiden[column_of(resolution)].cat.categories) > 1
            for side, (own, other, edges) in enumerate(
                ((first, second, between), (second, first, between.T))
            ):
                ari = _transfer_agreement(own, other, edges, is_split=is_split)
                rows.append((resolution, 2 * division + side, len(np.unique(own)), ari))
            progress.advance()
    return pd.DataFrame(rows, columns=list(STABILITY_COLUMNS))


def _transfer_agreement(
    own: np.ndarray, other: np.ndarray, edges: sparse.csr_matrix, *, is_split: bool
) -> float:
    from sklearn.metrics import adjusted_rand_score

    if is_split and min(own.max(), other.max()) == 0:
        return 0.0
    votes = edges @ np.eye(other.max() + 1)[other]
    reached = votes.sum(axis=1) > 0
    return float(adjusted_rand_score(own[reached], votes[reached].argmax(axis=1)))


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
