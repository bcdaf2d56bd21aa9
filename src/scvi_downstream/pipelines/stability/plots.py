"""What of a model hangs on its seed: scores, clusters, top genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, SEQUENTIAL, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    Axes = Figure = Any


BETWEEN, WITHIN, CHANCE = OKABE_ITO[0], OKABE_ITO[1], "#777777"
MOST_ROWS = 22
LONGEST_NAME = 26
TRUSTED, VALID = 0.6, 0.75
SMALLEST_RATIO = 1e-3


def plot_stability(
    seed_scores: pd.DataFrame, seed_agreement: pd.DataFrame, seed_summary: dict[str, Any]
) -> Figure:
    """Four panels: scores over seeds and over cells, ARI of pairs of fits, genes by group, clusters that come back.

    Parameters
    ----------
    seed_scores
        Spread of every score over seeds, and over cells.
    seed_agreement
        Agreement of pairs of fits, and within fits.
    seed_summary
        Names of the fits and of the model.
    """
    if seed_agreement.empty:
        return empty_figure(str(seed_summary["sentences"][0]))
    agreement = seed_agreement.assign(group=seed_agreement["group"].fillna("").astype(str))
    scores = seed_scores[seed_scores["cell_sd"] > 0].head(MOST_ROWS)
    genes = agreement[agreement["measure"] == "gene_jaccard"]
    clusters = agreement[agreement["measure"] == "cluster_jaccard"]
    fits = [str(name) for name in seed_summary["fits"]]
    upper = max(len(scores), min(2 * len(fits), 12), 5)
    lower = max(min(genes["group"].nunique(), MOST_ROWS), min(clusters["group"].nunique(), MOST_ROWS), 4)
    figure = new_figure(12, 0.27 * (upper + lower) + 2.8)
    panels = figure.subplots(2, 2, height_ratios=[upper + 3, lower + 3], width_ratios=[1.15, 1])
    _draw_scores(panels[0, 0], scores)
    _draw_pairs(panels[0, 1], agreement[agreement["measure"] == "leiden_ari"], fits)
    _draw_groups(panels[1, 0], genes, "Genes in common", "Jaccard index of the lists of top genes", ())
    most_similar = "Jaccard index with the most similar cluster"
    _draw_groups(panels[1, 1], clusters, "Clusters that come back", most_similar, (TRUSTED, VALID))
    of_panels = [axes.get_legend_handles_labels() for axes in panels[1]]
    by_label = {
        label: handle for handles, labels in of_panels for handle, label in zip(handles, labels, strict=True)
    }
    figure.legend(list(by_label.values()), list(by_label), loc="outside lower center", ncols=3)
    figure.suptitle(f"{seed_summary['model']} with {len(fits)} seeds", fontsize=11)
    return figure


def _draw_scores(axes: Axes, scores: pd.DataFrame) -> None:
    """Standard deviation over seeds in units of the standard error over cells."""
    axes.set_title("Scores: does the seed matter more than the cells?")
    if scores.empty:
        _say(axes, "No score has a standard error over cells.")
        return
    y = np.arange(len(scores))[::-1]
    cells = scores["cell_sd"].to_numpy()
    ratio, low, high = (
        np.maximum(scores[name].to_numpy() / cells, SMALLEST_RATIO) for name in ("sd", "sd_low", "sd_high")
    )
    axes.hlines(y, low, high, color=BETWEEN, linewidth=1.5)
    axes.scatter(ratio, y, s=28, color=BETWEEN, zorder=3)
    axes.axvline(1, color="#222222", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set(ylim=(-0.7, len(scores) - 0.3))
    axes.set_xlim(min(0.1, low.min() / 1.5), max(10, high.max() * 1.5))
    axes.set_yticks(y, [_metric_name(name) for name in scores["metric"]], fontsize=8)
    axes.set_xlabel("standard deviation over seeds / standard error over cells (95 % interval)", fontsize=8)
    right = axes.get_yaxis_transform()
    for row, at in zip(scores.itertuples(), y, strict=True):
        axes.text(1.02, at, _with_sd(row.mean, row.sd), transform=right, va="center", fontsize=7.5)
    axes.text(
        1.02, len(scores) - 0.3, "mean ± s.d.", transform=right, va="bottom", fontsize=7.5, color="#555555"
    )


def _draw_pairs(axes: Axes, ari: pd.DataFrame, fits: list[str]) -> None:
    matrix = np.full((len(fits), len(fits)), np.nan)
    position = {name: i for i, name in enumerate(fits)}
    for row in ari.itertuples():
        one, other = position[str(row.fit_a)], position[str(row.fit_b)]
        matrix[one, other] = matrix[other, one] = row.value
    image = axes.imshow(matrix, vmin=0, vmax=1, cmap=SEQUENTIAL, interpolation="nearest")
    size = 8 if len(fits) <= 8 else 6
    if len(fits) <= 12:
        for (row, column), value in np.ndenumerate(matrix):
            ink = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=size, color=ink)
    axes.set_xticks(range(len(fits)), fits, rotation=35, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(len(fits)), fits, fontsize=size)
    axes.tick_params(length=0)
    axes.set_title("Leiden clusters of every pair of seeds")
    axes.set_xlabel("diagonal: Leiden repeated on the graph of one fit", fontsize=8)
    axes.figure.colorbar(image, ax=axes, label="adjusted Rand index", shrink=0.85, pad=0.02)


def _draw_groups(
    axes: Axes, table: pd.DataFrame, title: str, label: str, thresholds: tuple[float, ...]
) -> None:
    """One row a group: pairs of fits as dots, their mean, within one fit, by chance."""
    axes.set_title(title)
    if table.empty:
        _say(axes, "The model has no test of expression.")
        return
    between = table[table["kind"] == "between"]
    means = between.groupby("group", sort=False)["value"].mean()
    shown = means.nsmallest(MOST_ROWS).index if len(means) > MOST_ROWS else means.index
    groups = [group for group in means.index if group in shown]
    y = {group: len(groups) - 1 - i for i, group in enumerate(groups)}
    of_shown = between[between["group"].isin(groups)]
    within = table[(table["kind"] == "within") & table["group"].isin(groups)].groupby("group")["value"].mean()
    chance = of_shown.groupby("group")["chance"].mean().dropna()
    axes.scatter(of_shown["value"], of_shown["group"].map(y), s=12, color=BETWEEN, alpha=0.35, linewidths=0)
    axes.scatter(
        means[groups], [y[group] for group in groups], s=42, color=BETWEEN, label="between seeds", zorder=3
    )
    axes.scatter(
        within, [y[group] for group in within.index], s=42, marker="D", facecolors="none", edgecolors=WITHIN,
        linewidths=1.4, label="within one fit", zorder=3,
    )  # fmt: skip
    if len(chance):
        axes.scatter(
            chance,
            [y[group] for group in chance.index],
            s=60,
            marker="|",
            color=CHANCE,
            label="by chance",
            zorder=3,
        )
    for threshold in thresholds:
        axes.axvline(threshold, color=CHANCE, linewidth=0.8, linestyle=":")
    axes.set(xlim=(-0.02, 1.03), ylim=(-0.7, len(groups) - 0.3))
    axes.set_yticks(list(y.values()), [_short(group) for group in y], fontsize=8)
    left = len(means) - len(groups)
    axes.set_xlabel(label + (f" ({left} more stable groups not drawn)" if left else ""), fontsize=8)


def _say(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color="#555555", transform=axes.transAxes)


def _metric_name(metric: str) -> str:
    nats = " (nats per cell)" if metric.startswith(("elbo", "marginal_ll", "reconstruction")) else ""
    return metric.removeprefix("scib_").replace("_", " ") + nats


def _with_sd(mean: float, sd: float) -> str:
    digits = int(np.clip(1 - np.floor(np.log10(sd)), 0, 4)) if sd > 0 else 2
    return f"{mean:,.{digits}f} ± {sd:,.{digits}f}".replace("-", "−")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
