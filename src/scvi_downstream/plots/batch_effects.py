"""Can the batch be told, and do batches mix: before the model, on its latent, in corrected expression."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing matplotlib for that would slow every command
    Axes = Figure = Any

STAGES = {"before": "PCA of\nlog counts", "after": "latent", "corrected": "corrected\nexpression"}
COLORS = {"before": OKABE_ITO[1], "after": OKABE_ITO[0], "corrected": OKABE_ITO[2]}
_CLASSIFIERS = {"linear": "Linear classifier", "neighbor": "Nearest neighbours"}
_METRICS = {
    "kbet": "kBET",
    "kbet_within_labels": "kBET in\nlabels",
    "ilisi": "iLISI",
    "batch_asw": "Batch\nASW",
    "bras": "BRAS",
}


def plot_batch_effects(batch_effects: pd.DataFrame, batch_summary: dict[str, Any]) -> Figure:
    """AUCs of both classifiers over their nulls, mixing metrics, and the share that the batch explains.

    Parameters
    ----------
    batch_effects
        One row a stage.
    batch_summary
        Its first sentence is the title.
    """
    sentence = batch_summary["sentences"][0]
    if batch_effects["linear_auc"].isna().all():
        return empty_figure(sentence)
    rows = [row for _, row in batch_effects.set_index("stage").loc[list(batch_effects["stage"])].iterrows()]
    metrics = {name: text for name, text in _METRICS.items() if batch_effects[name].notna().any()}
    figure = new_figure(12.5, 4.4)
    widths = (1.5, 1.5, 0.35 + 0.62 * len(metrics), 1.15)
    panels = figure.subplots(1, 4, width_ratios=widths)
    for axes, (classifier, title) in zip(panels, _CLASSIFIERS.items(), strict=False):
        _draw_classifier(axes, rows, classifier, title)
    _draw_mixing(panels[2], rows, metrics)
    _draw_explained(panels[3], rows)
    figure.suptitle(fill(sentence, 165), fontsize=9)
    return figure


def _draw_classifier(axes: Axes, rows: list[pd.Series], classifier: str, title: str) -> None:
    for position, row in enumerate(rows):
        low, high = row[f"{classifier}_null_low"], row[f"{classifier}_null_high"]
        mean, auc = row[f"{classifier}_null_mean"], row[f"{classifier}_auc"]
        axes.bar(position, high - low, 0.62, bottom=low, color="#DDDDDD")
        axes.plot([position - 0.31, position + 0.31], [mean, mean], color="#666666", lw=1)
        if np.isnan(auc):
            continue
        axes.scatter(position, auc, s=55, color=COLORS[str(row.name)], zorder=3)
        axes.annotate(
            f"{auc:.2f}\np = {_short(row[f'{classifier}_p'])}",
            (position, auc if auc >= 0.85 else max(auc, high)),
            xytext=(0, 8 if auc < 0.85 else -8),
            textcoords="offset points",
            ha="center",
            va="bottom" if auc < 0.85 else "top",
            fontsize=8,
        )
    lows = [row[f"{classifier}_{part}"] for row in rows for part in ("auc", "null_low")]
    axes.set(
        title=f"{title}\ngrey: null, 5–95 %",
        ylabel="macro AUC of the batch",
        ylim=(np.nanmin([0.4, *np.subtract(lows, 0.05)]), 1.04),
        xlim=(-0.6, len(rows) - 0.4),
    )
    _name_stages(axes, rows)


def _short(p: float) -> str:
    return f"{p:.2f}" if p >= 0.01 else f"{p:.1g}"


def _draw_mixing(axes: Axes, rows: list[pd.Series], metrics: dict[str, str]) -> None:
    width = 0.8 / len(rows)
    for position, row in enumerate(rows):
        x = np.arange(len(metrics)) + (position - (len(rows) - 1) / 2) * width
        axes.bar(x, [row[name] for name in metrics], width * 0.92, color=COLORS[str(row.name)])
        for at, name in zip(x, metrics, strict=True):
            if f"{name}_mixed" in row:
                mixed = row[f"{name}_mixed"]
                axes.plot([at - width / 2, at + width / 2], [mixed, mixed], color="black", lw=1.4)
    axes.set(title="Mixing of batches\nblack: mixed at random", ylabel="score (1: mixed)", ylim=(0, 1.04))
    axes.set_xticks(range(len(metrics)), list(metrics.values()), fontsize=8)
    handles = [
        axes.scatter([], [], s=30, marker="s", color=COLORS[str(row.name)], label=_in_a_line(row.name))
        for row in rows
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=len(rows),
        columnspacing=1,
        handletextpad=0.1,
    )


def _in_a_line(stage: object) -> str:
    return STAGES[str(stage)].replace("\n", " ")


def _draw_explained(axes: Axes, rows: list[pd.Series]) -> None:
    for position, row in enumerate(rows):
        share = 100 * row["pcr"]
        axes.bar(position, share, 0.62, color=COLORS[str(row.name)])
        axes.annotate(
            f"{share:.1f}",
            (position, share),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set(
        title="PC regression",
        ylabel="variance explained by batch (%)",
        ylim=(0, max(1.0, 115 * max(row["pcr"] for row in rows))),
        xlim=(-0.6, len(rows) - 0.4),
    )
    _name_stages(axes, rows)


def _name_stages(axes: Axes, rows: list[pd.Series]) -> None:
    axes.set_xticks(range(len(rows)), [STAGES[str(row.name)] for row in rows], fontsize=7.5)
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)
