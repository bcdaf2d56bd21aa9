"""Runs of a study, or of several, on one board."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.compare_runs.plots import plot_runs
from scvi_downstream.pipelines.compare_runs.report import summarize_runs
from scvi_downstream.pipelines.compare_runs.table import tabulate_runs
from scvi_downstream.pipelines.copies import step
from scvi_downstream.pipelines.declaration import Study


def template() -> Pipeline:
    """tracked_runs ─► run_comparison, run_comparison_summary, run_comparison_figure."""
    return Pipeline(
        [
            Node(tabulate_runs, "tracked_runs", "run_comparison", name="compare_runs"),
            step(summarize_runs, "tracked_runs", "run_comparison_summary"),
            step(plot_runs, "tracked_runs", "run_comparison_figure"),
        ],
        tags="compare_runs",
    )


def create_pipeline(_: Study) -> Pipeline:
    """Of runs that MLflow has kept."""
    return template()
