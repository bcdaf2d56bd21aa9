"""Held-out likelihood of folds, and what an unseen batch costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing it for that would slow every command
    Axes = Figure = Any

MAX_BATCHES = 30
_PANELS = (
    ("elbo", "held-out ELBO (nats per cell)"),
    ("marginal_ll", "held-out marginal log-likelihood\n(nats per cell)"),
)


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
    shown = [(score, label) for score, label in _PANELS if folds[score].notna().any()]
    if not shown:
        return empty_figure("No held-out cell has a likelihood.")
    batches = cv_scores[cv_scores["held_out_by"] == "batch"]
    n_drawn = min(len(batches), MAX_BATCHES)
    widths = [3.2] * len(shown) + ([5.2] if n_drawn else [])
    figure = new_figure(sum(widths) + 0.3, max(3.4, 1.5 + 0.24 * n_drawn))
    panels = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for axes, (score, label) in zip(panels, shown, strict=False):
        _draw_folds(axes, folds, cv_summary[score], score)
        axes.set(xlabel="fold", ylabel=label)
    if n_drawn:
        _draw_costs(panels[-1], batches, cv_summary["unseen_batches"]["cost"])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2)
    figure.suptitle(f"{cv_summary['model']} ({cv_summary['family']}): cells that it was not fitted on")
    return figure


def _draw_folds(axes: Axes, folds: pd.DataFrame, mean: dict[str, Any], score: str) -> None:
    positions = np.arange(len(folds))
    axes.axhline(mean["value"], color=OKABE_ITO[0], lw=1.2)
    if mean["low"] is not None:
        axes.axhspan(
            mean["low"],
            mean["high"],
            color=OKABE_ITO[0],
            alpha=0.15,
            lw=0,
            label="mean and 95 % interval\n(corrected for shared training cells)",
        )
    axes.errorbar(
        positions,
        folds[score],
        yerr=1.96 * folds[f"{score}_se"].fillna(0),
        fmt="o",
        ms=5,
        lw=1.2,
        color="#222222",
        label="one fold; 95 % interval over cells",
    )
    axes.set_xticks(positions, folds["held_out"].astype(str))
    axes.set_xlim(-0.6, len(folds) - 0.4)


def _draw_costs(axes: Axes, batches: pd.DataFrame, mean: dict[str, Any]) -> None:
    ordered = batches.sort_values("cost", ascending=False).head(MAX_BATCHES)
    positions = np.arange(len(ordered))
    cost = ordered["cost"].to_numpy()
    reach = np.maximum([cost - ordered["cost_low"], ordered["cost_high"] - cost], 0)
    axes.axvline(0, color="#888888", lw=0.8)
    axes.axvline(mean["value"], color=OKABE_ITO[3], lw=1.2)
    if mean["low"] is not None:
        axes.axvspan(mean["low"], mean["high"], color=OKABE_ITO[3], alpha=0.12, lw=0)
    axes.errorbar(cost, positions, xerr=np.nan_to_num(reach), fmt="o", ms=5, lw=1.2, color=OKABE_ITO[3])
    names = [f"{name} ({int(n)})" for name, n in zip(ordered["held_out"], ordered["n_held_out"], strict=True)]
    axes.set_yticks(positions, names)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    left = len(batches) - len(ordered)
    axes.set(
        xlabel="ELBO lost when the batch is unseen (nats per cell)",
        ylabel="batch (cells)" + (f"; {left} of least cost not drawn" if left else ""),
        title="points: 95 % interval over cells; band: of the mean over batches",
    )
    axes.title.set_fontsize(8)
