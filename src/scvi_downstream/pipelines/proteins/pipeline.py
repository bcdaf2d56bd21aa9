"""Surface proteins by totalVI: denoised, imputed where not measured, and as markers."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.proteins.decoding import denoise_proteins
from scvi_downstream.pipelines.proteins.imputation import score_protein_imputation
from scvi_downstream.pipelines.proteins.markers import correlate_with_genes, find_protein_markers
from scvi_downstream.pipelines.proteins.plots import (
    plot_protein_distributions,
    plot_protein_imputation,
    plot_protein_markers,
    plot_protein_umap,
)
from scvi_downstream.pipelines.proteins.report import summarize_proteins

_OPTIONS = ["params:keys", "params:proteins"]
_COMPUTE = [*_OPTIONS, "params:seed", "params:accelerator"]
_TRAIN = ["counts", "pca.latent", "params:spec", *_COMPUTE, "params:checkpoint.proteins"]
_SCORES = ["protein_imputation", "protein_imputed"]
_DENOISED = ["protein_expression", "protein_foreground", "protein_markers"]


def template() -> Pipeline:
    """fitted, counts, clusters, umap ─► denoised proteins, imputation, markers ─► verdicts, figures."""
    denoised = ["fitted", "counts", "pca.latent", "protein_imputation", *_COMPUTE]
    decoded = ["protein_expression", "protein_sd", "protein_foreground"]
    grouped = ["fitted", "counts", "clusters", *_COMPUTE]
    beside_genes = ["counts", "protein_expression", *_OPTIONS, "params:seed"]
    results = ["counts", "protein_imputation", "protein_markers", "protein_genes", *_OPTIONS]
    umap = ["umap", "counts", "protein_expression", "protein_markers", "params:proteins"]
    imputed, by_group = [*_SCORES, "protein_summary"], ["counts", "clusters", *_DENOISED, *_OPTIONS]
    drawn = ["counts", *_DENOISED, "params:proteins"]
    nodes = [
        step(denoise_proteins, denoised, decoded),
        step(score_protein_imputation, _TRAIN, _SCORES),
        step(find_protein_markers, grouped, "protein_markers"),
        Node(correlate_with_genes, beside_genes, "protein_genes", name="correlate_proteins_with_genes"),
        step(summarize_proteins, results, "protein_summary"),
        step(plot_protein_umap, umap, "protein_umap_figure"),
        step(plot_protein_imputation, imputed, "protein_imputation_figure"),
        step(plot_protein_markers, by_group, "protein_markers_figure"),
        step(plot_protein_distributions, drawn, "protein_distributions_figure"),
    ]
    return Pipeline(nodes, tags="proteins")


def create_pipeline(study: Study) -> Pipeline:
    """Of the model of proteins; without one, the first node says what is missing."""
    model = study.first_with("proteins") or study.primary
    parameters = {"params:spec": f"params:models.{model}"}
    return on_model(template(), model, ["fitted", "clusters", "umap"], parameters=parameters)
