"""From the user's file to checked counts."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.preparation.covariates import gather_covariates
from scvi_downstream.pipelines.preparation.genes import score_cell_cycle
from scvi_downstream.pipelines.preparation.nodes import prepare_counts
from scvi_downstream.pipelines.preparation.plots import plot_highly_variable, plot_quality


def create_pipeline(_: Study) -> Pipeline:
    """Raw ─► prepare_counts ─► counts, qc_metrics, preparation_summary ─► cell cycle, covariates, figures."""
    summary, options = "preparation_summary", "params:preparation"
    given = ["raw", "metadata", "params:keys", options]
    known = ["counts", "qc_metrics", "cell_cycle", "params:keys"]
    return Pipeline(
        [
            step(prepare_counts, given, ["counts", "qc_metrics", summary]),
            step(plot_quality, ["qc_metrics", summary, options], "qc_figure"),
            step(score_cell_cycle, ["counts", "params:seed"], "cell_cycle"),
            step(gather_covariates, known, "covariates"),
            step(plot_highly_variable, "counts", "hvg_figure"),
        ],
        tags="preparation",
    )
