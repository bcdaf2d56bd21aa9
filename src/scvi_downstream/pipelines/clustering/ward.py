"""Ward's hierarchical clustering without a distance matrix."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.progress import Progress

from .tree import node_membership

logger = logging.getLogger(__name__)
LINKAGE_COLUMNS = ("left", "right", "height", "size", "left_size", "right_size")
MOST_LEAVES = 10_000
MICRO_CLUSTERS = 2_000
MICRO_ITERATIONS = 20


@dataclass(frozen=True)
class WardTree:
    """A tree over leaves, which are cells or small groups of cells.

    Attributes
    ----------
    linkage
        One row a merge by rising height, as scipy has it, ``size`` in cells; both sides' sizes beside it.
    leaf_of_cell
        ``(n_cells,)`` leaf of each cell.
    """

    linkage: pd.DataFrame
    leaf_of_cell: np.ndarray

    def cut(self, k: int) -> np.ndarray:
        """Membership ``(n_cells,)`` in ``k`` clusters: positions in :func:`.tree.subtrees`."""
        return node_membership(self.linkage, k)[self.leaf_of_cell]


def ward_tree(points: np.ndarray) -> WardTree:
    """Ward tree of all cells; beyond 10,000 of 2,000 k-means groups with their sizes as weights.

    Parameters
    ----------
    points
        ``(n_cells, n_dims)``.

    Returns
    -------
    Exact for up to 10,000 cells. Beyond, heights and merges are exact for the groups.

    References
    ----------
    Ward (1963), doi:10.1080/01621459.1963.10500845; groups first: Zhang, Ramakrishnan & Livny (1996),
    doi:10.1145/235968.233324.
    """
    points = np.asarray(points, dtype=np.float64)
    if len(points) <= MOST_LEAVES:
        return WardTree(linkage(points, np.ones(len(points))), np.arange(len(points)))
    leaf_of_cell = _micro_clusters(points)
    sizes = np.bincount(leaf_of_cell).astype(np.float64)
    centroids = (
        np.column_stack([np.bincount(leaf_of_cell, weights=column) for column in points.T]) / sizes[:, None]
    )
    return WardTree(linkage(centroids, sizes), leaf_of_cell)


def linkage(centroids: np.ndarray, sizes: np.ndarray) -> pd.DataFrame:
    """Ward linkage of weighted points by nearest-neighbour chains: memory grows with ``n``, time with ``n²``.

    Parameters
    ----------
    centroids
        ``(n_leaves, n_dims)``.
    sizes
        ``(n_leaves,)`` cells in each leaf.

    Returns
    -------
    ``n_leaves - 1`` rows. With sizes of one equal to ``scipy.cluster.hierarchy.linkage(centroids, "ward")``.

    References
    ----------
    Murtagh (1983), doi:10.1093/comjnl/26.4.354; Müllner (2011), arXiv:1109.2378.
    """
    n_leaves = len(centroids)
    centroids = centroids - np.average(centroids, axis=0, weights=sizes)
    weights = sizes.astype(np.float64)
    leaves = np.arange(n_leaves)
    alive = np.ones(n_leaves, dtype=bool)
    chain: list[int] = []
    merges: list[tuple[int, int, float]] = []
    progress = Progress("Building the Ward tree", n_leaves - 1)
    while len(merges) < n_leaves - 1:
        if not chain:
            chain.append(int(alive.argmax()))
        here = chain[-1]
        costs = _merge_costs(centroids, weights, here)
        costs[~alive] = np.inf
        costs[here] = np.inf
        nearest = int(costs.argmin())
        if len(chain) == 1 or costs[nearest] < costs[chain[-2]]:
            chain.append(nearest)
            continue
        partner = chain[-2]
        del chain[-2:]
        merges.append((leaves[partner], leaves[here], float(np.sqrt(costs[partner]))))
        total = weights[here] + weights[partner]
        centroids[here] = (weights[here] * centroids[here] + weights[partner] * centroids[partner]) / total
        weights[here] = total
        alive[partner] = False
        progress.advance()
        if 2 * (n_leaves - len(merges)) <= len(alive):
            position = np.cumsum(alive) - 1
            chain = [int(position[member]) for member in chain]
            centroids, weights, leaves, alive = centroids[alive], weights[alive], leaves[alive], alive[alive]
    return _name_nodes(merges, sizes)


def _merge_costs(centroids: np.ndarray, weights: np.ndarray, here: int) -> np.ndarray:
    differences = centroids - centroids[here]
    squared = np.einsum("ij,ij->i", differences, differences)
    return 2 * squared * weights * weights[here] / (weights + weights[here])


def _name_nodes(merges: list[tuple[int, int, float]], sizes: np.ndarray) -> pd.DataFrame:
    """Sort merges by height and name their nodes as scipy does; a chain finds them in another order."""
    n_leaves = len(sizes)
    parent = np.arange(2 * n_leaves - 1)
    cells = np.concatenate([sizes, np.zeros(n_leaves - 1)])

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return int(node)

    rows = []
    for row, (one, other, height) in enumerate(sorted(merges, key=lambda merge: merge[2])):
        left, right = sorted((root(one), root(other)))
        node = n_leaves + row
        parent[[left, right]] = node
        cells[node] = cells[left] + cells[right]
        rows.append((left, right, height, cells[node], cells[left], cells[right]))
    types = {name: "float64" if name == "height" else "int64" for name in LINKAGE_COLUMNS}
    return pd.DataFrame(rows, columns=list(LINKAGE_COLUMNS)).astype(types)


def _micro_clusters(points: np.ndarray) -> np.ndarray:
    from sklearn.cluster import KMeans

    logger.info("Ward: %d cells are first joined in %d k-means groups", len(points), MICRO_CLUSTERS)
    grouping = KMeans(MICRO_CLUSTERS, n_init=1, max_iter=MICRO_ITERATIONS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stopped early on purpose
        membership = grouping.fit_predict(points.astype(np.float32))
    return np.unique(membership, return_inverse=True)[1]
