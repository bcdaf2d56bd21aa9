"""Raw beside denoised expression on the UMAP."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import ExpressionMatrix, log_normalize
from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.plots.style import MISSING, OKABE_ITO, bare_umap_axes, new_figure, scatter_values
from scvi_downstream.runtime.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Axes = Figure = Any


_GENES_IN_ONE_COLUMN = 3


def plot_imputation(
    counts: AnnData,
    expression: ExpressionMatrix,
    umap: pd.DataFrame,
    markers: pd.DataFrame,
    options: ImputationOptions,
) -> Figure:
    """Log-normalised counts beside denoised expression of some genes, on the UMAP.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes.
    expression
        Denoised expression, of which only the genes drawn are read.
    umap
        Columns UMAP1 and UMAP2 of the same cells.
    markers
        Columns ``group`` and ``gene``, the best first; used when ``options.figure_genes`` is empty.
    options
        Genes to draw, or how many, and the library size that ``expression`` is scaled to.

    Raises
    ------
    InputError
        When a gene of ``figure_genes`` was not decoded.
    """
    genes = genes_to_draw(expression.genes, markers, options)
    if not genes:
        figure = new_figure(6, 1.5)
        figure.text(
            0.5,
            0.5,
            "No marker gene was decoded: name genes in imputation.figure_genes",
            ha="center",
            va="center",
        )
        return figure
    denoised = expression.read(genes=genes).loc[umap.index]
    positions = counts.var_names.get_indexer(genes)
    raw = pd.DataFrame(log_normalize(counts, positions).toarray(), index=counts.obs_names, columns=genes).loc[
        umap.index
    ]
    pairs = 1 if len(genes) <= _GENES_IN_ONE_COLUMN else 2
    rows = ceil(len(genes) / pairs)
    figure = new_figure(6.2 * pairs, 2.6 * rows)
    panels = figure.subplots(rows, 2 * pairs, squeeze=False)
    unit = "expected count" if options.library_size == "latent" else f"counts per {options.library_size:,.0f}"
    xy = umap[["UMAP1", "UMAP2"]].to_numpy()
    for position in range(rows * pairs):
        row, pair = position % rows, position // rows
        left, right = panels[row, 2 * pair], panels[row, 2 * pair + 1]
        if position >= len(genes):
            left.set_axis_off()
            right.set_axis_off()
            continue
        gene = genes[position]
        scatter_values(left, xy, raw[gene].to_numpy(), "log(1 + counts per 10,000)")
        scatter_values(right, xy, np.log1p(denoised[gene].to_numpy()), f"log(1 + {unit})")
        bare_umap_axes(left, f"{gene}, raw")
        bare_umap_axes(right, f"{gene}, denoised")
    return figure


def genes_to_draw(decoded: pd.Index, markers: pd.DataFrame, options: ImputationOptions) -> list[str]:
    """The genes named in the options, or the top decoded markers, taking the groups in turn.

    Raises
    ------
    InputError
        When a named gene was not decoded.
    """
    for gene in options.figure_genes:
        if gene not in decoded:
            raise InputError(f"imputation.figure_genes: '{gene}' was not decoded{closest(gene, decoded)}")
    if options.figure_genes:
        return list(dict.fromkeys(options.figure_genes))
    usable = markers[markers["gene"].isin(decoded)].drop_duplicates("gene")
    rank = usable.groupby("group", sort=False, observed=True).cumcount()
    return (
        usable.assign(rank=rank)
        .sort_values("rank", kind="stable")["gene"]
        .head(options.n_figure_genes)
        .tolist()
    )


_LABELS = {
    "model": "model",
    "gene_mean": "gene mean",
    "knn_smoothing": "kNN smoothing",
    "thinned_cell": "thinned cell",
}
_PANELS = (
    ("poisson_nll", "Poisson loss\n(nats per entry, lower is better)"),
    ("pearson", "Pearson correlation\n(mean over genes, higher is better)"),
)


def plot_imputation_scores(imputation_scores: dict[str, Any], imputation_by_gene: pd.DataFrame) -> Figure:
    """Loss and correlation with 95 % intervals per method; per gene, the model against the best baseline.

    Parameters
    ----------
    imputation_scores
        ``methods`` (method → score → value, low, high), ``best_baseline``, ``verdict``, ``cells``,
        ``n_cells``.
    imputation_by_gene
        One row per gene with columns ``pearson_<method>`` and ``mean_held_out``.
    """
    figure = new_figure(12, 3.6)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    methods = imputation_scores["methods"]
    for axes, (score, label) in zip(panels, _PANELS, strict=False):
        _draw_intervals(axes, {method: values[score] for method, values in methods.items()}, label)
    panels[1].set_yticklabels([])
    best = imputation_scores["best_baseline"]
    if imputation_by_gene[f"pearson_{best}"].notna().sum() == 0:
        best = "knn_smoothing"
    _draw_genes(panels[2], imputation_by_gene, best)
    cells = f"{imputation_scores['n_cells']} {imputation_scores['cells']} cells"
    verdict = imputation_scores["verdict"]
    figure.suptitle(f"{verdict[0].upper()}{verdict[1:]} ({cells})", fontsize=10)
    return figure


def _draw_intervals(axes: Axes, scores: dict[str, dict[str, float] | None], label: str) -> None:
    for position, (method, score) in enumerate(scores.items()):
        color = OKABE_ITO[0] if method == "model" else MISSING
        if score is None:
            axes.text(
                0.5,
                position,
                "constant: no correlation",
                ha="center",
                va="center",
                fontsize=8,
                color="#666666",
                transform=axes.get_yaxis_transform(),
            )
            continue
        # Heavy tails can put the mean outside its own bootstrap interval, where no error bar has a length.
        reach = [[max(score["value"] - score["low"], 0.0)], [max(score["high"] - score["value"], 0.0)]]
        axes.errorbar(
            score["value"],
            position,
            xerr=reach,
            fmt="o",
            ms=7,
            capsize=4,
            color=color if method == "model" else "#666666",
        )
        axes.annotate(
            f"{score['value']:.3f}",
            (score["value"], position),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set(xlabel=label, ylim=(len(scores) - 0.5, -0.6), yticks=range(len(scores)))
    axes.set_yticklabels([_LABELS.get(method, method) for method in scores])
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.margins(x=0.12)


def _draw_genes(axes: Axes, by_gene: pd.DataFrame, best: str) -> None:
    shown = by_gene.dropna(subset=["pearson_model", f"pearson_{best}"])
    if shown.empty:
        axes.set_axis_off()
        axes.text(
            0.5,
            0.5,
            "No gene was detected in enough cells",
            ha="center",
            va="center",
            transform=axes.transAxes,
        )
        return
    x, y = shown[f"pearson_{best}"], shown["pearson_model"]
    low, high = min(x.min(), y.min()) - 0.03, max(x.max(), y.max()) + 0.03
    axes.plot([low, high], [low, high], color="#666666", lw=0.8, ls=":")
    points = axes.scatter(
        x, y, s=10, c=np.log10(shown["mean_held_out"]), cmap="viridis", linewidths=0, rasterized=True
    )
    axes.figure.colorbar(points, ax=axes, label="log₁₀ mean held-out count")
    above = 100 * float((y > x).mean())
    axes.set(
        xlabel=f"Pearson correlation per gene, {_LABELS.get(best, best)}",
        ylabel="model",
        xlim=(low, high),
        ylim=(low, high),
        title=f"{above:.0f} % of {len(shown)} genes above the line",
        aspect="equal",
    )
