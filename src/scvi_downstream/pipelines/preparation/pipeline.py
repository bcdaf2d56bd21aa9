"""From the user's file to checked counts."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.preparation.nodes import gather_covariates, prepare_counts, score_cell_cycle
from scvi_downstream.pipelines.preparation.plots import plot_highly_variable, plot_quality


def template() -> Pipeline:
    """Raw ─► prepare_counts ─► counts, qc_metrics, preparation_summary ─► figures."""
    return Pipeline(
        [
            Node(
                prepare_counts,
                ["raw", "metadata", "params:keys", "params:preparation"],
                ["counts", "qc_metrics", "preparation_summary"],
                name="prepare_counts",
            ),
            Node(
                plot_quality,
                ["qc_metrics", "preparation_summary", "params:preparation"],
                "qc_figure",
                name="plot_quality",
            ),
            Node(score_cell_cycle, ["counts", "params:seed"], "cell_cycle", name="score_cell_cycle"),
            Node(
                gather_covariates,
                ["counts", "qc_metrics", "cell_cycle", "params:keys"],
                "covariates",
                name="gather_covariates",
            ),
            Node(plot_highly_variable, "counts", "hvg_figure", name="plot_highly_variable"),
        ],
        tags="preparation",
    )


def create_pipeline(_: Study) -> Pipeline:
    """The counts of the study, checked once."""
    return template()
