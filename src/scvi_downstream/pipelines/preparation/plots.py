"""Quality of the cells, over all and by batch, and the genes that vary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.pipelines.preparation.options import CellFilters, PreparationOptions
from scvi_downstream.plots.panels import empty_panel, shortened
from scvi_downstream.plots.style import (
    MISSING,
    OKABE_ITO,
    ONE_COLUMN,
    TWO_COLUMNS,
    label_points,
    new_figure,
    plain_log_ticks,
)
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

MOST_BATCHES = 30
N_GENES_NAMED = 12
METRICS = {
    "n_counts": ("Counts per cell (UMI)", "log", ("min_counts", "max_counts")),
    "n_genes": ("Genes per cell", "log", ("min_genes", "max_genes")),
    "mitochondrial_percent": ("Mitochondrial counts (%)", "linear", ("max_mitochondrial_percent",)),
}


def plot_quality(
    qc_metrics: pd.DataFrame, preparation_summary: dict[str, Any], options: PreparationOptions
) -> Figure:
    """Histogram of each metric and, where there are batches, its distribution in each batch.

    Parameters
    ----------
    qc_metrics
        One row a cell: ``n_counts``, ``n_genes``, ``mitochondrial_percent`` and, with batches, ``batch``.
    preparation_summary, options
        Numbers of cells and genes before and after filtering; thresholds, drawn as dashed lines.
    """
    sizes = qc_metrics["batch"].value_counts(sort=False) if "batch" in qc_metrics else pd.Series(dtype=int)
    largest = set(sizes.nlargest(MOST_BATCHES).index)
    shown = [str(name) for name in sizes.index if name in largest] if len(sizes) > 1 else []
    heights = [2.8, 0.6 + 0.26 * len(shown)] if shown else [2.8]
    figure = new_figure(TWO_COLUMNS, sum(heights))
    grid = figure.subplots(len(heights), len(METRICS), squeeze=False, height_ratios=heights)
    for column, (metric, (label, scale, filters)) in enumerate(METRICS.items()):
        drawn = qc_metrics[qc_metrics[metric].notna()]
        if drawn.empty:
            empty_panel(grid[0, column], "no mitochondrial genes\namong the gene symbols")
            if shown:
                grid[1, column].set_axis_off()
            continue
        _draw_histogram(grid[0, column], drawn[metric].to_numpy(), scale)
        if shown:
            _draw_batches(grid[1, column], drawn, metric, shown, names=column == 0)
        for axes in grid[:, column]:
            axes.set(xlabel=label, xscale=scale)
            _draw_thresholds(axes, options.filters, filters)
            axes.set_xlim(grid[0, column].get_xlim())
            if scale == "log":
                plain_log_ticks(axes.xaxis)
    figure.suptitle(_title(preparation_summary, len(sizes), len(shown)))
    return figure


def _draw_histogram(axes: Axes, values: np.ndarray, scale: str) -> None:
    low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low * 0.9, max(high * 1.1, low + 1)
    edges = np.geomspace(max(low, 0.5), high, 51) if scale == "log" else np.linspace(low, high, 51)
    axes.hist(values, bins=edges.tolist(), color=OKABE_ITO[0])
    median = f"{np.median(values):,.0f}" if scale == "log" else f"{np.median(values):.1f} %"
    axes.set(ylabel="Cells", title=f"median {median}")


def _draw_batches(axes: Axes, table: pd.DataFrame, metric: str, shown: list[str], *, names: bool) -> None:
    """One box a batch: quartiles, whiskers to the 1st and 99th percentile."""
    by_batch = [table.loc[table["batch"] == name, metric].to_numpy() for name in shown]
    axes.boxplot(
        by_batch,
        orientation="horizontal",
        whis=(1, 99),
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": OKABE_ITO[5], "linewidth": 0.8},
        medianprops={"color": "black"},
        flierprops={"marker": ".", "markersize": 3, "markerfacecolor": "#555555", "markeredgewidth": 0},
    )
    sized = zip(shown, map(len, by_batch), strict=True)
    labels = [f"{shortened(name, 30)} ({size:,})" for name, size in sized]
    axes.set_yticks(range(1, len(shown) + 1), labels if names else [""] * len(shown))
    axes.invert_yaxis()


def _draw_thresholds(axes: Axes, filters: CellFilters, names: tuple[str, ...]) -> None:
    for name in names:
        threshold = getattr(filters, name)
        if threshold is not None:
            axes.axvline(threshold, color=OKABE_ITO[3], linestyle="--", linewidth=1)


def _title(summary: dict[str, Any], n_batches: int, n_shown: int) -> str:
    title = (
        f"{summary['n_cells']:,} of {summary['n_cells_raw']:,} cells and {summary['n_genes']:,} of "
        f"{summary['n_genes_raw']:,} genes kept"
    )
    return f"{title}; the {n_shown} largest of {n_batches} batches" if 2 <= n_shown < n_batches else title


def plot_highly_variable(counts: AnnData) -> Figure:
    """Normalised variance against mean, log axes, the first ranked genes by name.

    Parameters
    ----------
    counts
        ``var`` with ``means``, ``variances_norm``, ``highly_variable`` and ``highly_variable_rank``;
        ``symbol`` where names and symbols differ.
    """
    figure = new_figure(ONE_COLUMN, 4.5)
    axes = figure.subplots()
    var = counts.var[(counts.var["means"] > 0) & (counts.var["variances_norm"] > 0)]
    if var.empty:
        empty_panel(axes, "no mean-variance trend could be fitted\nto these counts")
        return figure
    chosen = var["highly_variable"].to_numpy(dtype=bool)
    for mask, color, name in ((~chosen, MISSING, "other"), (chosen, OKABE_ITO[0], "highly variable")):
        if mask.any():
            x, y = var["means"][mask], var["variances_norm"][mask]
            label = f"{name} ({mask.sum():,})"
            axes.scatter(x, y, s=5, c=color, linewidths=0, rasterized=True, label=label)
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="Mean counts per cell", ylabel="Normalised variance (observed / expected)")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, markerscale=3)
    plain_log_ticks(axes.xaxis)
    plain_log_ticks(axes.yaxis)
    first = var[chosen].nsmallest(N_GENES_NAMED, "highly_variable_rank")
    xy = first[["means", "variances_norm"]].to_numpy()
    others = var.drop(index=first.index)[["means", "variances_norm"]].to_numpy()
    label_points(axes, xy, list(symbols_of(first)), avoid=others)
    return figure
