"""Means, variances, zeros and library sizes, as observed and as generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.log_ticks import plain_log_ticks
from scvi_downstream.plots.point_labels import label_points
from scvi_downstream.plots.predictive_sources import SOURCE_COLORS, SOURCE_NAMES
from scvi_downstream.plots.style import new_figure, point_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

_OBSERVED = "#777777"
_LINES = ("model", "nb", "poisson")
_N_BINS = 15
_N_NAMED = 8


def plot_predictive_moments(
    predictive_genes: pd.DataFrame, predictive_cells: pd.DataFrame, predictive_checks: pd.DataFrame
) -> Figure:
    """Six panels of held-out cells: CV² by mean; zeros of genes by the model and by the NB; cells; overdispersion.

    Parameters
    ----------
    predictive_genes, predictive_cells, predictive_checks
        Of the predictive checks: one row a gene, cell or check, and source.
    """
    genes = predictive_genes[predictive_genes["cells"] == "held-out"]
    cells = predictive_cells[predictive_cells["cells"] == "held-out"]
    figure = new_figure(11.5, 7.2)
    panels = figure.subplots(2, 3)
    _draw_variation(panels[0, 0], genes)
    outliers = [_draw_zeros(panels[0, column], genes, source) for column, source in ((1, "model"), (2, "nb"))]
    _draw_cells(panels[1, 0], cells, "zero_fraction", "share of zeros of a cell")
    _draw_cells(panels[1, 1], cells, "counts", "counts of a cell")
    _draw_checks(panels[1, 2], predictive_checks)
    n_cells = int(predictive_checks.loc[predictive_checks["cells"] == "held-out", "n_cells"].iloc[0])
    figure.suptitle(f"Counts of {n_cells:,} held-out cells, observed and generated", fontsize=10)
    figure.draw_without_rendering()
    for axes, named in zip(panels[0, 1:], outliers, strict=True):
        xy = named[["zeros_observed", "zeros_predicted"]].to_numpy(dtype=np.float64)
        label_points(axes, xy, named["symbol"].astype(str).tolist(), avoid=xy)
    return figure


def _draw_variation(axes: Axes, genes: pd.DataFrame) -> None:
    """CV² against the mean: genes as observed, and the medians that each source generates."""
    own = genes[genes["source"] == "model"]
    shown = own[(own["mean_observed"] > 0) & (own["variance_observed"] > 0)]
    axes.scatter(
        shown["mean_observed"],
        shown["variance_observed"] / shown["mean_observed"] ** 2,
        s=point_size(len(shown)) / 2,
        c=_OBSERVED,
        alpha=0.5,
        linewidths=0,
        label="observed genes",
        rasterized=True,
    )
    for source in ("observed", *_LINES):
        table = genes[genes["source"] == ("model" if source == "observed" else source)]
        kind = "observed" if source == "observed" else "predicted"
        x, y = _medians(table[f"mean_{kind}"], table[f"variance_{kind}"])
        color = "#222222" if source == "observed" else SOURCE_COLORS[source]
        name = "observed, median" if source == "observed" else SOURCE_NAMES[source]
        style = "--" if source == "observed" else "-"
        axes.plot(x, y, color=color, lw=1.6, ls=style, label=name)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="mean count of a gene",
        ylabel="CV² (variance / mean²)",
        title="Variation of genes",
    )
    for axis in (axes.xaxis, axes.yaxis):
        plain_log_ticks(axis)
    axes.legend(loc="lower left", handlelength=1.6)


def _medians(mean: pd.Series, variance: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Median mean and CV² in bins of the mean, as many genes in each."""
    known = (mean > 0) & (variance > 0)
    mean, variance = mean[known], variance[known]
    if len(mean) < 2 * _N_BINS:
        order = np.argsort(mean.to_numpy())
        return mean.to_numpy()[order], (variance / mean**2).to_numpy()[order]
    bins = pd.qcut(mean, _N_BINS, duplicates="drop")
    cv2 = (variance / mean**2).groupby(bins, observed=True).median()
    return mean.groupby(bins, observed=True).median().to_numpy(), cv2.to_numpy()


def _draw_zeros(axes: Axes, genes: pd.DataFrame, source: str) -> pd.DataFrame:
    """Zeros of each gene; returns the outliers to name."""
    own = genes[genes["source"] == source]
    outlier = own["outlier"].to_numpy(dtype=bool)
    _identity(axes, 0, 1)
    for chosen, color, name in (
        (~outlier, "#999999", "like the observed"),
        (outlier, SOURCE_COLORS[source], "unlike, at the FDR"),
    ):
        rows = own[chosen]
        axes.scatter(
            rows["zeros_observed"],
            rows["zeros_predicted"],
            s=point_size(len(own)),
            c=color,
            linewidths=0,
            label=f"{name} ({len(rows)})",
            rasterized=True,
        )
    drawn = own[outlier & (own["differs_in"] == "zeros").to_numpy()].sort_values("p", kind="stable")
    axes.set(
        xlabel="observed share of zeros",
        ylabel="generated share of zeros",
        title=f"Zeros of genes, {SOURCE_NAMES[source]}",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    axes.legend(loc="upper left", handletextpad=0.2)
    return drawn.head(_N_NAMED)


def _draw_cells(axes: Axes, cells: pd.DataFrame, value: str, label: str) -> None:
    """One point a cell and source; the model's with 95 % intervals."""
    for source in ("poisson", "nb", "model"):
        own = cells[cells["source"] == source]
        observed, predicted = own[f"{value}_observed"], own[f"{value}_predicted"]
        if source == "model":
            reach = [predicted - own[f"{value}_lower"], own[f"{value}_upper"] - predicted]
            axes.errorbar(
                observed,
                predicted,
                yerr=np.maximum(np.array(reach, dtype=np.float64), 0),
                fmt="none",
                color=SOURCE_COLORS[source],
                lw=0.5,
                alpha=0.3,
            )
        axes.scatter(
            observed,
            predicted,
            s=point_size(len(own)),
            c=SOURCE_COLORS[source],
            linewidths=0,
            label=SOURCE_NAMES[source],
            alpha=0.8,
            rasterized=True,
        )
    values = cells[[f"{value}_observed", f"{value}_predicted"]].to_numpy(dtype=np.float64)
    _identity(axes, values.min(), values.max())
    axes.set(xlabel=f"observed {label}", ylabel=f"generated {label}")
    if value == "counts":
        axes.set(xscale="log", yscale="log", title="Library sizes")
        for axis in (axes.xaxis, axes.yaxis):
            plain_log_ticks(axis)
    else:
        axes.set_title("Zeros of cells")
        axes.legend(loc="upper left", handletextpad=0.2)


_NAMES = {
    "zero_fraction": "zeros, all",
    "zero_fraction_sd": "zeros, SD over cells",
    "library_size": "counts of a cell",
    "overdispersion": "overdispersion",
    "correlation_strength": "correlation strength",
}


def _draw_checks(axes: Axes, checks: pd.DataFrame) -> None:
    """Generated over observed, with the central 95 % of the draws, on a logarithmic scale."""
    held_out = checks[(checks["cells"] == "held-out") & checks["check"].isin(_NAMES)]
    axes.axvline(1, color="#666666", lw=0.8, ls=":")
    for offset, source in zip((-0.27, -0.09, 0.09, 0.27), SOURCE_COLORS, strict=True):
        own = held_out[held_out["source"] == source].set_index("check").reindex(_NAMES)
        values = own[["expected", "lower", "upper"]].div(own["observed"], axis=0).to_numpy(dtype=np.float64)
        values = np.where(values > 0, values, np.nan)
        rows = np.arange(len(own)) + offset
        axes.errorbar(
            values[:, 0],
            rows,
            xerr=[values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]],
            fmt="o",
            ms=3.5,
            color=SOURCE_COLORS[source],
            lw=1.2,
            label=SOURCE_NAMES[source],
        )
    axes.set_yticks(range(len(_NAMES)), list(_NAMES.values()))
    axes.invert_yaxis()
    axes.set(
        xscale="log", xlabel="generated / observed (95 % of the draws)", title="Statistics of all counts"
    )
    plain_log_ticks(axes.xaxis)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=2, handletextpad=0.2)


def _identity(axes: Axes, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color="#222222", lw=0.8, ls=":", zorder=0)
