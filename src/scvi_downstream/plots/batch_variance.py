"""How much of the variance is batch, how much biology: stacked shares by representation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing matplotlib for that would slow every command
    Axes = Figure = Any

_SOURCES = {
    "batch": ("batch alone", OKABE_ITO[3]),
    "shared": ("batch or biology, not told apart", OKABE_ITO[1]),
    "biology": ("biology alone", OKABE_ITO[0]),
    "residual": ("neither", "#DDDDDD"),
}
_REPRESENTATIONS = {
    "expression": "log counts,\nall modelled genes",
    "pca": "PCA of log counts",
    "latent": "latent",
    "corrected_expression": "corrected expression",
}


def plot_batch_variance(batch_variance: pd.DataFrame, batch_summary: dict[str, Any]) -> Figure:
    """Adjusted shares of the variance, and those of the batch alone with their intervals.

    Parameters
    ----------
    batch_variance
        Four rows a representation.
    batch_summary
        ``n_batches`` and ``sentences``.
    """
    if batch_summary["n_batches"] < 2:
        return empty_figure(batch_summary["sentences"][0])
    table = batch_variance.set_index(["representation", "source"])
    names = [name for name in _REPRESENTATIONS if name in table.index.get_level_values(0)]
    figure = new_figure(10.5, 1.5 + 0.55 * len(names))
    stacked, alone = figure.subplots(1, 2, width_ratios=(2, 1), sharey=True)
    _draw_stacks(stacked, table["share"], names)
    _draw_batch(alone, table, names)
    stacked.set_yticks(range(len(names)), [_REPRESENTATIONS[name] for name in names])
    stacked.set_ylim(len(names) - 0.45, -0.55)
    figure.legend(*stacked.get_legend_handles_labels(), loc="outside lower center", ncols=len(_SOURCES))
    return figure


def _draw_stacks(axes: Axes, shares: pd.Series, names: list[str]) -> None:
    left = np.zeros(len(names))
    for source, (label, color) in _SOURCES.items():
        values = 100 * np.array([max(np.nan_to_num(shares[name, source]), 0.0) for name in names])
        if source in ("shared", "biology") and all(np.isnan(shares[name, source]) for name in names):
            continue
        axes.barh(range(len(names)), values, 0.7, left=left, color=color, label=label)
        for position, value in enumerate(values):
            if value >= 4:
                ink = "white" if source in ("batch", "biology") else "black"
                axes.text(
                    left[position] + value / 2,
                    position,
                    f"{value:.0f}",
                    ha="center",
                    va="center",
                    color=ink,
                    fontsize=8,
                )
        left += values
    axes.set(title="Shares of the variance", xlabel="adjusted share (%)", xlim=(0, max(100.0, left.max())))


def _draw_batch(axes: Axes, table: pd.DataFrame, names: list[str]) -> None:
    for position, name in enumerate(names):
        share, low, high = 100 * table.loc[(name, "batch"), ["share", "low", "high"]].to_numpy(dtype=float)
        axes.errorbar(
            share,
            position,
            xerr=[[share - low], [high - share]],
            fmt="o",
            ms=6,
            capsize=4,
            color=_SOURCES["batch"][1],
        )
        axes.annotate(
            f"{share:.1f}",
            (share, position),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.axvline(0, color="#666666", lw=0.8)
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.margins(x=0.15)
    axes.set(title="Batch alone, 95 % interval", xlabel="adjusted share (%)")
