"""Means, variances, zeros and library sizes, as observed and as generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import (
    DIVERGING,
    OKABE_ITO,
    empty_figure,
    label_points,
    new_figure,
    plain_log_ticks,
    point_size,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    Axes = Figure = Any


SOURCE_COLORS = {
    "model": OKABE_ITO[0],
    "population": OKABE_ITO[2],
    "nb": OKABE_ITO[1],
    "poisson": OKABE_ITO[3],
}
SOURCE_NAMES = {
    "model": "model",
    "population": "model without the cell's state",
    "nb": "negative binomial",
    "poisson": "Poisson",
}
SOURCE_MARKERS = {"model": "o", "population": "D", "nb": "s", "poisson": "^"}


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


_STEP = 2
_TRAINING = ("model", "training")


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
    figure = new_figure(11.5, 6.4)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    above, below = halves
    panels = above.subplots(1, len(strata), sharey=True, squeeze=False)[0]
    for axes, stratum in zip(panels, strata, strict=True):
        _draw_pit(axes, predictive_calibration[predictive_calibration["genes"] == stratum], stratum)
    panels[0].set_ylabel("density of the PIT")
    panels[0].legend(loc="upper center", ncols=2, fontsize=7, handlelength=1.2, columnspacing=0.8)
    coverage, score = below.subplots(1, 2)
    shown = ["all", *strata]
    _draw_rows(coverage, predictive_checks, "coverage_95", shown)
    coverage.axvline(0.95, color="#666666", lw=0.8, ls=":")
    coverage.set(
        xlabel="share of counts in the central 95 % (95 % interval)", title="Coverage of 95 % intervals"
    )
    _draw_rows(score, predictive_checks, "crps_gain", shown)
    score.axvline(0, color=SOURCE_COLORS["nb"], lw=1.2, ls=":")
    score.set(
        xlabel="CRPS of log counts, lower than the negative binomial's by (share)",
        title="Score against the negative binomial",
    )
    coverage.legend(loc="best", handletextpad=0.3, fontsize=7)
    return figure


def _draw_pit(axes: Axes, table: pd.DataFrame, stratum: str) -> None:
    axes.axhline(1, color="#666666", lw=0.8, ls=":")
    for source, color in SOURCE_COLORS.items():
        own = table[(table["source"] == source) & (table["cells"] == "held-out")]
        share = own["share"].to_numpy().reshape(-1, _STEP).sum(axis=1)
        edges = np.append(own["low"].to_numpy()[::_STEP], 1.0)
        axes.stairs(share * len(share), edges, baseline=None, color=color, lw=1.4, label=SOURCE_NAMES[source])
    axes.set(
        xlabel="PIT (rank of the observed among the draws)",
        title=f"Genes of mean count {stratum}",
        xlim=(0, 1),
    )
    # a Poisson's extremes may leave the panel: what is near 1 shall be seen
    axes.set_ylim(0, float(np.clip(axes.get_ylim()[1], 2.2, 3.0)))


def _draw_rows(axes: Axes, checks: pd.DataFrame, check: str, strata: list[str]) -> None:
    """One row a stratum, one point a source."""
    table = checks[checks["check"] == check]
    groups = [(source, "held-out") for source in SOURCE_COLORS] + [_TRAINING]
    groups = [
        group for group in groups if ((table["source"] == group[0]) & (table["cells"] == group[1])).any()
    ]
    offsets = np.linspace(-0.3, 0.3, len(groups))
    for offset, (source, cells) in zip(offsets, groups, strict=True):
        own = (
            table[(table["source"] == source) & (table["cells"] == cells)].set_index("genes").reindex(strata)
        )
        value = own["observed"].to_numpy(dtype=np.float64)
        reach = [value - own["lower"].to_numpy(np.float64), own["upper"].to_numpy(np.float64) - value]
        training = cells == "training"
        axes.errorbar(
            value,
            np.arange(len(strata)) + offset,
            xerr=np.maximum(reach, 0),
            fmt=SOURCE_MARKERS[source],
            ms=4,
            mfc="white" if training else SOURCE_COLORS[source],
            color=SOURCE_COLORS[source],
            lw=1,
            label=f"{SOURCE_NAMES[source]}, training cells" if training else SOURCE_NAMES[source],
        )
    axes.set_yticks(range(len(strata)), ["all genes", *(f"mean {name}" for name in strata[1:])])
    axes.invert_yaxis()


_SHOWN = ("model", "population", "nb")
_MOST_LIMIT = 0.95


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
    matrices = {name: _matrix(predictive_correlations, name) for name in ("observed", *_SHOWN)}
    order = _order(matrices["observed"])
    limit = float(np.clip(np.quantile(np.abs(predictive_correlations["observed"]), 0.99), 0.1, _MOST_LIMIT))
    figure = new_figure(12, 6)
    panels = figure.subplots(2, len(matrices), height_ratios=(1, 1))
    for axes, (name, matrix) in zip(panels[0], matrices.items(), strict=True):
        image = axes.imshow(
            matrix[np.ix_(order, order)], cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest"
        )
        axes.set(
            title="observed" if name == "observed" else SOURCE_NAMES[name],
            xticks=[],
            yticks=[],
            xlabel="genes",
        )
    figure.colorbar(image, ax=panels[0], label="correlation of log counts", shrink=0.85, aspect=18, pad=0.01)
    panels[0, 0].set_ylabel(f"{len(order)} most variable genes")
    panels[1, 0].set_axis_off()
    panels[1, 0].text(
        0.0, 0.75, _explained(predictive_checks), va="top", fontsize=8, transform=panels[1, 0].transAxes
    )
    for axes, name in zip(panels[1, 1:], _SHOWN, strict=True):
        _draw_pairs(axes, predictive_correlations, name, _agreement(predictive_checks, name))
    panels[1, 1].set_ylabel("generated correlation\n(mean of the draws)")
    return figure


def _explained(checks: pd.DataFrame) -> str:
    model = _agreement(checks, "model")
    return (
        "Right: one pair of genes a point.\n"
        "Correlations of few cells are noisy:\n"
        "one set of the model's own draws\n"
        f"agrees with their mean by r = {model['expected']:.2f}."
    )


def _agreement(checks: pd.DataFrame, source: str) -> pd.Series:
    chosen = (
        (checks["check"] == "correlation_agreement")
        & (checks["source"] == source)
        & (checks["cells"] == "held-out")
    )
    return checks[chosen].iloc[0]


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


def _draw_pairs(axes: Axes, pairs: pd.DataFrame, source: str, agreement: pd.Series) -> None:
    low, high = float(pairs["observed"].min()), float(pairs["observed"].max())
    axes.plot([low, high], [low, high], color="#222222", lw=0.8, ls=":")
    axes.hexbin(
        pairs["observed"], pairs[source], gridsize=45, bins="log", cmap="viridis", mincnt=1, linewidths=0
    )
    axes.set(xlabel="observed correlation", title=f"r = {agreement['observed']:.2f}")
