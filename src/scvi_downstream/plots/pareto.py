"""Quality against training time, and the models that nothing beats in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.criteria import JUDGED_BY_LABELS, SAW_LABELS, direction, unit
from scvi_downstream.plots.log_ticks import plain_log_ticks
from scvi_downstream.plots.point_labels import label_points
from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing matplotlib for that would slow every command
    Axes = Figure = Any

_BLUE, _ORANGE, _RED = OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[3]
_MARKERS: dict[str, dict[str, Any]] = {
    "model": {"marker": "o", "s": 42, "color": _BLUE},
    "trial": {"marker": "o", "s": 22, "facecolor": "white", "edgecolor": _BLUE, "linewidths": 1.2},
    "baseline": {"marker": "s", "s": 32, "color": "#777777"},
    "trained on the labels": {"marker": "D", "s": 30, "facecolor": "white", "edgecolor": "#777777", "linewidths": 1.2},
}  # fmt: skip
_SIZE, _LARGE, _MANY = (7.2, 4.6), (9.2, 6.0), 10
_MOST_NAMES = 16
_NAMES = {
    "scib_total": "scIB total",
    "scib_bio_conservation": "Bio conservation",
    "scib_batch_correction": "Batch correction",
    "elbo_test": "ELBO of test cells",
    "elbo_validation": "ELBO of validation cells",
    "marginal_ll_test": "log p(x) of test cells",
}


def plot_pareto(leaderboard: pd.DataFrame, champion: dict[str, Any]) -> Figure:
    """The criterion that chose the champion against seconds of training, with the front drawn.

    Parameters
    ----------
    leaderboard
        One row a model, trial or baseline, with ``seconds``, ``pareto``, ``kind`` and, for intervals, ``behind_best``.
    champion
        ``criterion`` is the quality; ``model`` gets a star.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    criterion = champion.get("criterion")
    if criterion is None or not {criterion, "seconds", "pareto"} <= set(board):
        return empty_figure("There is no criterion to draw against the training time.")
    points = board[board[criterion].notna() & board["seconds"].gt(0)]
    points = points.assign(marked=_marks(points, criterion))
    figure = new_figure(*(_SIZE if len(points) <= _MANY else _LARGE))
    axes = figure.add_subplot()
    _draw_intervals(axes, points, criterion)
    _draw_front(axes, points[points["pareto"].astype(bool)], criterion)
    for mark, style in _MARKERS.items():
        rows = points[points["marked"] == mark]
        if len(rows):
            axes.scatter(rows["seconds"], rows[criterion], label=mark, zorder=3, **style)
    best = points[points.index == champion.get("model")]
    if len(best):
        axes.scatter(
            best["seconds"], best[criterion], marker="*", s=240, color=_RED, edgecolors="white", linewidths=0.6,
            zorder=4, label="champion",
        )  # fmt: skip
    _describe_axes(axes, criterion, points)
    figure.draw_without_rendering()
    _name_points(axes, points, criterion, champion.get("model"))
    return figure


def _marks(points: pd.DataFrame, criterion: str) -> pd.Series:
    kinds = points["kind"] if "kind" in points else pd.Series("model", index=points.index)
    if criterion in JUDGED_BY_LABELS and "family" in points:
        kinds = kinds.mask(points["family"].isin(SAW_LABELS), "trained on the labels")
    return kinds


def _draw_intervals(axes: Axes, points: pd.DataFrame, criterion: str) -> None:
    """Of the paired differences to the best: what all models share on the same cells tells none from another."""
    if "behind_best" not in points:
        return
    sign = direction(criterion)
    upper = points[criterion] + sign * (points["behind_best"] - points["behind_best_low"])
    lower = points[criterion] - sign * (points["behind_best_high"] - points["behind_best"])
    axes.vlines(points["seconds"], lower, upper, color="#AAAAAA", lw=1.2, zorder=1)


def _draw_front(axes: Axes, front: pd.DataFrame, criterion: str) -> None:
    """Steps: what quality can be had for at most so many seconds."""
    front = front.sort_values("seconds", kind="stable")
    axes.plot(
        front["seconds"], front[criterion], drawstyle="steps-post", color=_ORANGE, lw=1.6, zorder=2,
        label="Pareto front",
    )  # fmt: skip


def _describe_axes(axes: Axes, criterion: str, points: pd.DataFrame) -> None:
    name = _NAMES.get(criterion, criterion.replace("_", " "))
    in_unit = f" ({unit(criterion).strip()})" if unit(criterion) else ""
    better = "more is better" if direction(criterion) > 0 else "less is better"
    intervals = (
        "; lines: 95 % interval of the paired difference to the best" if "behind_best" in points else ""
    )
    axes.set(
        xscale="log",
        xlabel="Training time (s)",
        ylabel=f"{name}{in_unit}, {better}",
        title=f"Quality against cost{intervals}",
    )
    axes.margins(x=0.12, y=0.1)
    if direction(criterion) < 0:
        axes.invert_yaxis()
    plain_log_ticks(axes.xaxis)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.4)


def _name_points(axes: Axes, points: pd.DataFrame, criterion: str, best: str | None) -> None:
    """The champion is named first, then the front, models and baselines, and trials while there is room."""
    front, trial = points["pareto"].astype(bool), points["marked"] == "trial"
    urgency = np.select([points.index == best, front, ~trial], [0, 1, 2], 3)
    order = points.assign(urgency=urgency, worse=-direction(criterion) * points[criterion]).sort_values(
        ["urgency", "worse"], kind="stable"
    )
    places = order[["seconds", criterion]].to_numpy(dtype=float)
    names = [str(name) for name in order.index]
    label_points(axes, places[:_MOST_NAMES], names[:_MOST_NAMES], avoid=places, fontsize=7.5)
