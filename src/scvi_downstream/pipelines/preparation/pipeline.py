"""From the user's file to checked counts."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.preparation.covariates import gather_covariates
from scvi_downstream.pipelines.preparation.genes import score_cell_cycle
from scvi_downstream.pipelines.preparation.nodes import prepare_counts
from scvi_downstream.pipelines.preparation.plots import plot_highly_variable, plot_quality


def create_pipeline(_: Study) -> Pipeline:
    """Raw ─► prepare_counts ─► counts, qc_metrics, preparation_summary ─► cell cycle, covariates, figures."""
    summary, options = "preparation_summary", "params:preparation"
    known = ["counts", "qc_metrics", "cell_cycle", "params:keys"]
    return Pipeline(
        [
            Node(
                prepare_counts,
                ["raw", "metadata", "params:keys", options],
                ["counts", "qc_metrics", summary],
                name="prepare_counts",
            ),
            Node(plot_quality, ["qc_metrics", summary, options], "qc_figure", name="plot_quality"),
            Node(score_cell_cycle, ["counts", "params:seed"], "cell_cycle", name="score_cell_cycle"),
            Node(gather_covariates, known, "covariates", name="gather_covariates"),
            Node(plot_highly_variable, "counts", "hvg_figure", name="plot_highly_variable"),
        ],
        tags="preparation",
    )
