"""Held-out likelihood of folds, and what an unseen batch costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
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


_TRAIN, _VALIDATION, _HELD_OUT = OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[2]
_PARTS = (("train", "training cells", _TRAIN), ("validation", "validation cells", _VALIDATION))


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
    figure = new_figure(10.5, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    _draw_curves(left, curves)
    _draw_gaps(right, cv_scores[cv_scores["held_out_by"] == "fold"], cv_summary)
    handles = {
        label: handle
        for axes in (left, right)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside right center")
    figure.suptitle(f"{cv_summary['model']} ({cv_summary['family']}): training of {len(curves)} folds")
    return figure


def _draw_curves(axes: Axes, trainings: list[dict[str, Any]]) -> None:
    settled = []
    for position, training in enumerate(trainings):
        for part, label, color in _PARTS:
            values = np.asarray(training["curves"].get(f"elbo_{part}", []), dtype=np.float64)
            if not len(values):
                continue
            epochs = np.arange(1, len(values) + 1)
            axes.plot(epochs, values, color=color, lw=1, alpha=0.7, label=None if position else label)
            settled.append(values[max(1, len(values) // 20) :])
        axes.axvline(
            training["best_epoch"],
            color="#666666",
            ls=":",
            lw=0.9,
            label=None if position else "epoch whose\nweights are kept",
        )
    together = np.concatenate(settled)
    together = together[np.isfinite(together)]
    if together.size:
        low, high = together.min(), together.max()
        margin = 0.05 * max(high - low, 1e-6)
        axes.set_ylim(low - margin, high + margin)
    axes.set(xlabel="epoch", ylabel="negative ELBO (nats per cell, lower is better)")


def _draw_gaps(axes: Axes, folds: pd.DataFrame, cv_summary: dict[str, Any]) -> None:
    positions = np.arange(len(folds))
    axes.vlines(positions, folds["elbo"], folds["elbo_train"], color="#BBBBBB", lw=2, zorder=0)
    for column, label, color in (
        ("elbo_train", "trained on\n(by the other folds)", _TRAIN),
        ("elbo", "held out", _HELD_OUT),
    ):
        axes.plot(positions, folds[column], "o", ms=6, color=color, label=label)
    gap = cv_summary["gap"]
    share = cv_summary["gap_share"]
    if gap["value"] is not None and share is not None:
        axes.set_title(f"the same cells: a gap of {gap['value']:.1f} nats ({100 * share:.1f} %)")
    axes.set_xticks(positions, folds["held_out"].astype(str))
    axes.set_xlim(-0.6, len(folds) - 0.4)
    axes.set(xlabel="fold", ylabel="ELBO (nats per cell, higher is better)")
