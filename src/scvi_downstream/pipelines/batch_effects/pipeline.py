"""Batch structure before and after the model: how much is technique, how much is biology."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.batch_effects.nodes import (
    compare_label_separation,
    correct_expression,
    measure_batch_structure,
    partition_gene_variance,
    partition_variance,
    summarize_batch_effects,
)
from scvi_downstream.pipelines.batch_effects.plots import (
    plot_batch_effects,
    plot_batch_genes,
    plot_batch_variance,
)
from scvi_downstream.pipelines.copies import on_model
from scvi_downstream.pipelines.declaration import Study


def template() -> Pipeline:
    """fitted, counts, latents ─► tests of batch structure, shares of variance ─► verdict, figures."""
    return Pipeline(
        [
            Node(
                correct_expression,
                [
                    "fitted",
                    "counts",
                    "pca.latent",
                    "params:keys",
                    "params:batch_effects",
                    "params:seed",
                    "params:accelerator",
                ],
                ["corrected_expression", "corrected_latent"],
                name="correct_expression",
            ),
            Node(
                measure_batch_structure,
                [
                    "counts",
                    "pca.latent",
                    "latent",
                    "corrected_latent",
                    "params:keys",
                    "params:batch_effects",
                    "params:seed",
                ],
                "batch_effects",
                name="measure_batch_structure",
            ),
            Node(
                partition_variance,
                [
                    "counts",
                    "pca.latent",
                    "latent",
                    "corrected_expression",
                    "params:keys",
                    "params:batch_effects",
                    "params:seed",
                ],
                "batch_variance",
                name="partition_variance",
            ),
            Node(
                partition_gene_variance,
                ["counts", "corrected_expression", "params:keys", "params:batch_effects", "params:seed"],
                "batch_genes",
                name="partition_gene_variance",
            ),
            Node(
                compare_label_separation,
                [
                    "counts",
                    "pca.latent",
                    "latent",
                    "corrected_latent",
                    "params:keys",
                    "params:batch_effects",
                    "params:seed",
                ],
                "batch_by_label",
                name="compare_label_separation",
            ),
            Node(
                summarize_batch_effects,
                [
                    "batch_effects",
                    "batch_variance",
                    "batch_genes",
                    "batch_by_label",
                    "preparation_summary",
                    "params:keys",
                    "params:batch_effects",
                ],
                "batch_summary",
                name="summarize_batch_effects",
            ),
            Node(
                plot_batch_effects,
                ["batch_effects", "batch_summary"],
                "batch_effects_figure",
                name="plot_batch_effects",
            ),
            Node(
                plot_batch_variance,
                ["batch_variance", "batch_summary"],
                "batch_variance_figure",
                name="plot_batch_variance",
            ),
            Node(
                plot_batch_genes,
                ["batch_genes", "params:batch_effects"],
                "batch_genes_figure",
                name="plot_batch_genes",
            ),
        ],
        tags="batch_effects",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Before and after the primary model."""
    return on_model(template(), study.primary, ["fitted", "latent"])
