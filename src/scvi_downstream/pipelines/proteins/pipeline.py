"""Surface proteins by totalVI: denoised, imputed where not measured, and as markers."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import on_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.proteins.nodes import (
    correlate_proteins_with_genes,
    denoise_proteins,
    draw_protein_distributions,
    draw_protein_markers,
    draw_protein_umap,
    find_protein_markers,
    score_protein_imputation,
    summarize_proteins,
)
from scvi_downstream.pipelines.proteins.plots import plot_protein_imputation

_OPTIONS = ["params:keys", "params:proteins"]
_COMPUTE = [*_OPTIONS, "params:seed", "params:accelerator"]


def template() -> Pipeline:
    """fitted, counts, clusters, umap ─► denoised proteins, imputation, markers ─► verdicts, figures."""
    return Pipeline(
        [
            Node(
                denoise_proteins,
                ["fitted", "counts", *_COMPUTE],
                ["protein_expression", "protein_sd", "protein_foreground"],
                name="denoise_proteins",
            ),
            Node(
                score_protein_imputation,
                ["counts", "pca.latent", "params:spec", *_COMPUTE, "protein_checkpoint"],
                ["protein_imputation", "protein_imputed"],
                name="score_protein_imputation",
            ),
            Node(
                find_protein_markers,
                ["fitted", "counts", "clusters", *_COMPUTE],
                "protein_markers",
                name="find_protein_markers",
            ),
            Node(
                correlate_proteins_with_genes,
                ["counts", "protein_expression", *_OPTIONS, "params:seed"],
                "protein_genes",
                name="correlate_proteins_with_genes",
            ),
            Node(
                summarize_proteins,
                ["counts", "protein_imputation", "protein_markers", "protein_genes", *_OPTIONS],
                "protein_summary",
                name="summarize_proteins",
            ),
            Node(
                draw_protein_umap,
                ["umap", "counts", "protein_expression", "protein_markers", "params:proteins"],
                "protein_umap_figure",
                name="plot_protein_umap",
            ),
            Node(
                plot_protein_imputation,
                ["protein_imputation", "protein_imputed", "protein_summary"],
                "protein_imputation_figure",
                name="plot_protein_imputation",
            ),
            Node(
                draw_protein_markers,
                [
                    "counts",
                    "clusters",
                    "protein_expression",
                    "protein_foreground",
                    "protein_markers",
                    *_OPTIONS,
                ],
                "protein_markers_figure",
                name="plot_protein_markers",
            ),
            Node(
                draw_protein_distributions,
                ["counts", "protein_expression", "protein_foreground", "protein_markers", "params:proteins"],
                "protein_distributions_figure",
                name="plot_protein_distributions",
            ),
        ],
        tags="proteins",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Of the model of proteins; without one, the first node says what is missing."""
    model = study.first_with("proteins") or study.primary
    parameters = {"params:spec": f"params:models.{model}"}
    return on_model(template(), model, ["fitted", "clusters", "umap"], parameters=parameters)
