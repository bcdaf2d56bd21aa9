"""Genes along pseudotime, one small panel a gene."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import MISSING, category_colors, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_GENES = 16
PANELS_A_ROW = 4
MAX_CELLS = 1500
TOP_QUANTILE = 0.995


def plot_gene_trends(
    curves: pd.DataFrame,
    genes: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    max_genes: int = MAX_GENES,
    seed: int = 0,
) -> Figure:
    """Fitted means with 95 % intervals over faint cells, lineages in colours.

    Parameters
    ----------
    curves
        ``lineage``, ``gene``, ``pseudotime``, ``mean``, ``ci_lower``, ``ci_upper`` (counts per 10,000).
    genes
        Those to draw, in their order: ``gene``, and ``symbol`` as their title.
    cells
        One row a cell and lineage: ``lineage``, ``pseudotime``, and a column of counts per 10,000 for each gene;
        a cell is listed under the lineage that it belongs to.
    max_genes
        Most panels.
    seed
        Of the cells drawn where there are more than 1,500.
    """
    shown = genes[genes["gene"].isin(curves["gene"].astype(str).unique())].head(max_genes)
    if shown.empty:
        return empty_figure("No genes along pseudotime: none could be fitted.")
    lineages = [str(name) for name in dict.fromkeys(curves["lineage"].astype(str))]
    colors = category_colors(lineages)
    n_columns = min(len(shown), PANELS_A_ROW)
    n_rows = ceil(len(shown) / n_columns)
    figure = new_figure(2.7 * n_columns + 0.4, 2.05 * n_rows + 0.9)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    drawn = cells if len(cells) <= MAX_CELLS else cells.sample(MAX_CELLS, random_state=seed)
    for axes, (gene, symbol) in zip(
        grid.ravel(), zip(shown["gene"], shown["symbol"], strict=True), strict=False
    ):
        of_gene = curves[curves["gene"].astype(str) == gene]
        _draw(axes, of_gene, drawn, str(gene), colors)
        axes.set_title(str(symbol), fontsize=9, style="italic")
    for axes in grid.ravel()[len(shown) :]:
        axes.set_visible(False)
    handles = [
        grid[0, 0].plot([], [], color=colors[name], linewidth=2, label=name.replace("_", " "))[0]
        for name in lineages
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(lineages), 6))
    figure.supxlabel("pseudotime", fontsize=9)
    figure.supylabel("counts per 10,000 (√ scale); mean with 95 % interval", fontsize=9)
    return figure


def _draw(axes: Axes, curves: pd.DataFrame, cells: pd.DataFrame, gene: str, colors: dict[str, str]) -> None:
    top = float(curves["mean"].max())
    if gene in cells:
        values = cells[gene].to_numpy(np.float64)
        order = np.random.default_rng(0).permutation(len(cells))
        names = cells["lineage"].astype(str).to_numpy()[order]
        axes.scatter(
            cells["pseudotime"].to_numpy(np.float64)[order], values[order], s=4, alpha=0.25, linewidths=0,
            c=[colors.get(name, MISSING) for name in names], rasterized=True,
        )  # fmt: skip
        top = max(top, float(np.quantile(values, TOP_QUANTILE)))
    for name, rows in curves.groupby(curves["lineage"].astype(str), sort=False):
        x = rows["pseudotime"].to_numpy(np.float64)
        axes.fill_between(
            x, rows["ci_lower"], rows["ci_upper"], color=colors[str(name)], alpha=0.25, linewidth=0
        )
        axes.plot(x, rows["mean"], color=colors[str(name)], linewidth=1.6)
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    axes.set_ylim(0, top * 1.05 or 1.0)
    axes.set_yticks(_ticks(top))
    axes.tick_params(labelsize=7)


def _ticks(top: float) -> list[float]:
    """0, and round numbers near an eighth, 0.4 and all of the top."""

    def rounded(value: float) -> float:
        unit = 10 ** np.floor(np.log10(value))
        return float(max(step for step in (1, 2, 5) if step * unit <= value * 1.0001) * unit)

    return [0.0, *sorted({rounded(share * top) for share in (0.12, 0.45, 1.0)})] if top > 0 else [0.0]
