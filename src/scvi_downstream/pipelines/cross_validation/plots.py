"""Held-out likelihood of folds, what an unseen batch costs, and the curves of the trainings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.charts import draw_intervals
from scvi_downstream.plots.panels import joint_legend, name_rows
from scvi_downstream.plots.style import OKABE_ITO, TWO_COLUMNS, empty_figure, new_figure
from scvi_downstream.runtime.slow_types import Axes, Figure

MAX_BATCHES = 30
_PANELS = {
    "elbo": "held-out ELBO (nats per cell)",
    "marginal_ll": "held-out marginal log-likelihood\n(nats per cell)",
}
_TRAIN, _VALIDATION, _HELD_OUT = OKABE_ITO[:3]


def plot_cross_validation(cv_scores: pd.DataFrame, cv_summary: dict[str, Any]) -> Figure:
    """Scores of every fold with their mean, and the cost of every unseen batch.

    Parameters
    ----------
    cv_scores
        One row a fold and a batch.
    cv_summary
        Means with intervals.
    """
    folds = cv_scores[cv_scores["held_out_by"] == "fold"]
    shown = [score for score in _PANELS if folds[score].notna().any()]
    if not shown:
        return empty_figure("No held-out cell has a likelihood.")
    batches = cv_scores[cv_scores["held_out_by"] == "batch"]
    n_drawn = min(len(batches), MAX_BATCHES)
    widths = [3.2] * len(shown) + ([5.2] if n_drawn else [])
    figure = new_figure(sum(widths) + 0.3, max(3.4, 1.5 + 0.24 * n_drawn))
    panels = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for axes, score in zip(panels, shown, strict=False):
        _draw_folds(axes, folds, cv_summary[score], score)
    if n_drawn:
        _draw_costs(panels[-1], batches, cv_summary["unseen_batches"]["cost"])
    joint_legend(panels[:1], loc="outside lower left", ncols=2)
    figure.suptitle(f"{cv_summary['model']} ({cv_summary['family']}): cells that it was not fitted on")
    return figure


def _draw_folds(axes: Axes, folds: pd.DataFrame, mean: dict[str, Any], score: str) -> None:
    axes.axhline(mean["value"], color=OKABE_ITO[0], lw=1.2)
    if mean["low"] is not None:
        label = "mean and 95 % interval\n(corrected for shared training cells)"
        axes.axhspan(mean["low"], mean["high"], color=OKABE_ITO[0], alpha=0.15, lw=0, label=label)
    value, reach = folds[score], 1.96 * folds[f"{score}_se"].fillna(0)
    look: dict[str, Any] = {"ms": 5, "lw": 1.2, "label": "one fold; 95 % interval over cells"}
    places = np.arange(len(folds))
    draw_intervals(axes, places, value, value - reach, value + reach, vertical=True, color="#222222", **look)
    _name_folds(axes, folds, _PANELS[score])


def _name_folds(axes: Axes, folds: pd.DataFrame, ylabel: str) -> None:
    axes.set_xticks(range(len(folds)), folds["held_out"].astype(str))
    axes.set(xlim=(-0.6, len(folds) - 0.4), xlabel="fold", ylabel=ylabel)


def _draw_costs(axes: Axes, batches: pd.DataFrame, mean: dict[str, Any]) -> None:
    ordered = batches.sort_values("cost", ascending=False).head(MAX_BATCHES)
    low, high = (ordered[f"cost_{end}"].fillna(ordered["cost"]) for end in ("low", "high"))
    axes.axvline(0, color="#888888", lw=0.8)
    axes.axvline(mean["value"], color=OKABE_ITO[3], lw=1.2)
    if mean["low"] is not None:
        axes.axvspan(mean["low"], mean["high"], color=OKABE_ITO[3], alpha=0.12, lw=0)
    look: dict[str, Any] = {"ms": 5, "lw": 1.2, "color": OKABE_ITO[3]}
    draw_intervals(axes, np.arange(len(ordered)), ordered["cost"], low, high, **look)
    names = zip(ordered["held_out"], ordered["n_held_out"], strict=True)
    name_rows(axes, [f"{name} ({int(n)})" for name, n in names])
    left = len(batches) - len(ordered)
    axes.set_xlabel("ELBO lost when the batch is unseen (nats per cell)")
    axes.set_ylabel("batch (cells)" + (f"; {left} of least cost not drawn" if left else ""))
    axes.set_title("points: 95 % interval over cells; band: of the mean over batches", fontsize="small")


def plot_fold_curves(
    cv_scores: pd.DataFrame, cv_summary: dict[str, Any], **trainings: dict[str, Any]
) -> Figure:
    """Curves of every fold with the epoch that is kept, and the gap between training and held-out cells.

    Parameters
    ----------
    cv_scores
        One row a fold and a batch.
    cv_summary
        Names the model and holds the gap.
    trainings
        ``training_<k>``: record of each fold with its ``curves``.
    """
    curves = [record for record in trainings.values() if record["curves"]]
    if not curves:
        return empty_figure("No curves were recorded.")
    figure = new_figure(TWO_COLUMNS, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_curves(left, curves)
    _draw_gaps(right, cv_scores[cv_scores["held_out_by"] == "fold"], cv_summary)
    joint_legend((left, right), loc="outside right center")
    figure.suptitle(f"{cv_summary['model']} ({cv_summary['family']}): training of {len(curves)} folds")
    return figure


def _draw_curves(axes: Axes, trainings: list[dict[str, Any]]) -> None:
    """Losses by epoch; the axis is that of all but the first twentieth, where they fall from a height."""
    settled = []
    for training in trainings:
        for part, color in (("train", _TRAIN), ("validation", _VALIDATION)):
            values = np.asarray(training["curves"][f"elbo_{part}"], dtype=np.float64)
            epochs = np.arange(1, len(values) + 1)
            label = "training cells" if part == "train" else "validation cells"
            axes.plot(epochs, values, color=color, lw=1, alpha=0.7, label=label)
            settled.append(values[max(1, len(values) // 20) :])
        kept = "epoch whose\nweights are kept"
        axes.axvline(training["best_epoch"], color="#666666", ls=":", lw=0.9, label=kept)
    together = np.concatenate(settled)
    together = together[np.isfinite(together)]
    if together.size:
        low, high = together.min(), together.max()
        margin = 0.05 * max(high - low, 1e-6)
        axes.set_ylim(low - margin, high + margin)
    axes.set(xlabel="epoch", ylabel="negative ELBO (nats per cell, lower is better)")


def _draw_gaps(axes: Axes, folds: pd.DataFrame, cv_summary: dict[str, Any]) -> None:
    places = np.arange(len(folds))
    axes.vlines(places, folds["elbo"], folds["elbo_train"], color="#BBBBBB", lw=2, zorder=0)
    trained = "trained on\n(by the other folds)"
    axes.plot(places, folds["elbo_train"], "o", ms=6, color=_TRAIN, label=trained)
    axes.plot(places, folds["elbo"], "o", ms=6, color=_HELD_OUT, label="held out")
    gap, share = cv_summary["gap"]["value"], cv_summary["gap_share"]
    if share is not None:
        axes.set_title(f"the same cells: a gap of {gap:.1f} nats ({100 * share:.1f} %)")
    _name_folds(axes, folds, "ELBO (nats per cell, higher is better)")
