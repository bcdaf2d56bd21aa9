"""How near each method's prediction comes to what is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.prediction_methods import LABELS, NOTHING, in_order
from scvi_downstream.plots.style import category_colors, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

PANELS = (
    ("delta_pearson", "Correlation of predicted and\nmeasured change (all genes)"),
    ("delta_pearson_top", "Correlation of the change\n(genes that change most)"),
    ("rmse", "RMSE of log expression\n(all genes, lower is better)"),
    ("rmse_top", "RMSE of log expression\n(genes that change most, lower is better)"),
)
MAX_GROUPS = 12
ALL_GROUPS = "all groups"


def plot_prediction_scores(prediction_scores: pd.DataFrame, prediction_groups: pd.DataFrame) -> Figure:
    """One row a target condition, one panel a score: a dot and a 95 % interval a method and cell type.

    Parameters
    ----------
    prediction_scores
        One row a target, group, method and score, with ``value``, ``ci_lower``, ``ci_upper``.
    prediction_groups
        One row a target and group, with the numbers of cells.
    """
    if prediction_scores.empty:
        return empty_figure(NOTHING)
    targets = list(prediction_groups["target"].astype(str).unique())
    methods = in_order(prediction_scores["method"].astype(str))
    sizes = prediction_groups.groupby("group", observed=True)["n_target"].sum()
    groups = [str(name) for name in sizes.sort_values(ascending=False, kind="stable").index[:MAX_GROUPS]]
    colors = category_colors(groups) | {ALL_GROUPS: "#222222"}
    height = len(methods) * (0.3 + 0.075 * (len(groups) + 1)) + 1.1
    figure = new_figure(15, height * len(targets) + 0.4)
    panels = figure.subplots(len(targets), len(PANELS), squeeze=False)
    for row, target in zip(panels, targets, strict=True):
        of_target = prediction_scores[prediction_scores["target"].astype(str) == target]
        for axes, (score, label) in zip(row, PANELS, strict=True):
            _draw(axes, of_target[of_target["score"] == score], methods, groups, colors)
            axes.set_xlabel(label)
        row[0].set_yticks(range(len(methods)), [LABELS[method] for method in methods])
        row[0].set_title(f"in '{target}'", loc="left")
        for axes in row[1:]:
            axes.set_yticks(range(len(methods)), [])
    shown = [name for name in groups if name in set(prediction_scores["group"].astype(str))]
    handles = [
        panels[0][0].scatter([], [], s=25, color=colors[name], label=_named(name, sizes))
        for name in [ALL_GROUPS, *shown]
    ]
    left = len(sizes) - len(groups)
    title = f"cells measured{f'; {left} smaller types not drawn' if left else ''}"
    figure.legend(handles=handles, loc="outside right center", title=title)
    figure.suptitle("Predicted expression against held-out cells (95 % intervals)")
    return figure


def _named(name: str, sizes: pd.Series) -> str:
    return "mean of all types" if name == ALL_GROUPS else f"{name} ({int(sizes[name])})"


def _draw(
    axes: Axes, scores: pd.DataFrame, methods: list[str], groups: list[str], colors: dict[str, str]
) -> None:
    places = np.linspace(-0.36, 0.36, len(groups) + 1)
    for name, place in zip([ALL_GROUPS, *groups], places, strict=True):
        rows = scores[scores["group"].astype(str) == name].set_index("method")
        there = [method for method in methods if method in rows.index]
        if not there:
            continue
        rows = rows.loc[there]
        value = rows["value"].to_numpy()
        reach = np.maximum([value - rows["ci_lower"], rows["ci_upper"] - value], 0)
        axes.errorbar(
            value,
            [methods.index(method) + place for method in there],
            xerr=reach,
            fmt="D" if name == ALL_GROUPS else "o",
            ms=5 if name == ALL_GROUPS else 3.5,
            lw=1.6 if name == ALL_GROUPS else 0.8,
            color=colors[name],
        )
    for position in set(range(len(methods))) - {methods.index(name) for name in scores["method"].astype(str)}:
        axes.text(
            0.5,
            position,
            "undefined",
            transform=axes.get_yaxis_transform(),
            ha="center",
            va="center",
            color="#888888",
            fontsize=8,
        )
    for position in range(1, len(methods)):
        axes.axhline(position - 0.5, color="#EEEEEE", lw=0.8)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
