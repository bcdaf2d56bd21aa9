"""Leiden, k-means and Ward clusters of a latent, and how far they can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.communities import by_falling_size, communities, weighted_graph
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.clustering.kmeans import choose_k, describe_choice, partition
from scvi_downstream.pipelines.clustering.leiden import agreement, column_of, stability
from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.clustering.plots import draw_dendrogram, plot_clustering, plot_clusters
from scvi_downstream.pipelines.clustering.report import recommend
from scvi_downstream.pipelines.clustering.ward import crown, ward_tree

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

LEAVES_SHOWN = 30

__all__ = [
    "assemble_clusters",
    "cluster_hierarchical",
    "cluster_kmeans",
    "cluster_leiden",
    "compare_clusterings",
    "plot_clustering",
    "plot_clusters",
    "plot_dendrogram",
    "resample_leiden",
]


def cluster_leiden(neighbors: NeighborsGraph, options: ClusteringOptions, seed: int) -> pd.DataFrame:
    """Leiden communities of the shared graph: `n_cells` rows, one categorical column a resolution.

    Parameters
    ----------
    neighbors
        Symmetric connectivities in [0, 1].
    options
        Resolutions.
    seed
        Of Leiden.
    """
    graph = weighted_graph(neighbors.connectivities)
    found = {
        column_of(resolution): by_falling_size(communities(graph, resolution, seed))
        for resolution in sorted(set(options.leiden_resolutions))
    }
    return pd.DataFrame(found, index=neighbors.cells.rename("cell"))


def resample_leiden(
    neighbors: NeighborsGraph, leiden: pd.DataFrame, options: ClusteringOptions, seed: int
) -> pd.DataFrame:
    """Whether halves of the cells agree on the communities: ``resolution, replicate, n_clusters, ari``.

    Parameters
    ----------
    neighbors
        Graph of all cells.
    leiden
        Its communities.
    options
        Resolutions and number of divisions into halves.
    seed
        Of the divisions.
    """
    resolutions = tuple(sorted(set(options.leiden_resolutions)))
    return stability(neighbors.connectivities, leiden, resolutions, options.stability_replicates, seed)


def cluster_kmeans(
    latent: pd.DataFrame, options: ClusteringOptions, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """k-means with the best mean silhouette width, or ``options.kmeans_k``.

    Parameters
    ----------
    latent
        `n_cells` × `n_latent`.
    options
        ``kmeans_k`` fixes the number of clusters; ``kmeans_max_k`` bounds the search.
    seed
        Of samples and starts.

    Returns
    -------
    `n_cells` × ``kmeans``; one row a number of clusters tried: ``k, silhouette, inertia, chosen``.
    """
    points = latent.to_numpy(np.float64)
    most = max(1, min(options.kmeans_max_k, len(np.unique(points, axis=0)) - 1))
    tried = choose_k(points, list(range(2, most + 1)), seed)
    k = int(tried.loc[tried["chosen"], "k"].iloc[0]) if len(tried) else 1
    if options.kmeans_k:
        k = min(options.kmeans_k, len(points))
        tried = tried.assign(chosen=tried["k"] == k)
    membership, _ = partition(points, k, seed)
    return pd.DataFrame({"kmeans": by_falling_size(membership)}, index=latent.index.rename("cell")), tried


def cluster_hierarchical(
    latent: pd.DataFrame, leiden: pd.DataFrame, leiden_stability: pd.DataFrame, options: ClusteringOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ward tree, cut into ``options.hierarchical_k`` clusters or as many as the recommended Leiden has.

    Parameters
    ----------
    latent
        `n_cells` × `n_latent`.
    leiden, leiden_stability
        Decide the number of clusters.
    options
        ``hierarchical_k``, ``min_stability``.

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


def assemble_clusters(
    leiden: pd.DataFrame,
    leiden_stability: pd.DataFrame,
    kmeans: pd.DataFrame,
    kmeans_silhouette: pd.DataFrame,
    hierarchical: pd.DataFrame,
    options: ClusteringOptions,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """All clusterings in one table, and which of them to work with.

    Parameters
    ----------
    leiden, kmeans, hierarchical
        Clusterings of the same cells.
    leiden_stability, kmeans_silhouette
        What the choices rest on.
    options
        ``min_stability``.

    Returns
    -------
    `n_cells` × (``leiden_<resolution>`` …, ``leiden`` = the recommended one, ``kmeans``, ``hierarchical``);
    summary: ``recommended_resolution``, ``recommended_column``, ``stable``, ``min_stability``, ``reason``,
    ``n_clusters`` and mean ``stability`` by column, and ``kmeans``: ``k``, ``silhouette``, ``reason``.
    """
    best = recommend(leiden, leiden_stability, options.min_stability)
    clusters = leiden.assign(leiden=leiden[best.column]).join(
        [kmeans, hierarchical], how="left", validate="1:1"
    )
    mean = leiden_stability.groupby("resolution")["ari"].mean()
    summary = {
        "recommended_resolution": best.resolution,
        "recommended_column": best.column,
        "stable": best.stable,
        "min_stability": options.min_stability,
        "reason": best.reason,
        "n_clusters": {column: int(clusters[column].nunique()) for column in clusters},
        "stability": {column_of(resolution): float(ari) for resolution, ari in mean.items()},
        "kmeans": describe_choice(kmeans_silhouette, clusters["kmeans"].nunique()),
    }
    return clusters, summary


def compare_clusterings(clusters: pd.DataFrame, counts: AnnData, keys: Keys) -> pd.DataFrame:
    """ARI and NMI of every pair of clusterings, and with labels and batch; see :func:`.agreement`."""
    return agreement(clusters, counts, keys)


def plot_dendrogram(linkage: pd.DataFrame, hierarchical: pd.DataFrame) -> Figure:
    """The top of the Ward tree, its leaves named by cluster and number of cells.

    Parameters
    ----------
    linkage
        Of :func:`cluster_hierarchical`.
    hierarchical
        The clusters it was cut into.
    """
    top = crown(linkage, hierarchical["hierarchical"].nunique(), LEAVES_SHOWN)
    return draw_dendrogram(top.linkage, top.sizes, top.clusters, top.cut_height)
