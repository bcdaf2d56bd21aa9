"""Batch structure before and after the model: how much is technique, how much is biology."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.batch_effects.design import correct_expression
from scvi_downstream.pipelines.batch_effects.plots import (
    plot_batch_effects,
    plot_batch_genes,
    plot_batch_variance,
)
from scvi_downstream.pipelines.batch_effects.report import summarize_batch_effects
from scvi_downstream.pipelines.batch_effects.structure import (
    compare_label_separation,
    measure_batch_structure,
)
from scvi_downstream.pipelines.batch_effects.variance import partition_gene_variance, partition_variance
from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.declaration import Study

_OPTIONS = ["params:keys", "params:batch_effects"]
_MEASURED = [*_OPTIONS, "params:seed"]
_LATENTS = ["pca.latent", "latent"]
_TABLES = ["batch_effects", "batch_variance", "batch_genes", "batch_by_label"]


def template() -> Pipeline:
    """fitted, counts, latents ─► tests of batch structure, shares of variance ─► verdict, figures."""
    fitted = ["fitted", "counts", "pca.latent", *_MEASURED, "params:accelerator"]
    expression, latent = corrected = ["corrected_expression", "corrected_latent"]
    embedded = ["counts", *_LATENTS, latent, *_MEASURED]
    return Pipeline(
        [
            step(correct_expression, fitted, corrected),
            step(measure_batch_structure, embedded, "batch_effects"),
            step(partition_variance, ["counts", *_LATENTS, expression, *_MEASURED], "batch_variance"),
            step(partition_gene_variance, ["counts", expression, *_MEASURED], "batch_genes"),
            step(compare_label_separation, embedded, "batch_by_label"),
            step(summarize_batch_effects, [*_TABLES, "counts", *_OPTIONS], "batch_summary"),
            step(plot_batch_effects, ["batch_effects", "batch_summary"], "batch_effects_figure"),
            step(plot_batch_variance, ["batch_variance", "batch_summary"], "batch_variance_figure"),
            step(plot_batch_genes, ["batch_genes", "params:batch_effects"], "batch_genes_figure"),
        ],
        tags="batch_effects",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Before and after the primary model."""
    return on_model(template(), study.primary, ["fitted", "latent"])
