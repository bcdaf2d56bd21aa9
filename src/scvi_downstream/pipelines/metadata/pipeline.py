"""What annotations of cells and samples go together with: embedding, composition, expression."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.metadata.annotations import associate_annotations, join_annotations
from scvi_downstream.pipelines.metadata.composition import compare_composition, tabulate_composition
from scvi_downstream.pipelines.metadata.expression import compare_expression
from scvi_downstream.pipelines.metadata.plots import (
    plot_composition,
    plot_metadata,
    plot_metadata_associations,
    plot_metadata_genes,
)
from scvi_downstream.pipelines.metadata.report import summarize_metadata

_OPTIONS = "params:metadata_analysis"
_KEYS = ["params:replicates", _OPTIONS]
_JOINED = ["counts", "metadata", "params:replicates", "params:preparation", _OPTIONS]
_ANNOTATED = ["annotations", "counts", *_KEYS]
_COLUMNS = ["metadata_columns", "metadata_join"]
_TESTS = ["metadata_associations", "composition_tests", "metadata_genes"]


def template() -> Pipeline:
    """counts, metadata ─► annotations ─► tests on samples ─► tables, figures."""
    latent, shares = ["latent", *_ANNOTATED], ["composition", *_ANNOTATED]
    expression = ["counts", "clusters", "annotations", *_KEYS]
    associated, genes = ["metadata_associations", _OPTIONS], ["metadata_genes", _OPTIONS]
    tested_shares = ["composition", "composition_tests", *_ANNOTATED]
    results = [*_COLUMNS, *_TESTS, *_KEYS]
    nodes = [
        step(join_annotations, _JOINED, ["annotations", *_COLUMNS]),
        step(associate_annotations, latent, "metadata_associations"),
        step(tabulate_composition, ["counts", "clusters", *_KEYS], "composition"),
        step(compare_composition, shares, "composition_tests"),
        step(compare_expression, expression, "metadata_genes"),
        step(summarize_metadata, results, "metadata_summary"),
        step(plot_metadata, ["umap", "annotations", "counts", _OPTIONS], "metadata_figure"),
        step(plot_metadata_associations, associated, "metadata_associations_figure"),
        step(plot_composition, tested_shares, "composition_figure"),
        step(plot_metadata_genes, genes, "metadata_genes_figure"),
    ]
    return Pipeline(nodes, tags="metadata")


def create_pipeline(study: Study) -> Pipeline:
    """With the latent, the UMAP and the clusters of the primary model."""
    return on_model(template(), study.primary, ["latent", "umap", "clusters"])
