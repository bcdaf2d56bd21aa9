"""Leiden communities of a neighbours graph."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from igraph import Graph


ITERATIONS = 2


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


def by_falling_size(membership: np.ndarray) -> pd.Categorical:
    """Number clusters by falling size; among equals the one with the earliest cell comes first.

    Parameters
    ----------
    membership
        ``(n_cells,)`` cluster numbers in any order.

    Returns
    -------
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
