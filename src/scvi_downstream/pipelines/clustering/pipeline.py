"""Leiden, k-means and Ward clusters of a latent, and how far they can be trusted."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.clustering.nodes import (
    assemble_clusters,
    cluster_kmeans,
    cluster_leiden,
    compare_clusterings,
    resample_leiden,
)
from scvi_downstream.pipelines.clustering.plots import plot_clustering, plot_clusters, plot_dendrogram
from scvi_downstream.pipelines.clustering.splits import find_splits
from scvi_downstream.pipelines.clustering.ward import cluster_hierarchical
from scvi_downstream.pipelines.copies import copied, per_model, step
from scvi_downstream.pipelines.declaration import Study

_OPTIONS = ["params:clustering", "params:seed"]
_LEIDEN = ["leiden", "leiden_stability"]
_KMEANS = ["kmeans", "kmeans_silhouette"]


def template(*, primary: bool) -> Pipeline:
    """neighbors, latent ─► leiden, kmeans, hierarchical ─► clusters ─► agreement, figures, splits of the primary's."""
    parts = {name: name for name in (*_LEIDEN, *_KMEANS, "hierarchical")} | {"options": "params:clustering"}
    chosen = ["counts", "clusters", "clustering_summary", "params:keys"]
    reasons = ["leiden_stability", "kmeans_silhouette", "cluster_agreement", "clustering_summary"]
    known = ["clusters", "counts", "params:keys"]
    return Pipeline(
        [
            step(cluster_leiden, ["neighbors", *_OPTIONS], "leiden"),
            step(resample_leiden, ["neighbors", "leiden", *_OPTIONS], "leiden_stability"),
            step(cluster_kmeans, ["latent", *_OPTIONS], _KMEANS),
            step(
                cluster_hierarchical, ["latent", *_LEIDEN, "params:clustering"], ["hierarchical", "linkage"]
            ),
            step(assemble_clusters, parts, ["clusters", "clustering_summary"]),
            *([step(find_splits, chosen, "leiden_splits")] if primary else []),
            step(compare_clusterings, known, "cluster_agreement"),
            step(plot_clusters, ["umap", *known], "clusters_figure"),
            step(plot_clustering, reasons, "clustering_figure"),
            step(plot_dendrogram, ["linkage", "hierarchical"], "dendrogram_figure"),
        ],
        tags="clustering",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Clusters of every model."""
    return per_model(study, lambda study, name: copied(template(primary=name == study.primary), name))
