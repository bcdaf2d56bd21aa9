"""Predicted against measured change of every gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.point_labels import label_points
from scvi_downstream.plots.prediction_methods import COLORS, LABELS, MODELS, NOTHING
from scvi_downstream.plots.style import MISSING, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

MAX_GROUPS, NAMES_PER_PANEL = 3, 12
BASELINES = ("mean_shift", "target_mean")
ALL_GROUPS = "all groups"


def plot_prediction_changes(predicted_expression: pd.DataFrame, prediction_scores: pd.DataFrame) -> Figure:
    """Rows: the best model and the baseline; columns: the types with most responding genes, of each target.

    Parameters
    ----------
    predicted_expression
        One row a target, group and gene, with ``change``, ``responds`` and ``<method>_change``.
    prediction_scores
        The best model has the highest ``delta_pearson`` over all groups.
    """
    if predicted_expression.empty:
        return empty_figure(NOTHING)
    found = [name for name in BASELINES if f"{name}_change" in predicted_expression]
    methods = [_best_model(predicted_expression, prediction_scores), *found[:1]]
    columns = _columns(predicted_expression)
    if not columns:
        return empty_figure("No gene responds in any cell type, so there is no change to predict.")
    figure = new_figure(4.1 * len(columns) + 0.4, 3.9 * len(methods) + 0.5)
    panels = figure.subplots(len(methods), len(columns), squeeze=False)
    tables = [
        predicted_expression[
            (predicted_expression["target"].astype(str) == target)
            & (predicted_expression["group"].astype(str) == group)
        ]
        for target, group in columns
    ]
    for row, method in zip(panels, methods, strict=True):
        for axes, table, (target, group) in zip(row, tables, columns, strict=True):
            _draw(axes, table, method)
            axes.set_title(f"{group}, {target}")
        row[0].set_ylabel(f"{LABELS[method]}: predicted change")
    for axes in panels[-1]:
        axes.set_xlabel("measured change of log(1 + counts per 10,000)")
    figure.suptitle("Change of mean expression in held-out cells; coloured: genes that respond")
    figure.draw_without_rendering()
    for row, method in zip(panels, methods, strict=True):
        for axes, table in zip(row, tables, strict=True):
            _name_genes(axes, table, method)
    return figure


def _best_model(expression: pd.DataFrame, scores: pd.DataFrame) -> str:
    models = [name for name in MODELS if f"{name}_change" in expression]
    rows = scores[(scores["group"] == ALL_GROUPS) & (scores["score"] == "delta_pearson")]
    means = rows.groupby("method", observed=True)["value"].mean().reindex(models)
    return str(means.idxmax()) if means.notna().any() else models[0]


def _columns(expression: pd.DataFrame) -> list[tuple[str, str]]:
    counts = expression.groupby(["target", "group"], observed=True)["responds"].sum()
    counts = counts[counts > 0].sort_values(ascending=False, kind="stable")
    return [(str(target), str(group)) for target, group in counts.index[:MAX_GROUPS]]


def _draw(axes: Axes, table: pd.DataFrame, method: str) -> None:
    measured, predicted = table["change"].to_numpy(), table[f"{method}_change"].to_numpy()
    responds = table["responds"].to_numpy(dtype=bool)
    for chosen, color, size in ((~responds, MISSING, 5), (responds, COLORS[method], 10)):
        axes.scatter(measured[chosen], predicted[chosen], s=size, c=color, linewidths=0, rasterized=True)
    low, high = (np.nanmin([measured, predicted]), np.nanmax([measured, predicted]))
    margin = 0.08 * (high - low)
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="#666666", lw=0.8, ls=":")
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.axhline(0, color="#DDDDDD", lw=0.6, zorder=0)
    axes.axvline(0, color="#DDDDDD", lw=0.6, zorder=0)
    if np.std(predicted) > 0 and np.std(measured) > 0:
        r = np.corrcoef(measured, predicted)[0, 1]
        axes.text(0.98, 0.02, f"r = {r:.2f}", transform=axes.transAxes, ha="right", va="bottom")


def _name_genes(axes: Axes, table: pd.DataFrame, method: str) -> None:
    responding = table[table["responds"].to_numpy(dtype=bool)]
    order = responding["change"].abs().sort_values(ascending=False, kind="stable").index[:NAMES_PER_PANEL]
    top = responding.loc[order]
    columns = ["change", f"{method}_change"]
    label_points(axes, top[columns].to_numpy(), top["symbol"].tolist(), avoid=table[columns].to_numpy())
