"""What of a model hangs on its seed: scores, clusters, top genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.stability.report import UNTRUSTED
from scvi_downstream.plots.charts import draw_intervals, heat_map
from scvi_downstream.plots.panels import empty_panel, joint_legend, name_rows, shortened
from scvi_downstream.plots.style import OKABE_ITO, TWO_COLUMNS, empty_figure, new_figure
from scvi_downstream.runtime.slow_types import Axes, Figure

BETWEEN, WITHIN, CHANCE = OKABE_ITO[0], OKABE_ITO[1], "#777777"
# Rows of a panel, and characters of a name, that can be read on one page.
MOST_ROWS = 22
LONGEST_NAME = 26
# Hennig (2007): from here on a cluster is a valid pattern.
VALID = 0.75
# A standard deviation of 0 has no place on a logarithmic axis.
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
    figure = new_figure(TWO_COLUMNS, 0.27 * (upper + lower) + 2.8)
    panels = figure.subplots(2, 2, height_ratios=[upper + 3, lower + 3], width_ratios=[1.15, 1])
    _draw_scores(panels[0, 0], scores)
    _draw_pairs(panels[0, 1], agreement[agreement["measure"] == "leiden_ari"], fits)
    _draw_groups(panels[1, 0], genes, "Genes in common", "Jaccard index of the lists of top genes", ())
    most_similar = "Jaccard index with the most similar cluster"
    _draw_groups(panels[1, 1], clusters, "Clusters that come back", most_similar, (UNTRUSTED, VALID))
    joint_legend(panels[1], loc="outside lower center", ncols=3)
    figure.suptitle(f"{seed_summary['model']} with {len(fits)} seeds")
    return figure


def _draw_scores(axes: Axes, scores: pd.DataFrame) -> None:
    """Standard deviation over seeds in units of the standard error over cells."""
    axes.set_title("Scores: does the seed matter more than the cells?")
    if scores.empty:
        empty_panel(axes, "No score has a standard error over cells.")
        return
    rows = np.arange(len(scores))
    in_cells = scores[["sd", "sd_low", "sd_high"]].div(scores["cell_sd"], axis=0)
    ratio, low, high = np.maximum(in_cells.to_numpy(), SMALLEST_RATIO).T
    draw_intervals(axes, rows, ratio, low, high, color=BETWEEN, lw=1.5, ms=np.sqrt(28) + 0.5, zorder=3)
    axes.axvline(1, color="#222222", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_xlim(min(0.1, low.min() / 1.5), max(10, high.max() * 1.5))
    name_rows(axes, [_name_metric(name) for name in scores["metric"]], margin=0.7, fontsize="small")
    axes.set_xlabel(
        "standard deviation over seeds / standard error over cells (95 % interval)", fontsize="small"
    )
    right: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": "small"}
    for row, score in enumerate(scores.itertuples()):
        axes.text(1.02, row, _format_mean(score.mean, score.sd), va="center", **right)
    axes.text(1.02, -0.7, "mean ± s.d.", va="bottom", color="#555555", **right)


def _draw_pairs(axes: Axes, ari: pd.DataFrame, fits: list[str]) -> None:
    above = ari.pivot(index="fit_a", columns="fit_b", values="value")
    table = above.combine_first(above.T).reindex(index=fits, columns=fits)
    texts = table.map("{:.2f}".format) if len(fits) <= 12 else None
    image = heat_map(axes, table, limits=(0, 1), texts=texts, rotation=35, aspect="equal")
    axes.set_title("Leiden clusters of every pair of seeds")
    axes.set_xlabel("diagonal: Leiden repeated on the graph of one fit", fontsize="small")
    axes.figure.colorbar(image, ax=axes, label="adjusted Rand index", shrink=0.85, pad=0.02)


def _draw_groups(
    axes: Axes, table: pd.DataFrame, title: str, label: str, thresholds: tuple[float, ...]
) -> None:
    """One row a group: pairs of fits as dots, their mean, within one fit, by chance."""
    axes.set_title(title)
    if table.empty:
        empty_panel(axes, "The model has no test of expression.")
        return
    between, within = (table[table["kind"] == kind] for kind in ("between", "within"))
    means = between.groupby("group", sort=False)["value"].mean()
    means = means[means.index.isin(means.nsmallest(MOST_ROWS).index)]
    rows = pd.Series(np.arange(len(means)), means.index)
    pairs = between[between["group"].isin(rows.index)]
    repeated = within[within["group"].isin(rows.index)].groupby("group")["value"].mean()
    chance = pairs.groupby("group")["chance"].mean().dropna()
    axes.scatter(pairs["value"], pairs["group"].map(rows), s=12, color=BETWEEN, alpha=0.35, linewidths=0)
    axes.scatter(means, rows, s=42, color=BETWEEN, label="between seeds", zorder=3)
    axes.scatter(
        repeated, rows[repeated.index], s=42, marker="D", facecolors="none", edgecolors=WITHIN,
        linewidths=1.4, label="within one fit", zorder=3,
    )  # fmt: skip
    if len(chance):
        line: dict[str, Any] = {"s": 60, "marker": "|", "label": "by chance"}
        axes.scatter(chance, rows[chance.index], color=CHANCE, zorder=3, **line)
    for threshold in thresholds:
        axes.axvline(threshold, color=CHANCE, linewidth=0.8, linestyle=":")
    axes.set_xlim(-0.02, 1.03)
    name_rows(axes, [shortened(group, LONGEST_NAME) for group in rows.index], margin=0.7, fontsize="small")
    left = between["group"].nunique() - len(rows)
    axes.set_xlabel(label + (f" ({left} more stable groups not drawn)" if left else ""), fontsize="small")


def _name_metric(metric: str) -> str:
    nats = " (nats per cell)" if metric.startswith(("elbo", "marginal_ll", "reconstruction")) else ""
    return metric.removeprefix("scib_").replace("_", " ") + nats


def _format_mean(mean: float, sd: float) -> str:
    digits = int(np.clip(1 - np.floor(np.log10(sd)), 0, 4)) if sd > 0 else 2
    return f"{mean:,.{digits}f} ± {sd:,.{digits}f}".replace("-", "−")
