"""Latent space, its neighbours graph and its UMAPs: a template, copied per model and per baseline."""

from collections.abc import Callable

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import copied, per_baseline, per_model, step
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

_OPTIONS = ["params:embedding", "params:seed"]
_GRAPH = ["latent", "neighbors", *_OPTIONS]
_DRAWN = ["counts", "qc_metrics", "params:keys", "params:embedding"]
_COMPUTE: dict[str, tuple[Callable, list[str]]] = {
    "model": (compute_latent, ["fitted", "counts", "params:accelerator"]),
    "pca": (compute_pca, ["counts", *_OPTIONS]),
    "harmony": (compute_harmony, ["counts", "pca.latent", "params:keys", "params:seed"]),
    "scanorama": (compute_scanorama, ["counts", "params:embedding", "params:keys", "params:seed"]),
}


def template(latent_of: str = "model", *, in_space: bool = False) -> Pipeline:
    """Fitted ─► latent ─► neighbors ─► umap, figure; ``in_space`` umap_3d, too.

    ``latent_of`` is ``model``, or the baseline (``pca``, ``harmony``, ``scanorama``) that the latent is computed by.
    """
    compute, inputs = _COMPUTE[latent_of]
    outputs = "latent" if latent_of == "model" else ["latent", "training_summary"]
    return Pipeline(
        [
            step(compute, inputs, outputs),
            step(build_neighbors, ["latent", *_OPTIONS], "neighbors"),
            step(compute_umap, _GRAPH, "umap"),
            *([step(compute_umap_3d, _GRAPH, "umap_3d")] if in_space else []),
            step(plot_embedding, ["umap", *_DRAWN], "embedding_figure"),
        ],
        tags="embedding",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Latent, graph and UMAP of every model and baseline; the primary model's in space, too."""
    of_models = per_model(study, lambda _, name: copied(template(in_space=name == study.primary), name))
    return of_models + per_baseline(study, lambda name: copied(template(latent_of=name), name))
