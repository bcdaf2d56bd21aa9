"""Ward's hierarchical clustering without a distance matrix, its cut into clusters, and the top of its tree."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.clustering.report import recommend
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.threads import one_thread

logger = logging.getLogger(__name__)

LINKAGE_COLUMNS = ["left", "right", "height", "size", "left_size", "right_size"]
MOST_LEAVES = 10_000  # Cells up to which each is a leaf: the time grows with their square.
MICRO_CLUSTERS = 2_000  # k-means groups that are the leaves beyond that.
MICRO_ITERATIONS = 20


def cluster_hierarchical(
    latent: pd.DataFrame, leiden: pd.DataFrame, leiden_stability: pd.DataFrame, options: ClusteringOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ward tree, cut into ``options.hierarchical_k`` clusters or as many as the recommended Leiden has.

    ``latent`` is `n_cells` × `n_latent`; ``leiden`` and ``leiden_stability`` decide the number of clusters.

    Returns
    -------
    `n_cells` × ``hierarchical``; linkage ``left, right, height, size`` as scipy has it, ``left_size`` and
    ``right_size`` beside it, over cells (up to 10,000) or over groups of cells.
    """
    k = options.hierarchical_k or recommend(leiden, leiden_stability, options.min_stability).n_clusters
    tree = ward_tree(latent.to_numpy())
    membership = tree.cut(min(k, len(tree.linkage) + 1))
    categories = [str(i) for i in range(membership.max() + 1)]
    hierarchical = pd.Categorical.from_codes(membership, categories=categories)
    return pd.DataFrame({"hierarchical": hierarchical}, index=latent.index.rename("cell")), tree.linkage


@dataclass(frozen=True)
class WardTree:
    """A tree over leaves, which are cells or small groups of cells.

    ``linkage`` has one row a merge by rising height, as scipy has it, ``size`` in cells, both sides' sizes beside it.
    Leaves are the nodes ``0 … n_leaves - 1``, the node of row `i` is ``n_leaves + i``; ``leaf_of_cell`` is
    ``(n_cells,)``.
    """

    linkage: pd.DataFrame
    leaf_of_cell: np.ndarray

    def cut(self, k: int) -> np.ndarray:
        """Membership ``(n_cells,)`` in ``k`` clusters: positions in :func:`subtrees`."""
        return _node_membership(self.linkage, k)[self.leaf_of_cell]


def ward_tree(points: np.ndarray) -> WardTree:
    """Ward tree of all cells; beyond 10,000 of 2,000 k-means groups with their sizes as weights.

    ``points`` are ``(n_cells, n_dims)``. Up to 10,000 cells the tree is exact; beyond, heights and merges are exact
    for the groups. Ward (1963), doi:10.1080/01621459.1963.10500845; groups first: Zhang, Ramakrishnan & Livny (1996),
    doi:10.1145/235968.233324.
    """
    points = np.asarray(points, dtype=np.float64)
    if len(points) <= MOST_LEAVES:
        return WardTree(linkage(points, np.ones(len(points))), np.arange(len(points)))
    leaf_of_cell = _micro_clusters(points)
    sizes = np.bincount(leaf_of_cell).astype(np.float64)
    sums = np.column_stack([np.bincount(leaf_of_cell, weights=column) for column in points.T])
    return WardTree(linkage(sums / sizes[:, None], sizes), leaf_of_cell)


def _micro_clusters(points: np.ndarray) -> np.ndarray:
    from sklearn.cluster import KMeans

    logger.info("Ward: %d cells are first joined in %d k-means groups", len(points), MICRO_CLUSTERS)
    grouping = KMeans(MICRO_CLUSTERS, n_init=1, max_iter=MICRO_ITERATIONS, random_state=0)
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stopped early on purpose
        membership = grouping.fit_predict(points.astype(np.float32))
    return np.unique(membership, return_inverse=True)[1]


def linkage(centroids: np.ndarray, sizes: np.ndarray) -> pd.DataFrame:
    """Ward linkage of weighted points by nearest-neighbour chains: memory grows with ``n``, time with ``n²``.

    ``centroids`` are ``(n_leaves, n_dims)``, ``sizes`` the ``(n_leaves,)`` cells in each leaf. ``n_leaves - 1`` rows;
    with sizes of one equal to ``scipy.cluster.hierarchy.linkage(centroids, "ward")``.

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
        # Two leaves that are each other's nearest are merged; the rest of the chain stays valid.
        partner = chain[-2]
        del chain[-2:]
        merges.append((leaves[partner], leaves[here], float(np.sqrt(costs[partner]))))
        total = weights[here] + weights[partner]
        centroids[here] = (weights[here] * centroids[here] + weights[partner] * centroids[partner]) / total
        weights[here] = total
        alive[partner] = False
        progress.advance()
        # Merged leaves are swept out when they are half of all, so that costs are computed of few of them.
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
    for node, (one, other, height) in enumerate(sorted(merges, key=lambda merge: merge[2]), n_leaves):
        left, right = sorted((root(one), root(other)))
        parent[[left, right]] = node
        cells[node] = cells[left] + cells[right]
        rows.append((left, right, height, cells[node], cells[left], cells[right]))
    types = dict.fromkeys(LINKAGE_COLUMNS, "int64") | {"height": "float64"}
    return pd.DataFrame(rows, columns=LINKAGE_COLUMNS).astype(types)


def subtrees(linkage: pd.DataFrame, k: int) -> list[int]:
    """Nodes of the cut into ``k`` clusters, by falling size; the tree's own numbering breaks ties.

    ``k`` is at most the number of leaves.
    """
    sizes = node_sizes(linkage)
    n_leaves = len(linkage) + 1
    k = min(k, n_leaves)
    # The last k - 1 merges lie above the cut: what they join, and none of them.
    joined = linkage[["left", "right"]].to_numpy(np.int64)[n_leaves - k :].ravel().tolist()
    below = [node for node in (*joined, 2 * n_leaves - 2) if node < 2 * n_leaves - k]
    return sorted(below, key=lambda node: (-sizes[node], node))


def node_sizes(linkage: pd.DataFrame) -> np.ndarray:
    """Cells below every node: leaves first, then one a row."""
    sizes = np.empty(2 * len(linkage) + 1)
    sizes[linkage["left"].to_numpy(np.int64)] = linkage["left_size"]
    sizes[linkage["right"].to_numpy(np.int64)] = linkage["right_size"]
    sizes[-1] = linkage["size"].iloc[-1] if len(linkage) else 1
    return sizes


def _node_membership(linkage: pd.DataFrame, k: int) -> np.ndarray:
    """``(2 * n_leaves - 1,)`` position of each node's cluster in :func:`subtrees`; -1 above the cut."""
    n_leaves = len(linkage) + 1
    k = min(k, n_leaves)
    children = linkage[["left", "right"]].to_numpy(np.int64)
    membership = np.full(2 * n_leaves - 1, -1)
    membership[subtrees(linkage, k)] = np.arange(k)
    for row in reversed(range(n_leaves - k)):
        membership[children[row]] = membership[n_leaves + row]
    return membership


@dataclass(frozen=True)
class Crown:
    """The top of a tree, whose leaves are subtrees.

    ``linkage`` is ``(n_shown - 1, 4)``, as scipy has it, ``sizes`` the ``(n_shown,)`` cells below each leaf,
    ``clusters`` the ``(2 * n_shown - 1,)`` cluster of each node of the crown, leaves first, -1 above the cut, and
    ``cut_height`` lies between the last merge inside a cluster and the first between clusters; NaN for one cluster.
    """

    linkage: np.ndarray
    sizes: np.ndarray
    clusters: np.ndarray
    cut_height: float


def crown(linkage: pd.DataFrame, k: int, n_shown: int) -> Crown:
    """The tree above its ``n_shown`` largest-height subtrees, each inside one of ``k`` clusters.

    ``n_shown`` leaves are wanted: raised to ``k``, cut to what there is.
    """
    n_leaves = len(linkage) + 1
    n_shown = min(max(n_shown, k), n_leaves)
    first_row = n_leaves - n_shown
    nodes = [*sorted(subtrees(linkage, n_shown)), *range(n_leaves + first_row, 2 * n_leaves - 1)]
    position = {node: i for i, node in enumerate(nodes)}
    top = np.empty((n_shown - 1, 4))
    counted = np.ones(2 * n_shown - 1)
    for i, row in enumerate(linkage.iloc[first_row:].itertuples()):
        left, right = position[row.left], position[row.right]
        counted[n_shown + i] = counted[left] + counted[right]
        top[i] = left, right, row.height, counted[n_shown + i]
    heights = linkage["height"].to_numpy()
    below = heights[n_leaves - k - 1] if k < n_leaves else 0.0
    return Crown(
        linkage=top,
        sizes=node_sizes(linkage)[nodes[:n_shown]].astype(int),
        clusters=_node_membership(linkage, k)[nodes],
        cut_height=float((below + heights[n_leaves - k]) / 2) if k > 1 else float("nan"),
    )
