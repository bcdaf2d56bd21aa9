"""Raw beside denoised expression on the UMAP, and the scores on held-out counts."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import ExpressionMatrix, log_normalize
from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.plots.charts import draw_intervals
from scvi_downstream.plots.panels import empty_panel, umap_panel
from scvi_downstream.plots.style import OKABE_ITO, TWO_COLUMNS, empty_figure, new_figure
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

_GENES_IN_ONE_COLUMN = 3
_LABELS = {
    "model": "model",
    "gene_mean": "gene mean",
    "knn_smoothing": "kNN smoothing",
    "thinned_cell": "thinned cell",
}
_SCORES = {
    "poisson_nll": "Poisson loss\n(nats per entry, lower is better)",
    "pearson": "Pearson correlation\n(mean over genes, higher is better)",
}


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
    counts, umap
        Raw counts, ``n_cells`` × all genes; columns UMAP1 and UMAP2 of the same cells.
    expression
        Denoised expression, of which only the genes drawn are read.
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
        return empty_figure("No marker gene was decoded: name genes in imputation.figure_genes")
    denoised = np.log1p(expression.read(genes=genes).loc[umap.index])
    normalised = log_normalize(counts, counts.var_names.get_indexer(genes)).toarray()
    raw = pd.DataFrame(normalised, counts.obs_names, genes).loc[umap.index]
    pairs = 1 if len(genes) <= _GENES_IN_ONE_COLUMN else 2
    rows = ceil(len(genes) / pairs)
    figure = new_figure(6.2 * pairs, 2.6 * rows)
    panels = figure.subplots(rows, 2 * pairs, squeeze=False)
    unit = "expected count" if options.library_size == "latent" else f"counts per {options.library_size:,.0f}"
    xy = umap[["UMAP1", "UMAP2"]].to_numpy()
    # genes follow one another down the columns, each beside itself
    places = panels.reshape(rows, pairs, 2).swapaxes(0, 1).reshape(-1, 2)
    for gene, (left, right) in zip(genes, places, strict=False):
        umap_panel(left, xy, raw[gene], f"{gene}, raw", label="log(1 + counts per 10,000)")
        umap_panel(right, xy, denoised[gene], f"{gene}, denoised", label=f"log(1 + {unit})")
    for unused in places[len(genes) :].ravel():
        unused.set_axis_off()
    return figure


def genes_to_draw(decoded: pd.Index, markers: pd.DataFrame, options: ImputationOptions) -> list[str]:
    """The genes named in the options, or the top decoded markers, taking the groups in turn.

    An InputError names a gene that was not decoded.
    """
    for gene in options.figure_genes:
        if gene not in decoded:
            raise InputError(f"imputation.figure_genes: '{gene}' was not decoded{closest(gene, decoded)}")
    if options.figure_genes:
        return list(dict.fromkeys(options.figure_genes))
    usable = markers[markers["gene"].isin(decoded)].drop_duplicates("gene")
    rank = usable.groupby("group", sort=False, observed=True).cumcount()
    in_turn = usable["gene"].loc[rank.sort_values(kind="stable").index]
    return in_turn.head(options.n_figure_genes).tolist()


def plot_imputation_scores(imputation_scores: dict[str, Any], imputation_by_gene: pd.DataFrame) -> Figure:
    """Loss and correlation with 95 % intervals per method; per gene, the model against the best baseline.

    Parameters
    ----------
    imputation_scores
        ``methods`` (method → score → value, low, high), ``best_baseline``, ``verdict``, ``cells``, ``n_cells``.
    imputation_by_gene
        One row per gene with columns ``pearson_<method>`` and ``mean_held_out``.
    """
    figure = new_figure(TWO_COLUMNS, 3.6)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
    methods = imputation_scores["methods"]
    for axes, (score, label) in zip(panels, _SCORES.items(), strict=False):
        _draw_scores(axes, {method: values[score] for method, values in methods.items()}, label)
    panels[1].set_yticklabels([])
    best = imputation_scores["best_baseline"]
    if imputation_by_gene[f"pearson_{best}"].notna().sum() == 0:
        best = "knn_smoothing"
    _draw_genes(panels[2], imputation_by_gene, best)
    cells = f"{imputation_scores['n_cells']} {imputation_scores['cells']} cells"
    verdict = imputation_scores["verdict"]
    figure.suptitle(f"{verdict[0].upper()}{verdict[1:]} ({cells})")
    return figure


def _draw_scores(axes: Axes, scores: dict[str, dict[str, float] | None], label: str) -> None:
    """One row a method, with its score and 95 % interval, or ``None``."""
    text: dict[str, Any] = {"ha": "center", "fontsize": "small"}
    for position, (method, score) in enumerate(scores.items()):
        if score is None:
            middle = axes.get_yaxis_transform()
            absent = "constant: no correlation"
            axes.text(0.5, position, absent, va="center", color="#666666", transform=middle, **text)
            continue
        color = OKABE_ITO[0] if method == "model" else "#666666"
        value = score["value"]
        draw_intervals(axes, [position], value, score["low"], score["high"], ms=7, capsize=4, color=color)
        place = (value, position)
        axes.annotate(f"{value:.3f}", place, xytext=(0, 8), textcoords="offset points", **text)
    axes.set(xlabel=label, ylim=(len(scores) - 0.5, -0.6))
    axes.set_yticks(range(len(scores)), [_LABELS[method] for method in scores])
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.margins(x=0.12)


def _draw_genes(axes: Axes, by_gene: pd.DataFrame, best: str) -> None:
    shown = by_gene.dropna(subset=["pearson_model", f"pearson_{best}"])
    if shown.empty:
        empty_panel(axes, "No gene was detected in enough cells")
        return
    x, y = shown[f"pearson_{best}"], shown["pearson_model"]
    low, high = min(x.min(), y.min()) - 0.03, max(x.max(), y.max()) + 0.03
    axes.plot([low, high], [low, high], color="#666666", lw=0.8, ls=":")
    points = axes.scatter(x, y, s=10, c=np.log10(shown["mean_held_out"]), linewidths=0, rasterized=True)
    axes.figure.colorbar(points, ax=axes, label="log₁₀ mean held-out count")
    above = 100 * float((y > x).mean())
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel=f"Pearson correlation per gene, {_LABELS[best]}", ylabel="model")
    axes.set_title(f"{above:.0f} % of {len(shown)} genes above the line")
