"""Genes that change most along pseudotime, by the place of their peak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import DIVERGING, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 2.5
N_COLUMNS = 80
FLOOR = 0.05
"""Share of a gene's highest mean that is added before logarithms: what happens far below it is noise."""
MAX_LINEAGES = 6


def plot_trend_heatmap(curves: pd.DataFrame, genes: pd.DataFrame) -> Figure:
    """Fitted expression as z-scores over all lineages, one panel a lineage, genes in one order.

    Genes are ordered by where along pseudotime they peak in the lineage in which they reach highest. Panels are as wide
    as their lineages are long.

    Parameters
    ----------
    curves
        ``lineage``, ``gene``, ``pseudotime``, ``mean`` (counts per 10,000).
    genes
        Those to draw: ``gene`` and ``symbol``.
    """
    chosen = curves[curves["gene"].astype(str).isin(genes["gene"])]
    if chosen.empty:
        return empty_figure("No genes along pseudotime: none changes enough to be drawn.")
    names = [str(name) for name in dict.fromkeys(chosen["lineage"].astype(str))]
    left_out = names[MAX_LINEAGES:]
    panels = {name: _wide(chosen[chosen["lineage"].astype(str) == name]) for name in names[:MAX_LINEAGES]}
    order = _by_peak(panels)
    scores = _z_scores(panels, order)
    ends = {name: (float(panel.columns[0]), float(panel.columns[-1])) for name, panel in panels.items()}
    longest = max(end for _, end in ends.values())
    widths = [max(2.6 * (end - start) / longest, 0.9) for start, end in ends.values()]
    figure = new_figure(sum(widths) + 2.6 + 0.2 * len(widths), max(0.15 * len(order) + 1.3, 2.6))
    grid = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    symbols = genes.drop_duplicates("gene").set_index("gene")["symbol"].astype(str)
    for axes, (name, table) in zip(grid, scores.items(), strict=True):
        axes.set_facecolor("#DDDDDD")
        image = axes.imshow(
            table.to_numpy(), aspect="auto", cmap=DIVERGING, vmin=-LIMIT, vmax=LIMIT, interpolation="nearest",
            extent=(*ends[name], len(order) - 0.5, -0.5),
        )  # fmt: skip
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
    grid[0].set_yticks(range(len(order)), symbols.reindex(order).fillna(pd.Series(order, order)), fontsize=6)
    grid[0].tick_params(axis="y", length=0)
    figure.supxlabel("pseudotime" + (f"; not drawn: {', '.join(left_out)}" if left_out else ""), fontsize=9)
    figure.colorbar(
        image, ax=list(grid), shrink=min(1.0, 2.4 / (0.15 * len(order) + 1)), aspect=16, pad=0.02,
        label="z-score over pseudotime of\nlog fitted counts per 10,000",
    )  # fmt: skip
    return figure


def _wide(curves: pd.DataFrame) -> pd.DataFrame:
    """Genes × even places of pseudotime, log2."""
    table = curves.assign(gene=curves["gene"].astype(str)).pivot_table(
        index="gene", columns="pseudotime", values="mean", observed=True
    )
    found = table.columns.to_numpy(np.float64)
    places = np.linspace(found[0], found[-1], N_COLUMNS)
    values = np.array([np.interp(places, found, row) for row in table.to_numpy(np.float64)])
    return pd.DataFrame(values, index=table.index, columns=places)


def _by_peak(panels: dict[str, pd.DataFrame]) -> list[str]:
    tops = pd.DataFrame({name: panel.max(axis=1) for name, panel in panels.items()})
    best = tops.idxmax(axis=1)
    peaks = pd.Series({gene: panels[name].loc[gene].idxmax() for gene, name in best.items()}, dtype=float)
    troughs = pd.Series({gene: panels[name].loc[gene].idxmin() for gene, name in best.items()}, dtype=float)
    order = pd.DataFrame({"peak": peaks, "trough": -troughs}).sort_values(["peak", "trough"], kind="stable")
    return [str(gene) for gene in order.index]


def _z_scores(panels: dict[str, pd.DataFrame], order: list[str]) -> dict[str, pd.DataFrame]:
    """One mean and spread a gene over all lineages, so that panels can be compared; NaN where it was not fitted."""
    aligned = {name: panel.reindex(order) for name, panel in panels.items()}
    highest = np.nanmax(np.hstack([panel.to_numpy() for panel in aligned.values()]), axis=1)
    aligned = {
        name: np.log2(panel.add(FLOOR * np.maximum(highest, 1e-12), axis=0))
        for name, panel in aligned.items()
    }
    joined = np.hstack([panel.to_numpy() for panel in aligned.values()])
    mean = np.nanmean(joined, axis=1, keepdims=True)
    spread = np.nanstd(joined, axis=1, keepdims=True)
    spread[spread == 0] = 1
    return {name: (panel - mean) / spread for name, panel in aligned.items()}
