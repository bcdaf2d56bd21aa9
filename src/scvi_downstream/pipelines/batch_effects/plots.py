"""Can the batch be told, and do batches mix: before the model, on its latent, in corrected expression."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
else:  # Kedro resolves the annotations at every command, and importing these is slow
    Axes = BatchEffectOptions = Figure = Any


STAGES = {"before": "PCA of\nlog counts", "after": "latent", "corrected": "corrected\nexpression"}
COLORS = {"before": OKABE_ITO[1], "after": OKABE_ITO[0], "corrected": OKABE_ITO[2]}
_CLASSIFIERS = {"linear": "Linear classifier", "neighbor": "Nearest neighbours"}
_METRICS = {
    "kbet": "kBET",
    "kbet_within_labels": "kBET in\nlabels",
    "ilisi": "iLISI",
    "batch_asw": "Batch\nASW",
    "bras": "BRAS",
}


def plot_batch_effects(batch_effects: pd.DataFrame, batch_summary: dict[str, Any]) -> Figure:
    """AUCs of both classifiers over their nulls, mixing metrics, and the share that the batch explains.

    Parameters
    ----------
    batch_effects
        One row a stage.
    batch_summary
        Its first sentence is the title.
    """
    sentence = batch_summary["sentences"][0]
    if batch_effects["linear_auc"].isna().all():
        return empty_figure(sentence)
    rows = [row for _, row in batch_effects.set_index("stage").loc[list(batch_effects["stage"])].iterrows()]
    metrics = {name: text for name, text in _METRICS.items() if batch_effects[name].notna().any()}
    figure = new_figure(12.5, 4.4)
    widths = (1.5, 1.5, 0.35 + 0.62 * len(metrics), 1.15)
    panels = figure.subplots(1, 4, width_ratios=widths)
    for axes, (classifier, title) in zip(panels, _CLASSIFIERS.items(), strict=False):
        _draw_classifier(axes, rows, classifier, title)
    _draw_mixing(panels[2], rows, metrics)
    _draw_explained(panels[3], rows)
    figure.suptitle(fill(sentence, 165), fontsize=9)
    return figure


def _draw_classifier(axes: Axes, rows: list[pd.Series], classifier: str, title: str) -> None:
    for position, row in enumerate(rows):
        low, high = row[f"{classifier}_null_low"], row[f"{classifier}_null_high"]
        mean, auc = row[f"{classifier}_null_mean"], row[f"{classifier}_auc"]
        axes.bar(position, high - low, 0.62, bottom=low, color="#DDDDDD")
        axes.plot([position - 0.31, position + 0.31], [mean, mean], color="#666666", lw=1)
        if np.isnan(auc):
            continue
        axes.scatter(position, auc, s=55, color=COLORS[str(row.name)], zorder=3)
        axes.annotate(
            f"{auc:.2f}\np = {_short(row[f'{classifier}_p'])}",
            (position, auc if auc >= 0.85 else max(auc, high)),
            xytext=(0, 8 if auc < 0.85 else -8),
            textcoords="offset points",
            ha="center",
            va="bottom" if auc < 0.85 else "top",
            fontsize=8,
        )
    lows = [row[f"{classifier}_{part}"] for row in rows for part in ("auc", "null_low")]
    axes.set(
        title=f"{title}\ngrey: null, 5–95 %",
        ylabel="macro AUC of the batch",
        ylim=(np.nanmin([0.4, *np.subtract(lows, 0.05)]), 1.04),
        xlim=(-0.6, len(rows) - 0.4),
    )
    _name_stages(axes, rows)


def _short(p: float) -> str:
    return f"{p:.2f}" if p >= 0.01 else f"{p:.1g}"


def _draw_mixing(axes: Axes, rows: list[pd.Series], metrics: dict[str, str]) -> None:
    width = 0.8 / len(rows)
    for position, row in enumerate(rows):
        x = np.arange(len(metrics)) + (position - (len(rows) - 1) / 2) * width
        axes.bar(x, [row[name] for name in metrics], width * 0.92, color=COLORS[str(row.name)])
        for at, name in zip(x, metrics, strict=True):
            if f"{name}_mixed" in row:
                mixed = row[f"{name}_mixed"]
                axes.plot([at - width / 2, at + width / 2], [mixed, mixed], color="black", lw=1.4)
    axes.set(title="Mixing of batches\nblack: mixed at random", ylabel="score (1: mixed)", ylim=(0, 1.04))
    axes.set_xticks(range(len(metrics)), list(metrics.values()), fontsize=8)
    handles = [
        axes.scatter([], [], s=30, marker="s", color=COLORS[str(row.name)], label=_in_a_line(row.name))
        for row in rows
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=len(rows),
        columnspacing=1,
        handletextpad=0.1,
    )


def _in_a_line(stage: object) -> str:
    return STAGES[str(stage)].replace("\n", " ")


def _draw_explained(axes: Axes, rows: list[pd.Series]) -> None:
    for position, row in enumerate(rows):
        share = 100 * row["pcr"]
        axes.bar(position, share, 0.62, color=COLORS[str(row.name)])
        axes.annotate(
            f"{share:.1f}",
            (position, share),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set(
        title="PC regression",
        ylabel="variance explained by batch (%)",
        ylim=(0, max(1.0, 115 * max(row["pcr"] for row in rows))),
        xlim=(-0.6, len(rows) - 0.4),
    )
    _name_stages(axes, rows)


def _name_stages(axes: Axes, rows: list[pd.Series]) -> None:
    axes.set_xticks(range(len(rows)), [STAGES[str(row.name)] for row in rows], fontsize=7.5)
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)


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
