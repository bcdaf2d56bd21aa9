"""Reliability of predicted probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.confusion import METHOD_TITLES
from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

_COLORS = {"raw": "#888888", "calibrated": OKABE_ITO[0]}
_MARKERS = {"raw": "s", "calibrated": "o"}


def plot_calibration(annotation_calibration: pd.DataFrame, annotation_scores: dict[str, Any]) -> Figure:
    """Accuracy against probability of held-out cells, before and after calibration, one column a method.

    Parameters
    ----------
    annotation_calibration
        ``method, probabilities (raw or calibrated), low, high, confidence, accuracy, accuracy_low,
        accuracy_high, n``.
    annotation_scores
        Scores by method.
    """
    table = annotation_calibration
    if table.empty:
        return empty_figure(annotation_scores["sentences"][0])
    methods = [name for name in METHOD_TITLES if name in set(table["method"])]
    figure = new_figure(2.9 * len(methods) + 0.4, 4.5)
    upper, lower = figure.subplots(
        2, len(methods), squeeze=False, height_ratios=(3, 1), sharex=True, sharey="row"
    )
    for curve, cells, method in zip(upper, lower, methods, strict=True):
        own = table[table["method"] == method]
        _draw_curve(curve, own)
        _draw_cells(cells, own)
        curve.set_title(_title(method, annotation_scores[method]), fontsize=9)
        cells.set_xlabel("probability of the best type")
    upper[0].set_ylabel("share of cells that are right\n(bars: 95 % interval)")
    lower[0].set_ylabel("cells (%)")
    upper[0].legend(loc="upper left", handletextpad=0.3)
    return figure


def _title(method: str, score: dict[str, float]) -> str:
    after = f"{score['ece']:.3f} ({score['ece_low']:.3f} to {score['ece_high']:.3f})"
    errors = f"ECE {after}" if "temperature" not in score else f"ECE {score['ece_raw']:.3f} → {after}"
    return f"{METHOD_TITLES[method]}\n{errors}"


def _draw_curve(axes: Axes, table: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color="#666666", lw=0.8, ls=":")
    for stage, own in table.groupby("probabilities", sort=False):
        area = 12 + 60 * own["n"] / own["n"].sum()
        color = _COLORS[str(stage)]
        axes.plot(own["confidence"], own["accuracy"], color=color, lw=0.8, alpha=0.6)
        axes.scatter(
            own["confidence"], own["accuracy"], s=area, marker=_MARKERS[str(stage)], color=color, label=stage
        )
        if stage == table["probabilities"].iloc[-1]:
            reach = [own["accuracy"] - own["accuracy_low"], own["accuracy_high"] - own["accuracy"]]
            axes.errorbar(
                own["confidence"], own["accuracy"], yerr=np.maximum(reach, 0), fmt="none", color=color, lw=0.8
            )
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.04))
    axes.grid(color="#EEEEEE")
    axes.set_axisbelow(True)


def _draw_cells(axes: Axes, table: pd.DataFrame) -> None:
    """Where the probabilities lie, as used: calibrated ones where there are any."""
    stage = table["probabilities"].iloc[-1]
    own = table[table["probabilities"] == stage]
    axes.bar(
        own["low"],
        100 * own["n"] / own["n"].sum(),
        width=own["high"] - own["low"],
        align="edge",
        color=_COLORS[stage],
        edgecolor="white",
    )
