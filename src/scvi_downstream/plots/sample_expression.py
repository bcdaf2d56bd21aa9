"""Genes that conditions change, group by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.parameters.samples import SamplesOptions
from scvi_downstream.plots.style import DIVERGING, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

MAX_GENES = 40
MAX_PANELS = 4
LARGEST_DOT = 90


def plot_sample_expression(sample_expression: pd.DataFrame, options: SamplesOptions) -> Figure:
    """Dots of groups × genes, one panel a condition: colour the fold change, size the share of cells, ring the test.

    Parameters
    ----------
    sample_expression
        ``group``, ``condition``, ``reference``, ``gene``, ``symbol``, ``lfc``, ``share_of_cells``, ``rank``,
        ``pseudobulk_lfc``, ``pseudobulk_p_adjusted``.
    options
        Genes of a group, least fold change, FDR.
    """
    conditions = sample_expression["condition"].drop_duplicates().tolist()[:MAX_PANELS]
    if not conditions:
        return empty_figure("No differential expression: there are no two conditions of 2 samples each.")
    tables = [sample_expression[sample_expression["condition"] == name] for name in conditions]
    chosen = [_genes(table, options.top_genes) for table in tables]
    heights = [0.24 * table["group"].nunique() + 1.5 for table in tables]
    figure = new_figure(max(0.24 * max(map(len, chosen)) + 3.6, 6), sum(heights) + 0.4)
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights).ravel()
    limit = max(1.0, *(float(table["lfc"].abs().max()) for table in tables))
    images = []
    for axes, table, genes in zip(panels, tables, chosen, strict=True):
        images.append(_draw(axes, table, genes, limit, options))
        axes.set_title(f"{table['condition'].iloc[0]} against {table['reference'].iloc[0]}")
    figure.colorbar(images[0], ax=list(panels), label="log2 fold change", shrink=0.7, aspect=14, pad=0.01)
    handles = [
        panels[0].scatter([], [], s=LARGEST_DOT * share, color="#888888", label=f"{share:.0%} of cells")
        for share in (0.25, 0.5, 1.0)
    ]
    ring = panels[0].scatter(
        [],
        [],
        s=LARGEST_DOT,
        facecolors="none",
        edgecolors="black",
        label=f"sums by sample, FDR ≤ {options.fdr:g}",
    )
    figure.legend(handles=[*handles, ring], loc="outside lower center", ncols=4)
    return figure


def _genes(table: pd.DataFrame, per_group: int) -> list[str]:
    """The genes of highest rank in any group, in the order of their best rank."""
    best = table.groupby("gene", sort=False, observed=True)["rank"].agg(["min", "mean"])
    return best[best["min"] <= per_group].sort_values(["min", "mean"]).head(MAX_GENES).index.tolist()


def _draw(
    axes: Axes, table: pd.DataFrame, genes: list[str], limit: float, options: SamplesOptions
) -> PathCollection:
    shown = table[table["gene"].isin(genes)]
    groups = table["group"].drop_duplicates().tolist()
    x = shown["gene"].map({gene: i for i, gene in enumerate(genes)}).astype(int)
    y = shown["group"].map({group: i for i, group in enumerate(groups)}).astype(int)
    tested = (shown["pseudobulk_p_adjusted"] <= options.fdr) & (
        np.sign(shown["pseudobulk_lfc"]) == np.sign(shown["lfc"])
    )
    image = axes.scatter(
        x,
        y,
        s=LARGEST_DOT * shown["share_of_cells"],
        c=shown["lfc"],
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        linewidths=np.where(tested, 0.9, 0.0).tolist(),
        edgecolors="black",
    )
    symbols = shown.drop_duplicates("gene").set_index("gene")["symbol"].astype(str)
    axes.set_xticks(range(len(genes)), [symbols[gene] for gene in genes], rotation=90, fontsize=7)
    axes.set_yticks(range(len(groups)), groups, fontsize=8)
    axes.set(xlim=(-0.7, len(genes) - 0.3), ylim=(len(groups) - 0.4, -0.6))
    axes.tick_params(length=0)
    return image
