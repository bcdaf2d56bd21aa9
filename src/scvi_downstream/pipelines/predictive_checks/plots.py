"""Moments of genes and cells, calibration and correlations, as observed and as generated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.charts import draw_intervals
from scvi_downstream.plots.style import (
    DIVERGING,
    OKABE_ITO,
    TWO_COLUMNS,
    empty_figure,
    label_points,
    new_figure,
    plain_log_ticks,
    point_size,
)
from scvi_downstream.runtime.slow_types import Axes, Figure

_BLUE, _ORANGE, _GREEN, _RED = OKABE_ITO[:4]
SOURCE_COLORS = {"model": _BLUE, "population": _GREEN, "nb": _ORANGE, "poisson": _RED}
SOURCE_NAMES = {
    "model": "model",
    "population": "model without the cell's state",
    "nb": "negative binomial",
    "poisson": "Poisson",
}
SOURCE_MARKERS = {"model": "o", "population": "D", "nb": "s", "poisson": "^"}
_STATISTICS = {
    "zero_fraction": "zeros, all",
    "zero_fraction_sd": "zeros, SD over cells",
    "library_size": "counts of a cell",
    "overdispersion": "overdispersion",
    "correlation_strength": "correlation strength",
}
# Bins of the mean count, as many genes in each, whose medians are lines.
_N_BINS = 15
_N_NAMED = 8
# Bins of the PIT that are drawn as one.
_STEP = 2
_CORRELATED = ("model", "population", "nb")
# Of the colours of correlations, so that those of a few pairs do not leave all others pale.
_MOST_LIMIT = 0.95


def plot_predictive_moments(
    predictive_genes: pd.DataFrame, predictive_cells: pd.DataFrame, predictive_checks: pd.DataFrame
) -> Figure:
    """Six panels of held-out cells: CV² by mean; zeros of genes by the model and by the NB; cells; overdispersion.

    Parameters
    ----------
    predictive_genes, predictive_cells, predictive_checks
        Tables of the predictive checks: one row a gene, cell or check, and source.
    """
    genes = predictive_genes[predictive_genes["cells"] == "held-out"]
    cells = predictive_cells[predictive_cells["cells"] == "held-out"]
    figure = new_figure(TWO_COLUMNS, 7.2)
    panels = figure.subplots(2, 3)
    _draw_variation(panels[0, 0], genes)
    outliers = [_draw_zeros(panels[0, column], genes, source) for column, source in ((1, "model"), (2, "nb"))]
    _draw_cells(panels[1, 0], cells, "zero_fraction", "share of zeros of a cell")
    _draw_cells(panels[1, 1], cells, "counts", "counts of a cell")
    checks = predictive_checks[predictive_checks["cells"] == "held-out"]
    _draw_statistics(panels[1, 2], checks)
    n_cells = int(checks["n_cells"].iloc[0])
    figure.suptitle(f"Counts of {n_cells:,} held-out cells, observed and generated")
    for axes, named in zip(panels[0, 1:], outliers, strict=True):
        xy = named[["zeros_observed", "zeros_predicted"]].to_numpy(dtype=np.float64)
        label_points(axes, xy, named["symbol"].astype(str).tolist(), avoid=xy)
    return figure


def _draw_variation(axes: Axes, genes: pd.DataFrame) -> None:
    """CV² against the mean: genes as observed, and the medians that each source generates."""
    by_source = dict(iter(genes.groupby("source", observed=True)))
    mean, variance = (by_source["model"][f"{name}_observed"] for name in ("mean", "variance"))
    varies = (mean > 0) & (variance > 0)
    dots: dict[str, Any] = {"s": point_size(varies.sum()) / 2, "c": "#777777", "alpha": 0.5, "linewidths": 0}
    cv2 = variance[varies] / mean[varies] ** 2
    axes.scatter(mean[varies], cv2, label="observed genes", rasterized=True, **dots)
    axes.plot(*_medians(mean, variance), color="#222222", lw=1.6, ls="--", label="observed, median")
    for source in ("model", "nb", "poisson"):
        own = by_source[source]
        line = _medians(own["mean_predicted"], own["variance_predicted"])
        axes.plot(*line, color=SOURCE_COLORS[source], lw=1.6, label=SOURCE_NAMES[source])
    axes.set(xlabel="mean count of a gene", ylabel="CV² (variance / mean²)", title="Variation of genes")
    _use_log_axes(axes)
    axes.legend(loc="lower left", handlelength=1.6)


def _medians(mean: pd.Series, variance: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Median mean and CV² in bins of the mean, as many genes in each."""
    table = pd.DataFrame({"mean": mean, "cv2": variance / mean**2})[(mean > 0) & (variance > 0)]
    if len(table) < 2 * _N_BINS:
        points = table.sort_values("mean")
    else:
        bins = pd.qcut(table["mean"], _N_BINS, duplicates="drop")
        points = table.groupby(bins, observed=True).median()
    return points["mean"].to_numpy(), points["cv2"].to_numpy()


def _use_log_axes(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        plain_log_ticks(axis)


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
        dots: dict[str, Any] = {"s": point_size(len(own)), "c": color, "linewidths": 0, "rasterized": True}
        axes.scatter(rows["zeros_observed"], rows["zeros_predicted"], label=f"{name} ({len(rows)})", **dots)
    axes.set(xlabel="observed share of zeros", ylabel="generated share of zeros")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=f"Zeros of genes, {SOURCE_NAMES[source]}")
    axes.legend(loc="upper left", handletextpad=0.2)
    in_zeros = own[outlier & (own["differs_in"] == "zeros").to_numpy()]
    return in_zeros.sort_values("p", kind="stable").head(_N_NAMED)


def _draw_cells(axes: Axes, cells: pd.DataFrame, value: str, label: str) -> None:
    """One point a cell and source; the model's with 95 % intervals."""
    for source in ("poisson", "nb", "model"):
        own, color = cells[cells["source"] == source], SOURCE_COLORS[source]
        kinds = ("observed", "predicted", "lower", "upper")
        observed, predicted, lower, upper = (own[f"{value}_{kind}"] for kind in kinds)
        if source == "model":
            thin: dict[str, Any] = {"vertical": True, "fmt": "none", "lw": 0.5, "alpha": 0.3}
            draw_intervals(axes, observed, predicted, lower, upper, color=color, **thin)
        dots: dict[str, Any] = {"s": point_size(len(own)), "linewidths": 0, "alpha": 0.8, "rasterized": True}
        axes.scatter(observed, predicted, c=color, label=SOURCE_NAMES[source], **dots)
    values = cells[[f"{value}_observed", f"{value}_predicted"]].to_numpy(dtype=np.float64)
    _identity(axes, values.min(), values.max())
    axes.set(xlabel=f"observed {label}", ylabel=f"generated {label}")
    if value == "counts":
        axes.set_title("Library sizes")
        _use_log_axes(axes)
    else:
        axes.set_title("Zeros of cells")
        axes.legend(loc="upper left", handletextpad=0.2)


def _draw_statistics(axes: Axes, checks: pd.DataFrame) -> None:
    """Generated over observed, with the central 95 % of the draws, on a logarithmic scale."""
    of_counts = checks[checks["check"].isin(_STATISTICS)]
    axes.axvline(1, color="#666666", lw=0.8, ls=":")
    for offset, (source, color) in zip((-0.27, -0.09, 0.09, 0.27), SOURCE_COLORS.items(), strict=True):
        own = of_counts[of_counts["source"] == source].set_index("check").reindex(_STATISTICS)
        ratios = own[["expected", "lower", "upper"]].div(own["observed"], axis=0)
        values = ratios.where(ratios > 0).to_numpy(dtype=np.float64).T
        rows = np.arange(len(own)) + offset
        draw_intervals(axes, rows, *values, ms=3.5, color=color, lw=1.2, label=SOURCE_NAMES[source])
    axes.set_yticks(range(len(_STATISTICS)), list(_STATISTICS.values()))
    axes.invert_yaxis()
    axes.set(xlabel="generated / observed (95 % of the draws)", title="Statistics of all counts")
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=2, handletextpad=0.2)


def _identity(axes: Axes, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color="#222222", lw=0.8, ls=":", zorder=0)


def plot_predictive_calibration(
    predictive_calibration: pd.DataFrame, predictive_checks: pd.DataFrame
) -> Figure:
    """PIT histograms by the mean count of genes above; coverage and scores below.

    Parameters
    ----------
    predictive_calibration
        Bins of the PIT of each source and stratum of genes.
    predictive_checks
        Coverages and scores with intervals.
    """
    strata = list(dict.fromkeys(predictive_calibration["genes"]))
    figure = new_figure(TWO_COLUMNS, 6.4)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    above, below = halves
    panels = above.subplots(1, len(strata), sharey=True, squeeze=False)[0]
    for axes, stratum in zip(panels, strata, strict=True):
        _draw_pit(axes, predictive_calibration[predictive_calibration["genes"] == stratum], stratum)
    panels[0].set_ylabel("density of the PIT")
    panels[0].legend(loc="upper center", ncols=2, fontsize="small", handlelength=1.2, columnspacing=0.8)
    coverage, score = below.subplots(1, 2)
    _draw_strata(coverage, predictive_checks[predictive_checks["check"] == "coverage_95"], strata)
    coverage.axvline(0.95, color="#666666", lw=0.8, ls=":")
    counted = "share of counts in the central 95 % (95 % interval)"
    coverage.set(title="Coverage of 95 % intervals", xlabel=counted)
    _draw_strata(score, predictive_checks[predictive_checks["check"] == "crps_gain"], strata)
    score.axvline(0, color=SOURCE_COLORS["nb"], lw=1.2, ls=":")
    gained = "CRPS of log counts, lower than the negative binomial's by (share)"
    score.set(title="Score against the negative binomial", xlabel=gained)
    coverage.legend(loc="best", handletextpad=0.3, fontsize="small")
    return figure


def _draw_pit(axes: Axes, table: pd.DataFrame, stratum: str) -> None:
    axes.axhline(1, color="#666666", lw=0.8, ls=":")
    for source, color in SOURCE_COLORS.items():
        own = table[(table["source"] == source) & (table["cells"] == "held-out")]
        share = own["share"].to_numpy().reshape(-1, _STEP).sum(axis=1)
        edges = np.append(own["low"].to_numpy()[::_STEP], 1.0)
        axes.stairs(share * len(share), edges, baseline=None, color=color, lw=1.4, label=SOURCE_NAMES[source])
    axes.set(xlabel="PIT (rank of the observed among the draws)", xlim=(0, 1))
    axes.set_title(f"Genes of mean count {stratum}")
    # a Poisson's extremes may leave the panel: what is near 1 shall be seen
    axes.set_ylim(0, float(np.clip(axes.get_ylim()[1], 2.2, 3.0)))


def _draw_strata(axes: Axes, checks: pd.DataFrame, strata: list[str]) -> None:
    """One row a stratum after one of all genes, one point a source; the model's on training cells is hollow."""
    rows = np.arange(len(strata) + 1)
    by_group = {group: table.set_index("genes") for group, table in checks.groupby(["source", "cells"])}
    groups = [*((source, "held-out") for source in SOURCE_COLORS), ("model", "training")]
    groups = [group for group in groups if group in by_group]
    for offset, (source, cells) in zip(np.linspace(-0.3, 0.3, len(groups)), groups, strict=True):
        own = by_group[source, cells].reindex(["all", *strata])
        color, label = SOURCE_COLORS[source], SOURCE_NAMES[source]
        look: dict[str, Any] = {"fmt": SOURCE_MARKERS[source], "ms": 4, "lw": 1, "color": color}
        look |= {"label": label, "mfc": color}
        if cells == "training":
            look |= {"label": f"{label}, training cells", "mfc": "white"}
        draw_intervals(axes, rows + offset, own["observed"], own["lower"], own["upper"], **look)
    axes.set_yticks(rows, ["all genes", *(f"mean {name}" for name in strata)])
    axes.invert_yaxis()


def plot_predictive_correlation(
    predictive_correlations: pd.DataFrame, predictive_checks: pd.DataFrame
) -> Figure:
    """Correlations of the most variable genes: observed, and as three sources generate them; below, pair by pair.

    Genes are in the order of a hierarchical clustering of the observed correlations.

    Parameters
    ----------
    predictive_correlations
        One row a pair of genes.
    predictive_checks
        With the agreement of each source.
    """
    if len(predictive_correlations) < 3:
        return empty_figure("Fewer than three genes were modelled: there are no correlations to compare.")
    matrices = {name: _matrix(predictive_correlations, name) for name in ("observed", *_CORRELATED)}
    order = _order(matrices["observed"])
    limit = float(np.clip(np.quantile(np.abs(predictive_correlations["observed"]), 0.99), 0.1, _MOST_LIMIT))
    figure = new_figure(TWO_COLUMNS, 6)
    panels = figure.subplots(2, len(matrices))
    look: dict[str, Any] = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit, "interpolation": "none"}
    for axes, (name, matrix) in zip(panels[0], matrices.items(), strict=True):
        image = axes.imshow(matrix[np.ix_(order, order)], **look)
        axes.set(title=SOURCE_NAMES.get(name, name), xticks=[], yticks=[], xlabel="genes")
    figure.colorbar(image, ax=panels[0], label="correlation of log counts", shrink=0.85, aspect=18, pad=0.01)
    panels[0, 0].set_ylabel(f"{len(order)} most variable genes")
    checks = predictive_checks[predictive_checks["cells"] == "held-out"]
    agreement = checks[checks["check"] == "correlation_agreement"].set_index("source")
    explained = (
        "Right: one pair of genes a point.\n"
        "Correlations of few cells are noisy:\n"
        "one set of the model's own draws\n"
        f"agrees with their mean by r = {agreement.loc['model', 'expected']:.2f}."
    )
    panels[1, 0].set_axis_off()
    panels[1, 0].text(0.0, 0.75, explained, va="top", fontsize="small", transform=panels[1, 0].transAxes)
    for axes, name in zip(panels[1, 1:], _CORRELATED, strict=True):
        _draw_pairs(axes, predictive_correlations["observed"], predictive_correlations[name])
        axes.set_title(f"r = {agreement.loc[name, 'observed']:.2f}")
    panels[1, 1].set_ylabel("generated correlation\n(mean of the draws)")
    return figure


def _matrix(pairs: pd.DataFrame, column: str) -> np.ndarray:
    n_genes = round((1 + np.sqrt(1 + 8 * len(pairs))) / 2)
    matrix = np.eye(n_genes)
    above = np.triu_indices(n_genes, 1)
    matrix[above] = pairs[column].to_numpy(dtype=np.float64)
    return matrix + np.triu(matrix, 1).T


def _order(matrix: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import pdist

    distances = pdist(matrix)
    return leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))


def _draw_pairs(axes: Axes, observed: pd.Series, generated: pd.Series) -> None:
    low, high = observed.min(), observed.max()
    axes.plot([low, high], [low, high], color="#222222", lw=0.8, ls=":")
    axes.hexbin(observed, generated, gridsize=45, bins="log", mincnt=1, linewidths=0)
    axes.set_xlabel("observed correlation")
