"""Does the fitted model generate counts like those observed?"""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import on_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.predictive_checks.nodes import check_predictions, summarize_predictions
from scvi_downstream.pipelines.predictive_checks.plots import (
    plot_predictive_calibration,
    plot_predictive_correlation,
    plot_predictive_moments,
)


def template() -> Pipeline:
    """fitted, counts ─► checks, genes, cells, calibration, correlations ─► summary and three figures."""
    return Pipeline(
        [
            Node(
                check_predictions,
                [
                    "fitted",
                    "counts",
                    "params:keys",
                    "params:predictive_checks",
                    "params:seed",
                    "params:accelerator",
                ],
                [
                    "predictive_checks",
                    "predictive_genes",
                    "predictive_cells",
                    "predictive_calibration",
                    "predictive_correlations",
                ],
                name="check_predictions",
            ),
            Node(
                summarize_predictions,
                ["predictive_checks", "predictive_genes", "params:primary", "params:predictive_checks"],
                "predictive_summary",
                name="summarize_predictions",
            ),
            Node(
                plot_predictive_moments,
                ["predictive_genes", "predictive_cells", "predictive_checks"],
                "predictive_moments_figure",
                name="plot_predictive_moments",
            ),
            Node(
                plot_predictive_calibration,
                ["predictive_calibration", "predictive_checks"],
                "predictive_calibration_figure",
                name="plot_predictive_calibration",
            ),
            Node(
                plot_predictive_correlation,
                ["predictive_correlations", "predictive_checks"],
                "predictive_correlation_figure",
                name="plot_predictive_correlation",
            ),
        ],
        tags="predictive_checks",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Of the primary model."""
    return on_model(template(), study.primary, ["fitted"])
