"""What annotations of cells and samples go together with: embedding, composition, expression."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import on_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.metadata.nodes import (
    associate_annotations,
    compare_composition,
    compare_expression,
    join_annotations,
    plot_composition,
    summarize_metadata,
    tabulate_composition,
)
from scvi_downstream.pipelines.metadata.plots import (
    plot_metadata,
    plot_metadata_associations,
    plot_metadata_genes,
)


def template() -> Pipeline:
    """counts, metadata ─► annotations ─► tests on samples ─► tables, figures."""
    return Pipeline(
        [
            Node(
                join_annotations,
                ["counts", "metadata", "params:keys", "params:preparation", "params:metadata_analysis"],
                ["annotations", "metadata_columns", "metadata_join"],
                name="join_annotations",
            ),
            Node(
                associate_annotations,
                ["latent", "annotations", "counts", "params:keys", "params:metadata_analysis"],
                "metadata_associations",
                name="associate_annotations",
            ),
            Node(
                tabulate_composition,
                ["counts", "clusters", "params:keys", "params:metadata_analysis"],
                "composition",
                name="tabulate_composition",
            ),
            Node(
                compare_composition,
                ["composition", "annotations", "counts", "params:keys", "params:metadata_analysis"],
                "composition_tests",
                name="compare_composition",
            ),
            Node(
                compare_expression,
                ["counts", "clusters", "annotations", "params:keys", "params:metadata_analysis"],
                "metadata_genes",
                name="compare_expression",
            ),
            Node(
                summarize_metadata,
                [
                    "metadata_columns",
                    "metadata_join",
                    "metadata_associations",
                    "composition_tests",
                    "metadata_genes",
                    "params:keys",
                    "params:metadata_analysis",
                ],
                "metadata_summary",
                name="summarize_metadata",
            ),
            Node(
                plot_metadata,
                ["umap", "annotations", "params:metadata_analysis"],
                "metadata_figure",
                name="plot_metadata",
            ),
            Node(
                plot_metadata_associations,
                ["metadata_associations", "params:metadata_analysis"],
                "metadata_associations_figure",
                name="plot_metadata_associations",
            ),
            Node(
                plot_composition,
                [
                    "composition",
                    "composition_tests",
                    "annotations",
                    "counts",
                    "params:keys",
                    "params:metadata_analysis",
                ],
                "composition_figure",
                name="plot_composition",
            ),
            Node(
                plot_metadata_genes,
                ["metadata_genes", "params:metadata_analysis"],
                "metadata_genes_figure",
                name="plot_metadata_genes",
            ),
        ],
        tags="metadata",
    )


def create_pipeline(study: Study) -> Pipeline:
    """With the latent and the clusters of the primary model."""
    return on_model(template(), study.primary, ["latent", "umap", "clusters"])
