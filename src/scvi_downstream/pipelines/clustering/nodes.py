"""Leiden and k-means clusters of a latent, how far they can be trusted, and all clusterings in one table."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph, by_falling_size, communities, weighted_graph
from scvi_downstream.pipelines.clustering.options import ClusteringOptions, leiden_column
from scvi_downstream.pipelines.clustering.report import describe_kmeans, recommend
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.progress import Progress, track
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.threads import one_thread
from scvi_downstream.scoring.clusterings import (
    adjusted_rand_index,
    contingency,
    normalised_mutual_information,
)

# Cells on which numbers of clusters are compared; the chosen one is fitted on all.
MOST_CELLS_FITTED = 10_000
MOST_CELLS_MEASURED = 3_000  # Cells of the silhouette, whose distance matrix is held in memory (72 MB).
STARTS = 5
MOST_ITERATIONS = 300


def cluster_leiden(neighbors: NeighborsGraph, options: ClusteringOptions, seed: int) -> pd.DataFrame:
    """Leiden communities of the shared graph: `n_cells` rows, one categorical column a resolution."""
    graph = weighted_graph(neighbors.connectivities)
    found = {
        leiden_column(each): by_falling_size(communities(graph, each, seed)) for each in options.resolutions
    }
    return pd.DataFrame(found, index=neighbors.cells.rename("cell"))


def resample_leiden(
    neighbors: NeighborsGraph, leiden: pd.DataFrame, options: ClusteringOptions, seed: int
) -> pd.DataFrame:
    """Whether two halves of the cells, clustered without each other, are split alike.

    Subsets that overlap share their noise and call splits of noise stable; disjoint halves do not. A half sees its
    induced part of the graph of all cells; ``leiden`` has their clusters, one column a resolution.

    Returns
    -------
    ``resolution, replicate, n_clusters, ari``, two rows a resolution and division: the clusters of one half, and
    their adjusted Rand index with the clusters of the other half, carried over by the edges between the halves. It is
    0 where all cells have several clusters and a half has one.

    References
    ----------
    Lange et al. (2004), doi:10.1162/089976604773717621; Tibshirani & Walther (2005),
    doi:10.1198/106186005X59243.
    """
    connectivities = neighbors.connectivities
    n_cells = connectivities.shape[0]
    generator = np.random.default_rng(seed)
    n_divisions = options.stability_replicates
    progress = Progress("Testing the stability of Leiden clusters", n_divisions * len(options.resolutions))
    rows = []
    for division in range(n_divisions):
        order = generator.permutation(n_cells)
        halves = np.sort(order[: n_cells // 2]), np.sort(order[n_cells // 2 :])
        graphs = [weighted_graph(connectivities[half][:, half]) for half in halves]
        between = connectivities[halves[0]][:, halves[1]]
        for resolution in options.resolutions:
            first, second = (communities(graph, resolution, seed + division + 1) for graph in graphs)
            is_split = len(leiden[leiden_column(resolution)].cat.categories) > 1
            pairs = ((first, second, between), (second, first, between.T))
            for side, (own, other, edges) in enumerate(pairs):
                ari = _transfer_agreement(own, other, edges, is_split=is_split)
                rows.append((resolution, 2 * division + side, len(np.unique(own)), ari))
            progress.advance()
    return pd.DataFrame(rows, columns=["resolution", "replicate", "n_clusters", "ari"])


def _transfer_agreement(
    own: np.ndarray, other: np.ndarray, edges: sparse.csr_matrix, *, is_split: bool
) -> float:
    from sklearn.metrics import adjusted_rand_score

    if is_split and min(own.max(), other.max()) == 0:
        return 0.0
    votes = edges @ np.eye(other.max() + 1)[other]
    reached = votes.sum(axis=1) > 0
    return float(adjusted_rand_score(own[reached], votes[reached].argmax(axis=1)))


def cluster_kmeans(
    latent: pd.DataFrame, options: ClusteringOptions, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """k-means on a latent, `n_cells` × `n_latent`, with the best mean silhouette width, or ``options.kmeans_k``.

    Returns
    -------
    `n_cells` × ``kmeans``; one row a number of clusters tried: ``k, silhouette, inertia, chosen``.
    """
    points = latent.to_numpy(np.float64)
    most = max(1, min(options.kmeans_max_k, len(np.unique(points, axis=0)) - 1))
    tried = _choose_k(points, list(range(2, most + 1)), seed)
    k = int(tried.loc[tried["chosen"], "k"].iloc[0]) if len(tried) else 1
    if options.kmeans_k:
        k = min(options.kmeans_k, len(points))
        tried = tried.assign(chosen=tried["k"] == k)
    membership, _ = _partition(points, k, seed)
    return pd.DataFrame({"kmeans": by_falling_size(membership)}, index=latent.index.rename("cell")), tried


def _choose_k(points: np.ndarray, candidates: list[int], seed: int) -> pd.DataFrame:
    """Mean silhouette width and inertia of each number of clusters, on at most 10,000 cells.

    ``k``, ``silhouette`` in [-1, 1] (of at most 3,000 cells), ``inertia`` (squared latent units, of the cells fitted)
    and ``chosen``, which marks the best silhouette. Rousseeuw (1987), doi:10.1016/0377-0427(87)90125-7.
    """
    from sklearn.metrics import pairwise_distances, silhouette_score

    generator = np.random.default_rng(seed)
    if len(points) > MOST_CELLS_FITTED:
        points = points[np.sort(generator.choice(len(points), MOST_CELLS_FITTED, replace=False))]
    measured = np.sort(generator.permutation(len(points))[:MOST_CELLS_MEASURED])
    distances = pairwise_distances(points[measured])
    np.fill_diagonal(distances, 0)
    rows = []
    for k in track(candidates, "Choosing k of k-means", len(candidates)):
        membership, inertia = _partition(points, k, seed)
        seen = membership[measured]
        separable = 2 <= len(np.unique(seen)) < len(seen)
        width = silhouette_score(distances, seen, metric="precomputed") if separable else np.nan
        rows.append((k, width, inertia))
    table = pd.DataFrame(rows, columns=["k", "silhouette", "inertia"])
    best = table["silhouette"].fillna(-1).idxmax() if len(table) else None
    return table.assign(chosen=table.index == best)


def _partition(points: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, float]:
    """Best of several k-means++ starts: membership ``(n_cells,)`` and inertia.

    Arthur & Vassilvitskii (2007), SODA, pp. 1027-1035.
    """
    from sklearn.cluster import KMeans

    with one_thread():  # beside a busy core, two wait for each other for four times as long
        fit = KMeans(k, n_init=STARTS, max_iter=MOST_ITERATIONS, random_state=seed).fit(points)
    return fit.labels_, float(fit.inertia_)


def assemble_clusters(
    leiden: pd.DataFrame,
    leiden_stability: pd.DataFrame,
    kmeans_silhouette: pd.DataFrame,
    options: ClusteringOptions,
    **others: pd.DataFrame,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """All clusterings in one table, and which of them to work with.

    Parameters
    ----------
    leiden, others
        Clusterings of the same cells: of every resolution, and ``kmeans``, ``hierarchical`` and any other.
    leiden_stability, kmeans_silhouette, options
        What the choices rest on, with ``min_stability``.

    Returns
    -------
    `n_cells` × (``leiden_<resolution>`` …, ``leiden`` = the recommended one, ``kmeans``, ``hierarchical``);
    summary: ``recommended_resolution``, ``recommended_column``, ``stable``, ``min_stability``, ``reason``,
    ``n_clusters`` and mean ``stability`` by column, and ``kmeans``: ``k``, ``silhouette``, ``reason``.
    """
    best = recommend(leiden, leiden_stability, options.min_stability)
    clusters = leiden.assign(leiden=leiden[best.column]).join(list(others.values()), validate="1:1")
    mean = leiden_stability.groupby("resolution")["ari"].mean()
    summary = {
        "recommended_resolution": best.resolution,
        "recommended_column": best.column,
        "stable": best.stable,
        "min_stability": options.min_stability,
        "reason": best.reason,
        "n_clusters": {column: int(clusters[column].nunique()) for column in clusters},
        "stability": {leiden_column(resolution): float(ari) for resolution, ari in mean.items()},
        "kmeans": describe_kmeans(kmeans_silhouette, clusters["kmeans"].nunique()),
    }
    return clusters, summary


def compare_clusterings(clusters: pd.DataFrame, counts: AnnData, keys: Keys) -> pd.DataFrame:
    """Adjusted Rand index and normalised mutual information of every pair of clusterings.

    ``clusters`` have `n_cells` rows, one categorical column a clustering; ``counts`` hold labels and batch of the same
    cells in obs.

    Returns
    -------
    ``clustering_a, clustering_b, ari, nmi, n_cells``. ``clustering_a`` is a column of ``clusters``;
    ``clustering_b`` another, or ``label`` (cells of unknown label left out), or ``batch``, with which a good
    integration hardly agrees.

    References
    ----------
    Hubert & Arabie (1985), doi:10.1007/BF01908075; Vinh, Epps & Bailey (2010), JMLR 11:2837.
    """
    obs = counts.obs.loc[clusters.index]
    codes = {name: pd.factorize(clusters[name])[0] for name in clusters.columns}
    rows = [(a, b, *_agreement(codes[a], codes[b])) for a, b in combinations(codes, 2)]
    for name, key in (("label", keys.label_key), ("batch", keys.batch_key)):
        if not key:
            continue
        texts = obs[key].astype(str)
        known = (texts != UNKNOWN).to_numpy() if name == "label" else np.ones(len(obs), dtype=bool)
        groups, found = pd.factorize(texts[known])
        if len(found) > 1:
            rows += [(column, name, *_agreement(codes[column][known], groups)) for column in codes]
    return pd.DataFrame(rows, columns=["clustering_a", "clustering_b", "ari", "nmi", "n_cells"])


def _agreement(clusters: np.ndarray, other: np.ndarray) -> tuple[float, float, int]:
    table = contingency(clusters, other, np.ones((1, len(clusters))))
    return float(adjusted_rand_index(table)[0]), float(normalised_mutual_information(table)[0]), len(clusters)
