"""Latent space, its neighbours graph and its UMAPs: a template, copied per model and per baseline."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import copied, per_baseline, per_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.embedding.nodes import (
    build_neighbors,
    compute_harmony,
    compute_latent,
    compute_pca,
    compute_scanorama,
    compute_umap,
    compute_umap_3d,
)
from scvi_downstream.pipelines.embedding.plots import plot_embedding
from scvi_downstream.plots.umap import plot_umap_3d

_LATENT = {
    "model": lambda: Node(
        compute_latent, ["fitted", "counts", "params:accelerator"], "latent", name="compute_latent"
    ),
    "pca": lambda: Node(
        compute_pca,
        ["counts", "params:embedding", "params:seed"],
        ["latent", "training_summary"],
        name="compute_pca",
    ),
    "harmony": lambda: Node(
        compute_harmony,
        ["counts", "pca.latent", "params:keys", "params:seed"],
        ["latent", "training_summary"],
        name="compute_harmony",
    ),
    "scanorama": lambda: Node(
        compute_scanorama,
        ["counts", "params:embedding", "params:keys", "params:seed"],
        ["latent", "training_summary"],
        name="compute_scanorama",
    ),
}


def template(latent_of: str = "model") -> Pipeline:
    """Fitted ─► latent ─► neighbors ─► umap, umap_3d ─► figures.

    ``latent_of`` is ``model``, or the baseline (``pca``, ``harmony``, ``scanorama``) that the latent is computed by.
    """
    return Pipeline(
        [
            _LATENT[latent_of](),
            Node(
                build_neighbors,
                ["latent", "params:embedding", "params:seed"],
                "neighbors",
                name="build_neighbors",
            ),
            Node(
                compute_umap,
                ["latent", "neighbors", "params:embedding", "params:seed"],
                "umap",
                name="compute_umap",
            ),
            Node(
                compute_umap_3d,
                ["latent", "neighbors", "params:embedding", "params:seed"],
                "umap_3d",
                name="compute_umap_3d",
            ),
            Node(
                plot_embedding,
                ["umap", "counts", "qc_metrics", "params:keys", "params:embedding"],
                "embedding_figure",
                name="plot_embedding",
            ),
            Node(
                plot_umap_3d,
                ["umap_3d", "counts", "qc_metrics", "params:keys", "params:embedding"],
                "umap_3d_page",
                name="plot_umap_3d",
            ),
        ],
        tags="embedding",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Latent, graph and UMAPs of every model and baseline."""
    of_models = per_model(study, lambda _, name: copied(template(), name))
    return of_models + per_baseline(study, lambda name: copied(template(latent_of=name), name))
