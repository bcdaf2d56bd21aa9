"""Does the fitted model generate counts like those observed?"""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import on_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.predictive_checks.checks import check_predictions
from scvi_downstream.pipelines.predictive_checks.plots import (
    plot_predictive_calibration,
    plot_predictive_correlation,
    plot_predictive_moments,
)
from scvi_downstream.pipelines.predictive_checks.report import summarize_predictions

_CHECKED = [
    "fitted",
    "counts",
    "params:keys",
    "params:predictive_checks",
    "params:seed",
    "params:accelerator",
]
_CHECKS, _GENES, _CELLS, _CALIBRATION, _CORRELATIONS = _TABLES = [
    "predictive_checks",
    "predictive_genes",
    "predictive_cells",
    "predictive_calibration",
    "predictive_correlations",
]


def template() -> Pipeline:
    """fitted, counts ─► checks, genes, cells, calibration, correlations ─► summary and three figures."""
    summarized = [_CHECKS, _GENES, "params:primary", "params:predictive_checks"]
    nodes = [
        Node(check_predictions, _CHECKED, _TABLES, name="check_predictions"),
        Node(summarize_predictions, summarized, "predictive_summary", name="summarize_predictions"),
    ]
    for name, plot, tables in (
        ("moments", plot_predictive_moments, [_GENES, _CELLS, _CHECKS]),
        ("calibration", plot_predictive_calibration, [_CALIBRATION, _CHECKS]),
        ("correlation", plot_predictive_correlation, [_CORRELATIONS, _CHECKS]),
    ):
        nodes.append(Node(plot, tables, f"predictive_{name}_figure", name=f"plot_predictive_{name}"))
    return Pipeline(nodes, tags="predictive_checks")


def create_pipeline(study: Study) -> Pipeline:
    """Nodes of the primary model."""
    return on_model(template(), study.primary, ["fitted"])
