"""Leiden communities of the shared graph, and whether they come back when cells are left out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.parameters import ResamplingOptions
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
    options: ResamplingOptions,
    seed: int,
) -> pd.DataFrame:
    """Agreement of the clusters with those of random subsets of the cells.

    Parameters
    ----------
    connectivities
        ``(n_cells, n_cells)`` shared graph; subsets see its induced part.
    leiden
        Clusters of all cells, one column a resolution.
    resolutions
        Of the columns.
    options
        Share of the cells in a subset and number of subsets.
    seed
        Of the subsets and of Leiden.

    Returns
    -------
    One row a resolution and replicate: clusters found in the subset and their adjusted Rand index with
    those of all cells.

    References
    ----------
    Hennig (2007), doi:10.1016/j.csda.2006.11.025; Hubert & Arabie (1985), doi:10.1007/BF01908075.
    """
    from sklearn.metrics import adjusted_rand_score

    n_cells = connectivities.shape[0]
    generator = np.random.default_rng(seed)
    progress = Progress("Resampling Leiden clusters", options.replicates * len(resolutions))
    rows = []
    for replicate in range(options.replicates):
        kept = np.sort(generator.choice(n_cells, max(2, round(options.share * n_cells)), replace=False))
        graph = weighted_graph(connectivities[kept][:, kept])
        for resolution in resolutions:
            found = communities(graph, resolution, seed + replicate + 1)
            full = leiden[column_of(resolution)].cat.codes.to_numpy()[kept]
            rows.append((resolution, replicate, len(np.unique(found)), adjusted_rand_score(full, found)))
            progress.advance()
    return pd.DataFrame(rows, columns=list(STABILITY_COLUMNS))


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
