"""Does the fitted model generate counts like those observed?"""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.predictive_checks.checks import check_predictions
from scvi_downstream.pipelines.predictive_checks.plots import (
    plot_predictive_calibration,
    plot_predictive_correlation,
    plot_predictive_moments,
)
from scvi_downstream.pipelines.predictive_checks.report import summarize_predictions

_OPTIONS = "params:predictive_checks"
_CHECKED = ["fitted", "counts", "params:keys", _OPTIONS, "params:seed", "params:accelerator"]
_CHECKS, _GENES, _CELLS, _CALIBRATION, _CORRELATIONS = _TABLES = [
    f"predictive_{name}" for name in ("checks", "genes", "cells", "calibration", "correlations")
]


def template() -> Pipeline:
    """fitted, counts ─► checks, genes, cells, calibration, correlations ─► summary and three figures."""
    summarized = [_CHECKS, _GENES, "params:primary", _OPTIONS]
    nodes = [
        step(check_predictions, _CHECKED, _TABLES),
        step(summarize_predictions, summarized, "predictive_summary"),
        step(plot_predictive_moments, [_GENES, _CELLS, _CHECKS], "predictive_moments_figure"),
        step(plot_predictive_calibration, [_CALIBRATION, _CHECKS], "predictive_calibration_figure"),
        step(plot_predictive_correlation, [_CORRELATIONS, _CHECKS], "predictive_correlation_figure"),
    ]
    return Pipeline(nodes, tags="predictive_checks")


def create_pipeline(study: Study) -> Pipeline:
    """Nodes of the primary model."""
    return on_model(template(), study.primary, ["fitted"])
