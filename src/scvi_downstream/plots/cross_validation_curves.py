"""Training and validation curves of all folds, and training against held-out cells."""

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
