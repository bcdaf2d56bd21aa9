"""From the user's file to checked counts."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.preparation.nodes import prepare_counts
from scvi_downstream.pipelines.preparation.plots import plot_highly_variable, plot_quality


def create_pipeline(study: Study) -> Pipeline:
    """Raw ─► prepare_counts ─► counts, qc_metrics, preparation_summary ─► figures."""
    summary, options = "preparation_summary", "params:preparation"
    metadata = "metadata" if study.parameters["metadata"] else "params:metadata"  # the path of no table: null
    given = ["raw", metadata, "params:keys", options, "params:unset_keys"]
    return Pipeline(
        [
            step(prepare_counts, given, ["counts", "qc_metrics", summary]),
            step(plot_quality, ["qc_metrics", summary, options], "qc_figure"),
            step(plot_highly_variable, "counts", "highly_variable_genes_figure"),
        ],
        tags="preparation",
    )
