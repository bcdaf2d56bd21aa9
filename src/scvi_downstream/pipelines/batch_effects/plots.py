"""Figures of batch effects: tests of the batch and mixing, shares of the variance, genes that carry the batch."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.plots.charts import draw_intervals
from scvi_downstream.plots.panels import joint_legend, legend_dots, name_rows
from scvi_downstream.plots.style import MISSING, OKABE_ITO, TWO_COLUMNS, empty_figure, new_figure
from scvi_downstream.runtime.slow_types import Axes, Figure

STAGES = {"before": "PCA of\nlog counts", "after": "latent", "corrected": "corrected\nexpression"}
COLORS = {"before": OKABE_ITO[1], "after": OKABE_ITO[0], "corrected": OKABE_ITO[2]}
METRICS = {
    "kbet": "kBET",
    "kbet_within_labels": "kBET in\nlabels",
    "ilisi": "iLISI",
    "batch_asw": "Batch\nASW",
    "bras": "BRAS",
}
SOURCES = {
    "batch": ("batch alone", OKABE_ITO[3]),
    "shared": ("batch or biology, not told apart", OKABE_ITO[1]),
    "biology": ("biology alone", OKABE_ITO[0]),
    "residual": ("neither", "#DDDDDD"),
}
REPRESENTATIONS = {
    "expression": "log counts,\nall modelled genes",
    "pca": "PCA of log counts",
    "latent": "latent",
    "corrected_expression": "corrected expression",
}
BEFORE, CORRECTED, BIOLOGY = OKABE_ITO[1], OKABE_ITO[2], "#999999"
AREAS = {"o": 34, "s": 26, "|": 60}
"""Areas, points², at which markers look equally large."""


def plot_batch_effects(batch_effects: pd.DataFrame, batch_summary: dict[str, Any]) -> Figure:
    """AUCs of both classifiers over their nulls, mixing metrics, and the share that the batch explains.

    Parameters
    ----------
    batch_effects, batch_summary
        One row a stage; its first sentence is the title.
    """
    sentence = batch_summary["sentences"][0]
    if batch_effects["linear_auc"].isna().all():
        return empty_figure(sentence)
    table = batch_effects.set_index("stage")
    metrics = {name: text for name, text in METRICS.items() if table[name].notna().any()}
    figure = new_figure(TWO_COLUMNS, 4.4)
    widths = (1.5, 1.5, 0.35 + 0.62 * len(metrics), 1.15)
    linear, neighbor, mixing, explained = figure.subplots(1, 4, width_ratios=widths)
    _draw_classifier(linear, table, "linear", "Linear classifier")
    _draw_classifier(neighbor, table, "neighbor", "Nearest neighbours")
    _draw_mixing(mixing, table, metrics)
    _draw_explained(explained, table)
    figure.suptitle(fill(sentence, 165))
    return figure


def _draw_classifier(axes: Axes, table: pd.DataFrame, classifier: str, title: str) -> None:
    own = table.filter(like=f"{classifier}_")
    parts = own.set_axis(own.columns.str.removeprefix(f"{classifier}_"), axis=1)
    for position, (stage, row) in enumerate(parts.iterrows()):
        axes.bar(position, row["null_high"] - row["null_low"], 0.62, bottom=row["null_low"], color="#DDDDDD")
        ends = [position - 0.31, position + 0.31]
        axes.plot(ends, [row["null_mean"]] * 2, color="#666666", lw=1)
        auc, p = row["auc"], row["p"]
        if np.isnan(auc):
            continue
        axes.scatter(position, auc, s=55, color=COLORS[str(stage)], zorder=3)
        text = f"{auc:.2f}\np = {p:.2f}" if p >= 0.01 else f"{auc:.2f}\np = {p:.1g}"
        if auc < 0.85:
            _annotate(axes, text, position, max(auc, row["null_high"]), 8, va="bottom")
        else:  # there is no room above
            _annotate(axes, text, position, auc, -8, va="top")
    lowest = np.nanmin([0.4, *(parts[["auc", "null_low"]].to_numpy().ravel() - 0.05)])
    axes.set(title=f"{title}\ngrey: null, 5–95 %", ylabel="macro AUC of the batch", ylim=(lowest, 1.04))
    _name_stages(axes, table.index)


def _annotate(axes: Axes, text: str, x: float, y: float, offset: float, **style: Any) -> None:
    """A small text beside a point, ``offset`` points above it."""
    above = (0, offset)
    axes.annotate(
        text, (x, y), xytext=above, textcoords="offset points", ha="center", fontsize="small", **style
    )


def _draw_mixing(axes: Axes, table: pd.DataFrame, metrics: dict[str, str]) -> None:
    width = 0.8 / len(table)
    for position, (stage, row) in enumerate(table.iterrows()):
        x = np.arange(len(metrics)) + (position - (len(table) - 1) / 2) * width
        axes.bar(x, row[list(metrics)].astype(float), width * 0.92, color=COLORS[str(stage)])
        for at, name in zip(x, metrics, strict=True):
            if f"{name}_mixed" in row:
                axes.plot([at - width / 2, at + width / 2], [row[f"{name}_mixed"]] * 2, color="black", lw=1.4)
    axes.set(title="Mixing of batches\nblack: mixed at random", ylabel="score (1: mixed)", ylim=(0, 1.04))
    axes.set_xticks(range(len(metrics)), list(metrics.values()), fontsize="small")
    colors = {STAGES[stage].replace("\n", " "): COLORS[stage] for stage in table.index}
    _legend_below(axes, -0.16, len(colors), 0.1, handles=legend_dots(axes, colors, size=30, marker="s"))


def _legend_below(axes: Axes, place: float, columns: int, pad: float, **handles: Any) -> None:
    anchor = {"loc": "upper center", "bbox_to_anchor": (0.5, place)}
    axes.legend(**anchor, ncols=columns, columnspacing=1, handletextpad=pad, **handles)


def _draw_explained(axes: Axes, table: pd.DataFrame) -> None:
    shares = 100 * table["pcr"].astype(float)
    for position, (stage, share) in enumerate(shares.items()):
        axes.bar(position, share, 0.62, color=COLORS[str(stage)])
        _annotate(axes, f"{share:.1f}", position, share, 3)
    highest = max(1.0, 1.15 * shares.max())
    axes.set(title="PC regression", ylabel="variance explained by batch (%)", ylim=(0, highest))
    _name_stages(axes, table.index)


def _name_stages(axes: Axes, stages: pd.Index) -> None:
    axes.set_xlim(-0.6, len(stages) - 0.4)
    axes.set_xticks(range(len(stages)), [STAGES[stage] for stage in stages], fontsize="small")
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)


def plot_batch_genes(batch_genes: pd.DataFrame, options: BatchEffectOptions) -> Figure:
    """Shares of the leading genes before and after, and all genes by batch and by biology.

    Parameters
    ----------
    batch_genes, options
        One row a gene, the one that carries the batch most first; ``top_genes`` and ``fdr``.
    """
    table = batch_genes.dropna(subset=["batch_variance"])
    if table.empty or table["batch_f"].isna().all():
        return empty_figure(
            "No gene can be tested for the batch: batches and biology cannot be told apart, or too few samples "
            "are left."
        )
    top = table.head(options.top_genes)
    figure = new_figure(TWO_COLUMNS, max(4.2, 0.21 * len(top) + 1.4))
    leading, everyone = figure.subplots(1, 2, width_ratios=(1.1, 1))
    _draw_leading(leading, top)
    called = (table["batch_p_adjusted"] <= options.fdr).to_numpy()
    if table["biology_variance"].notna().any():
        _draw_against_biology(everyone, table, called)
    else:
        shares = 100 * table["batch_variance"].to_numpy()
        stacks = [shares[called], shares[~called]]
        everyone.hist(stacks, bins=40, stacked=True, color=[BEFORE, MISSING])
        everyone.set(xlabel="batch, adjusted share (%)", ylabel="genes")
    how = f"(coloured; FDR {100 * options.fdr:g} %)"
    everyone.set_title(f"{called.sum():,} of {len(called):,} genes differ between batches\n{how}")
    return figure


def _draw_leading(axes: Axes, top: pd.DataFrame) -> None:
    columns = [("batch_variance", "batch alone, log counts", BEFORE, "o")]
    if top["biology_variance"].notna().any():
        columns.append(("biology_variance", "biology alone, log counts", BIOLOGY, "|"))
    if top["batch_variance_corrected"].notna().any():
        columns.append(("batch_variance_corrected", "batch alone, corrected", CORRECTED, "s"))
        for position, ends in enumerate(100 * top[["batch_variance", "batch_variance_corrected"]].to_numpy()):
            axes.plot(ends, [position] * 2, color="#DDDDDD", lw=2)
    for column, label, color, marker in columns:
        shares, area = 100 * top[column], AREAS[marker]
        axes.scatter(shares, range(len(top)), s=area, color=color, marker=marker, label=label, zorder=3)
    name_rows(axes, top["gene"], fontsize="small")
    axes.axvline(0, color="#666666", lw=0.8)
    title = f"{len(top)} genes that carry the batch most"
    axes.set(xlabel="adjusted share of the gene's variance (%)", title=title)
    _legend_below(axes, -0.09, len(columns), 0.2)


def _draw_against_biology(axes: Axes, table: pd.DataFrame, called: np.ndarray) -> None:
    biology, batch = 100 * table["biology_variance"], 100 * table["batch_variance"]
    colors = np.where(called, BEFORE, MISSING)
    axes.scatter(biology, batch, s=8, c=colors, linewidths=0, rasterized=True)
    top = max(table["biology_variance"].max(), table["batch_variance"].max()) * 105
    axes.plot([0, top], [0, top], color="#666666", lw=0.8, ls=":", label="equal shares")
    axes.legend(loc="upper right")
    axes.set(xlabel="biology alone, adjusted share (%)", ylabel="batch alone, adjusted share (%)")
    axes.set(xlim=_span(biology), ylim=_span(batch))


def _span(shares: pd.Series) -> tuple[float, float]:
    low, high = min(shares.min(), 0.0), max(shares.max(), 2.0)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def plot_batch_variance(batch_variance: pd.DataFrame, batch_summary: dict[str, Any]) -> Figure:
    """Adjusted shares of the variance, and those of the batch alone with their intervals.

    Parameters
    ----------
    batch_variance, batch_summary
        Four rows a representation; ``n_batches`` and ``sentences``.
    """
    if batch_summary["n_batches"] < 2:
        return empty_figure(batch_summary["sentences"][0])
    table = batch_variance.set_index(["representation", "source"])
    names = [name for name in REPRESENTATIONS if name in table.index]
    figure = new_figure(TWO_COLUMNS, 1.5 + 0.55 * len(names))
    stacked, alone = figure.subplots(1, 2, width_ratios=(2, 1), sharey=True)
    _draw_stacks(stacked, 100 * table["share"].unstack().loc[names])
    _draw_batch(alone, 100 * table.xs("batch", level="source").loc[names, ["share", "low", "high"]])
    name_rows(stacked, [REPRESENTATIONS[name] for name in names], margin=0.55)
    joint_legend([stacked], loc="outside lower center", ncols=len(SOURCES))
    return figure


def _draw_stacks(axes: Axes, shares: pd.DataFrame) -> None:
    """Stacks of ``SOURCES`` in percent, a bar a representation; what is not known of any is left out."""
    left = np.zeros(len(shares))
    for source, (label, color) in SOURCES.items():
        if source in ("shared", "biology") and shares[source].isna().all():
            continue
        values = np.maximum(np.nan_to_num(shares[source]), 0.0)
        axes.barh(range(len(shares)), values, 0.7, left=left, color=color, label=label)
        ink = "white" if source in ("batch", "biology") else "black"
        for row, (start, value) in enumerate(zip(left, values, strict=True)):
            if value >= 4:  # narrower ones have no room for a number
                text = f"{value:.0f}"
                axes.text(start + value / 2, row, text, ha="center", va="center", color=ink, fontsize="small")
        left += values
    axes.set(title="Shares of the variance", xlabel="adjusted share (%)", xlim=(0, max(100.0, left.max())))


def _draw_batch(axes: Axes, table: pd.DataFrame) -> None:
    share, low, high = table.astype(float).to_numpy().T
    color = SOURCES["batch"][1]
    draw_intervals(axes, range(len(table)), share, low, high, ms=6, capsize=4, color=color)
    for row, value in enumerate(share):
        _annotate(axes, f"{value:.1f}", value, row, 7)
    axes.axvline(0, color="#666666", lw=0.8)
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.margins(x=0.15)
    axes.set(title="Batch alone, 95 % interval", xlabel="adjusted share (%)")
