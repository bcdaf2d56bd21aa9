"""Lineages: clusters, the minimum spanning tree on them, and its paths from a start cluster to the leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scvi_downstream.graphs.neighbors import NeighborsGraph, by_falling_size, communities, weighted_graph
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.progress import track

# Resolutions of the Leiden algorithm, from a few communities to some dozens.
RESOLUTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
RELATIVE_FLOOR = 1e-6  # Smallest eigenvalue of a covariance, relative to the mean variance of the data.


def take_landmarks(clusters: pd.DataFrame, options: TrajectoryOptions) -> pd.DataFrame:
    """The clusters that lineages go through: column ``landmark`` by cell.

    Raises
    ------
    InputError
        ``options.clustering`` is no column of the clusters.
    """
    column = options.clustering
    if column not in clusters:
        raise InputError(
            f"trajectory.clustering '{column}' is not a clustering{closest(column, map(str, clusters.columns))}"
        )
    return clusters[column].rename("landmark").to_frame()


def cluster_landmarks(neighbors: NeighborsGraph, primary_landmarks: pd.DataFrame, seed: int) -> pd.DataFrame:
    """As many communities of a representation without clusters as the primary model has landmarks."""
    return communities_like(neighbors, primary_landmarks["landmark"].nunique(), seed).to_frame()


def communities_like(neighbors: NeighborsGraph, n_clusters: int, seed: int) -> pd.Series:
    """Leiden communities of a graph, as nearly ``n_clusters`` as can be: the coarser of two that are equally near.

    ``(n_cells,)`` categories ``"0"`` (the largest), ``"1"``, …
    """
    graph = weighted_graph(neighbors.connectivities)
    found: list[np.ndarray] = []
    for resolution in RESOLUTIONS:
        found.append(communities(graph, resolution, seed))
        if len(np.unique(found[-1])) >= n_clusters:
            break
    nearest = min(found, key=lambda membership: abs(len(np.unique(membership)) - n_clusters))
    return pd.Series(by_falling_size(nearest), index=neighbors.cells.rename("cell"), name="landmark")


@dataclass(frozen=True, eq=False)
class ClusterTree:
    """Clusters joined by a minimum spanning tree and read from the start.

    ``clusters`` are the names of the ``n_clusters`` clusters with cells, in the order of the categories; at ``start``
    all lineages begin. ``centres`` are ``(n_clusters, n_dims)`` means, ``distances`` ``(n_clusters, n_clusters)``,
    scaled by the clusters' covariances; ``edges`` are ``(parent, child)`` pairs, parents before children, and
    ``lineages`` the paths from the start to each leaf, those through most clusters first.
    """

    clusters: tuple[str, ...]
    start: str
    centres: np.ndarray
    distances: np.ndarray
    edges: tuple[tuple[str, str], ...]
    lineages: tuple[tuple[str, ...], ...]


def choose_start_cluster(clusters: pd.Series, start_cells: np.ndarray) -> str:
    """The cluster that holds most start cells (positions) beyond its share by size.

    Raises
    ------
    InputError
        When there are no start cells.
    """
    if len(start_cells) == 0:
        raise InputError(
            "there are no start cells, so no cluster can be the start; name a start that has cells"
        )
    codes, names = _codes_and_names(clusters)
    starting = np.bincount(codes[start_cells], minlength=len(names))
    excess = starting - np.bincount(codes) * len(start_cells) / len(codes)
    return names[int(excess.argmax())]


def cluster_distances(
    latent: np.ndarray, codes: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances between cluster centres in units of the clusters' own spread, and the centres.

    ``sqrt((m_i - m_j)' (S_i + S_j)^-1 (m_i - m_j))``, as Slingshot has it (Street et al. 2018,
    doi:10.1186/s12864-018-4772-0). Each covariance is averaged with the pooled one, which counts as ``n_dims``
    cells, and its eigenvalues are bounded below: clusters of a few cells, or cells that lie on a line, still have
    distances.

    ``latent`` is ``(n_cells, n_dims)``, ``codes`` the clusters ``0 .. n_clusters - 1`` of the cells, none of them
    empty, and ``weights`` how often each cell counts; a cluster whose cells count for nothing keeps their plain
    mean.
    """
    n_clusters, n_dims = int(codes.max()) + 1, latent.shape[1]
    counts = np.ones(len(codes)) if weights is None else weights.astype(np.float64)
    empty = np.bincount(codes, counts, minlength=n_clusters) == 0
    counts = np.where(empty[codes], 1.0, counts)
    centres, scatter = np.empty((n_clusters, n_dims)), np.empty((n_clusters, n_dims, n_dims))
    sizes = np.bincount(codes, counts, minlength=n_clusters)
    for k in range(n_clusters):
        cells = np.flatnonzero(codes == k)
        centres[k] = counts[cells] @ latent[cells] / sizes[k]
        deviations = latent[cells] - centres[k]
        scatter[k] = (deviations * counts[cells, None]).T @ deviations
    pooled = scatter.sum(axis=0) / max(sizes.sum() - n_clusters, 1)
    covariances = (scatter + n_dims * pooled) / (sizes - 1 + n_dims)[:, None, None]
    floor = max(RELATIVE_FLOOR * float(np.mean(np.var(latent, axis=0))), np.finfo(np.float64).tiny)
    distances = np.zeros((n_clusters, n_clusters))
    for i in range(n_clusters):
        for j in range(i):
            apart = centres[i] - centres[j]
            distances[i, j] = distances[j, i] = _length(apart, covariances[i] + covariances[j], floor)
    return distances, centres


def _length(apart: np.ndarray, covariance: np.ndarray, floor: float) -> float:
    """Mahalanobis length, eigenvalues of the covariance bounded below."""
    try:
        # a factor of this exists where all eigenvalues are above the bound: ten times as fast as to ask for them
        np.linalg.cholesky(covariance - floor * np.eye(len(apart)))
        return float(np.sqrt(apart @ np.linalg.solve(covariance, apart)))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return float(np.sqrt(np.sum((vectors.T @ apart) ** 2 / np.maximum(values, floor))))


def build_tree(
    latent: np.ndarray, clusters: pd.Series, start: str, *, ends: Sequence[str] = ()
) -> ClusterTree:
    """Minimum spanning tree of the clusters with cells, and its lineages.

    ``latent`` is ``(n_cells, n_dims)``. Lineages begin at ``start``; clusters of ``ends`` must be leaves: each is
    joined to the nearest cluster that is not one of them.

    Raises
    ------
    InputError
        When there is one cluster only, when a name is not a cluster, or when ``ends`` leave no tree.
    """
    codes, names = _codes_and_names(clusters)
    _check_names(names, start, ends)
    distances, centres = cluster_distances(np.asarray(latent, dtype=np.float64), codes)
    edges = _spanning_edges(distances, [names.index(end) for end in ends])
    directed = _edges_from_start(edges, names.index(start))
    paths = _paths_to_leaves(directed)
    named = tuple((names[parent], names[child]) for parent, child in directed)
    lineages = tuple(tuple(names[k] for k in path) for path in paths)
    return ClusterTree(names, str(start), centres, distances, named, lineages)


def edge_confidence(
    latent: np.ndarray,
    clusters: pd.Series,
    tree: ClusterTree,
    *,
    ends: Sequence[str] = (),
    n_bootstraps: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """How often each edge of the tree of :func:`build_tree` comes back when cells are drawn again.

    Cells are drawn with replacement; their clusters stay as they are, so that the uncertainty of the clustering
    itself is not in this number. ``latent``, ``clusters`` and ``ends`` are those that the tree was built from.

    Returns
    -------
    One row an edge: ``parent``, ``child``, ``distance`` in units of the clusters' spread, ``confidence`` in [0, 1] and
    ``alternative``: the pair of clusters, written ``a – b``, that most often stood in for the edge when it was missing
    (empty when it never was).
    """
    codes, names = _codes_and_names(clusters)
    latent, fixed = np.asarray(latent, dtype=np.float64), [names.index(end) for end in ends]
    pairs = [(names.index(parent), names.index(child)) for parent, child in tree.edges]
    edges = [frozenset(pair) for pair in pairs]
    rng, found = np.random.default_rng(seed), np.zeros(len(edges))
    others: list[Counter[frozenset[int]]] = [Counter() for _ in edges]
    for _ in track(range(n_bootstraps), "Resampling the tree of clusters", n_bootstraps):
        drawn = np.bincount(rng.integers(0, len(codes), len(codes)), minlength=len(codes))
        resampled = set(map(frozenset, _spanning_edges(cluster_distances(latent, codes, drawn)[0], fixed)))
        for e, edge in enumerate(edges):
            if edge in resampled:
                found[e] += 1
                continue
            one_side = _side_of_edge(edges, edge)
            others[e].update(pair for pair in resampled if len(pair & one_side) == 1)
    return pd.DataFrame(tree.edges, columns=["parent", "child"]).assign(
        distance=[tree.distances[pair] for pair in pairs],
        confidence=found / n_bootstraps,
        alternative=[_most_frequent(counted, names) for counted in others],
    )


def _codes_and_names(clusters: pd.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    categories = pd.Categorical(clusters).remove_unused_categories()
    without = int((categories.codes < 0).sum())
    if without:
        raise InputError(f"{without} cells have no cluster; give each cell one, or leave these cells out")
    return categories.codes.astype(np.intp), tuple(str(name) for name in categories.categories)


def _check_names(names: tuple[str, ...], start: str, ends: Sequence[str]) -> None:
    if len(names) < 2:
        raise InputError(
            "lineages need at least 2 clusters and there is 1; raise the resolution of the clustering"
        )
    for option, name in [("start", start), *(("ends", end) for end in ends)]:
        if str(name) not in names:
            raise InputError(f"{option} '{name}' is not a cluster{closest(str(name), names)}")
    if start in ends:
        raise InputError(f"'{start}' is both the start and one of the ends; lineages need two clusters")
    if len(set(ends)) == len(names):
        raise InputError("all clusters are ends, so nothing joins them; name fewer ends")


def _spanning_edges(distances: np.ndarray, ends: Sequence[int]) -> list[tuple[int, int]]:
    """Edges of the minimum spanning tree by Prim's rule, ends hung on last."""
    inner = [k for k in range(len(distances)) if k not in ends]
    joined, edges = inner[:1], []
    while len(joined) < len(inner):
        rest = [k for k in inner if k not in joined]
        block = distances[np.ix_(joined, rest)]
        i, j = np.unravel_index(block.argmin(), block.shape)
        edges.append((joined[i], rest[j]))
        joined.append(rest[j])
    return edges + [(inner[int(distances[end, inner].argmin())], end) for end in dict.fromkeys(ends)]


def _edges_from_start(edges: list[tuple[int, int]], start: int) -> list[tuple[int, int]]:
    """Edges as parent and child, level by level, children of one parent in order."""
    first, second = np.array(edges).T
    both = np.r_[first, second], np.r_[second, first]
    graph = sparse.coo_matrix((np.ones(2 * len(edges)), both)).tocsr()
    nodes, parents = csgraph.breadth_first_order(graph, start)
    return [(int(parents[node]), int(node)) for node in nodes[1:]]


def _paths_to_leaves(directed: list[tuple[int, int]]) -> list[list[int]]:
    paths = {directed[0][0]: [directed[0][0]]}
    for parent, child in directed:
        paths[child] = [*paths[parent], child]
    leaves = paths.keys() - {parent for parent, _ in directed}
    return sorted((paths[leaf] for leaf in leaves), key=lambda path: (-len(path), path))


def _side_of_edge(edges: list[frozenset[int]], removed: frozenset[int]) -> frozenset[int]:
    """Clusters on one side of a removed edge."""
    side = {min(removed)}
    while True:
        grown = side.union(*(edge for edge in edges if edge != removed and edge & side))
        if grown == side:
            return frozenset(side)
        side = grown


def _most_frequent(counted: Counter[frozenset[int]], names: tuple[str, ...]) -> str:
    if not counted:
        return ""
    pair = min(counted, key=lambda pair: (-counted[pair], sorted(pair)))
    return " – ".join(names[k] for k in sorted(pair))
