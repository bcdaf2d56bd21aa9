"""How well each method predicts counts that it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import MISSING, OKABE_ITO, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

_LABELS = {
    "model": "model",
    "gene_mean": "gene mean",
    "knn_smoothing": "kNN smoothing",
    "thinned_cell": "thinned cell",
}
_PANELS = (
    ("poisson_nll", "Poisson loss\n(nats per entry, lower is better)"),
    ("pearson", "Pearson correlation\n(mean over genes, higher is better)"),
)


def plot_imputation_scores(imputation_scores: dict[str, Any], imputation_by_gene: pd.DataFrame) -> Figure:
    """Loss and correlation with 95 % intervals per method; per gene, the model against the best baseline.

    Parameters
    ----------
    imputation_scores
        ``methods`` (method → score → value, low, high), ``best_baseline``, ``verdict``, ``cells``,
        ``n_cells``.
    imputation_by_gene
        One row per gene with columns ``pearson_<method>`` and ``mean_held_out``.
    """
    figure = new_figure(12, 3.6)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    methods = imputation_scores["methods"]
    for axes, (score, label) in zip(panels, _PANELS, strict=False):
        _draw_intervals(axes, {method: values[score] for method, values in methods.items()}, label)
    panels[1].set_yticklabels([])
    best = imputation_scores["best_baseline"]
    if imputation_by_gene[f"pearson_{best}"].notna().sum() == 0:
        best = "knn_smoothing"
    _draw_genes(panels[2], imputation_by_gene, best)
    cells = f"{imputation_scores['n_cells']} {imputation_scores['cells']} cells"
    verdict = imputation_scores["verdict"]
    figure.suptitle(f"{verdict[0].upper()}{verdict[1:]} ({cells})", fontsize=10)
    return figure


def _draw_intervals(axes: Axes, scores: dict[str, dict[str, float] | None], label: str) -> None:
    for position, (method, score) in enumerate(scores.items()):
        color = OKABE_ITO[0] if method == "model" else MISSING
        if score is None:
            axes.text(
                0.5,
                position,
                "constant: no correlation",
                ha="center",
                va="center",
                fontsize=8,
                color="#666666",
                transform=axes.get_yaxis_transform(),
            )
            continue
        # Heavy tails can put the mean outside its own bootstrap interval, where no error bar has a length.
        reach = [[max(score["value"] - score["low"], 0.0)], [max(score["high"] - score["value"], 0.0)]]
        axes.errorbar(
            score["value"],
            position,
            xerr=reach,
            fmt="o",
            ms=7,
            capsize=4,
            color=color if method == "model" else "#666666",
        )
        axes.annotate(
            f"{score['value']:.3f}",
            (score["value"], position),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set(xlabel=label, ylim=(len(scores) - 0.5, -0.6), yticks=range(len(scores)))
    axes.set_yticklabels([_LABELS.get(method, method) for method in scores])
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.margins(x=0.12)


def _draw_genes(axes: Axes, by_gene: pd.DataFrame, best: str) -> None:
    shown = by_gene.dropna(subset=["pearson_model", f"pearson_{best}"])
    if shown.empty:
        axes.set_axis_off()
        axes.text(
            0.5,
            0.5,
            "No gene was detected in enough cells",
            ha="center",
            va="center",
            transform=axes.transAxes,
        )
        return
    x, y = shown[f"pearson_{best}"], shown["pearson_model"]
    low, high = min(x.min(), y.min()) - 0.03, max(x.max(), y.max()) + 0.03
    axes.plot([low, high], [low, high], color="#666666", lw=0.8, ls=":")
    points = axes.scatter(
        x, y, s=10, c=np.log10(shown["mean_held_out"]), cmap="viridis", linewidths=0, rasterized=True
    )
    axes.figure.colorbar(points, ax=axes, label="log₁₀ mean held-out count")
    above = 100 * float((y > x).mean())
    axes.set(
        xlabel=f"Pearson correlation per gene, {_LABELS.get(best, best)}",
        ylabel="model",
        xlim=(low, high),
        ylim=(low, high),
        title=f"{above:.0f} % of {len(shown)} genes above the line",
        aspect="equal",
    )
