"""Genes that carry the batch most, before and after correction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scvi_downstream.parameters import BatchEffectOptions
else:  # Kedro resolves the annotations of nodes; importing matplotlib for that would slow every command
    Axes = Figure = BatchEffectOptions = Any

_BEFORE, _AFTER, _BIOLOGY = OKABE_ITO[1], OKABE_ITO[2], "#999999"


def plot_batch_genes(batch_genes: pd.DataFrame, options: BatchEffectOptions) -> Figure:
    """Shares of the leading genes before and after, and all genes by batch and by biology.

    Parameters
    ----------
    batch_genes
        One row a gene, the one that carries the batch most first.
    options
        ``top_genes`` and ``fdr``.
    """
    table = batch_genes.dropna(subset=["batch_variance"])
    if table.empty or table["batch_f"].isna().all():
        return empty_figure(
            "No gene can be tested for the batch: batches and biology cannot be told apart, or too few samples "
            "are left."
        )
    top = table.head(options.top_genes)
    figure = new_figure(10.5, max(4.2, 0.21 * len(top) + 1.4))
    leading, everyone = figure.subplots(1, 2, width_ratios=(1.1, 1))
    _draw_leading(leading, top)
    if table["biology_variance"].notna().any():
        _draw_against_biology(everyone, table, options.fdr)
    else:
        _draw_distribution(everyone, table, options.fdr)
    return figure


def _draw_leading(axes: Axes, top: pd.DataFrame) -> None:
    positions = np.arange(len(top))
    columns = [("batch_variance", "batch alone, log counts", _BEFORE, "o")]
    if top["biology_variance"].notna().any():
        columns.append(("biology_variance", "biology alone, log counts", _BIOLOGY, "|"))
    if top["batch_variance_corrected"].notna().any():
        columns.append(("batch_variance_corrected", "batch alone, corrected", _AFTER, "s"))
        for position, row in zip(positions, top.itertuples(), strict=True):
            axes.plot(
                [100 * row.batch_variance, 100 * row.batch_variance_corrected],
                [position] * 2,
                color="#DDDDDD",
                lw=2,
            )
    for column, label, color, marker in columns:
        size = {"o": 34, "s": 26, "|": 60}[marker]
        axes.scatter(100 * top[column], positions, s=size, color=color, marker=marker, label=label, zorder=3)
    axes.set_yticks(positions, top["gene"].astype(str), fontsize=8)
    axes.axvline(0, color="#666666", lw=0.8)
    axes.set(
        ylim=(len(top) - 0.4, -0.6),
        xlabel="adjusted share of the gene's variance (%)",
        title=f"{len(top)} genes that carry the batch most",
    )
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.09),
        ncols=len(columns),
        columnspacing=1,
        handletextpad=0.2,
    )


def _colors(table: pd.DataFrame, fdr: float) -> tuple[np.ndarray, np.ndarray]:
    called = (table["batch_p_adjusted"] <= fdr).to_numpy()
    return called, np.where(called, _BEFORE, "#BBBBBB")


def _draw_against_biology(axes: Axes, table: pd.DataFrame, fdr: float) -> None:
    called, colors = _colors(table, fdr)
    axes.scatter(
        100 * table["biology_variance"],
        100 * table["batch_variance"],
        s=8,
        c=colors,
        linewidths=0,
        rasterized=True,
    )
    top = max(table["biology_variance"].max(), table["batch_variance"].max()) * 105
    axes.plot([0, top], [0, top], color="#666666", lw=0.8, ls=":", label="equal shares")
    axes.legend(loc="upper right")
    axes.set(
        xlabel="biology alone, adjusted share (%)",
        ylabel="batch alone, adjusted share (%)",
        title=_title(called, fdr),
        xlim=_span(table["biology_variance"]),
        ylim=_span(table["batch_variance"]),
    )


def _span(shares: pd.Series) -> tuple[float, float]:
    low, high = min(100 * shares.min(), 0.0), max(100 * shares.max(), 2.0)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _draw_distribution(axes: Axes, table: pd.DataFrame, fdr: float) -> None:
    called, _ = _colors(table, fdr)
    shares = 100 * table["batch_variance"].to_numpy()
    axes.hist([shares[called], shares[~called]], bins=40, stacked=True, color=[_BEFORE, "#BBBBBB"])
    axes.set(xlabel="batch, adjusted share (%)", ylabel="genes", title=_title(called, fdr))


def _title(called: np.ndarray, fdr: float) -> str:
    return (
        f"{called.sum():,} of {len(called):,} genes differ between batches\n(coloured; FDR {100 * fdr:g} %)"
    )
