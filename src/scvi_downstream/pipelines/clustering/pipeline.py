"""Leiden, k-means and Ward clusters of a latent, and how far they can be trusted."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.clustering.nodes import (
    assemble_clusters,
    cluster_hierarchical,
    cluster_kmeans,
    cluster_leiden,
    compare_clusterings,
    plot_dendrogram,
    resample_leiden,
)
from scvi_downstream.pipelines.clustering.plots import plot_clustering, plot_clusters
from scvi_downstream.pipelines.copies import copied, per_model
from scvi_downstream.pipelines.declaration import Study


def template() -> Pipeline:
    """neighbors, latent ─► leiden, kmeans, hierarchical ─► clusters ─► agreement, figures."""
    return Pipeline(
        [
            Node(
                cluster_leiden,
                ["neighbors", "params:clustering", "params:seed"],
                "leiden",
                name="cluster_leiden",
            ),
            Node(
                resample_leiden,
                ["neighbors", "leiden", "params:clustering", "params:seed"],
                "leiden_stability",
                name="resample_leiden",
            ),
            Node(
                cluster_kmeans,
                ["latent", "params:clustering", "params:seed"],
                ["kmeans", "kmeans_silhouette"],
                name="cluster_kmeans",
            ),
            Node(
                cluster_hierarchical,
                ["latent", "leiden", "leiden_stability", "params:clustering"],
                ["hierarchical", "linkage"],
                name="cluster_hierarchical",
            ),
            Node(
                assemble_clusters,
                [
                    "leiden",
                    "leiden_stability",
                    "kmeans",
                    "kmeans_silhouette",
                    "hierarchical",
                    "params:clustering",
                ],
                ["clusters", "clustering_summary"],
                name="assemble_clusters",
            ),
            Node(
                compare_clusterings,
                ["clusters", "counts", "params:keys"],
                "cluster_agreement",
                name="compare_clusterings",
            ),
            Node(
                plot_clusters,
                ["umap", "clusters", "counts", "params:keys"],
                "clusters_figure",
                name="plot_clusters",
            ),
            Node(
                plot_clustering,
                ["leiden_stability", "kmeans_silhouette", "cluster_agreement", "clustering_summary"],
                "clustering_figure",
                name="plot_clustering",
            ),
            Node(plot_dendrogram, ["linkage", "hierarchical"], "dendrogram_figure", name="plot_dendrogram"),
        ],
        tags="clustering",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Clusters of every model."""
    return per_model(study, lambda _, name: copied(template(), name))
