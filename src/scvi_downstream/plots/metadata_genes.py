"""Genes that go together with annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import MetadataAnalysisOptions
from scvi_downstream.plots.point_labels import label_points
from scvi_downstream.plots.style import DIVERGING, MISSING, OKABE_ITO, SEQUENTIAL, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

MAX_ROWS = 4
MAX_GROUPS = 20
NAMES_PER_PANEL = 12
HIGHER, LOWER = OKABE_ITO[3], OKABE_ITO[0]
ALL = "all"


def plot_metadata_genes(metadata_genes: pd.DataFrame, options: MetadataAnalysisOptions) -> Figure:
    """One row an annotation: volcano over all cells, and the top genes in each group.

    Annotations without a significant gene are named only, unless none has one.

    Parameters
    ----------
    metadata_genes
        One row an annotation, contrast, group and gene.
    options
        FDR and number of top genes.
    """
    if metadata_genes.empty:
        return empty_figure("No genes: no annotation has enough samples or cells to be tested.")
    rows, left_out = _first_contrasts(metadata_genes, options.fdr)
    n_groups = max(min(table["group"].astype(str).nunique(), MAX_GROUPS) for table in rows)
    heights = [max(0.17 * min(options.top_genes, len(table)) + 1.5, 3.4) for table in rows]
    figure = new_figure(6.6 + 0.42 * n_groups, sum(heights))
    grid = figure.add_gridspec(len(rows), 2, width_ratios=[4.2, 2.2 + 0.42 * n_groups], height_ratios=heights)
    volcanoes = []
    for position, table in enumerate(rows):
        left, right = figure.add_subplot(grid[position, 0]), figure.add_subplot(grid[position, 1])
        volcanoes.append((left, _volcano(left, table, options)))
        _top_genes(right, table, options, n_groups)
    if left_out:
        figure.suptitle(f"Not shown, with fewer significant genes: {', '.join(left_out)}", fontsize=8)
    figure.draw_without_rendering()
    for axes, points in volcanoes:
        named = points[points["called"]].nlargest(NAMES_PER_PANEL, "y")
        label_points(
            axes, named[["x", "y"]].to_numpy(), named["symbol"].astype(str).tolist(),
            avoid=points.loc[points["called"], ["x", "y"]].to_numpy(),
        )  # fmt: skip
    return figure


def _first_contrasts(genes: pd.DataFrame, fdr: float) -> tuple[list[pd.DataFrame], list[str]]:
    """Of each annotation its widest question, those with the most calls first; names of those left out."""
    tables = [
        table[table["contrast"].astype(str) == str(table["contrast"].iloc[0])]
        for _, table in genes.groupby("column", sort=False, observed=True)
    ]
    n_called = [int((table["p_adjusted"] <= fdr).sum()) for table in tables]
    order = sorted(range(len(tables)), key=lambda i: -n_called[i])
    shown = [i for i in order if n_called[i]][:MAX_ROWS] or order[:1]
    return [tables[i] for i in shown], [str(tables[i]["column"].iloc[0]) for i in order if i not in shown]


def _signed(table: pd.DataFrame) -> bool:
    return bool(table["effect"].notna().any())


def _axis_label(table: pd.DataFrame) -> str:
    contrast = str(table["contrast"].iloc[0])
    if str(table["test"].iloc[0]) == "Spearman":
        return "Spearman's ρ"
    if not _signed(table):
        return "largest log2 fold change between two categories"
    return "change of log2 expression per unit" if contrast == "slope" else "log2 fold change"


def _volcano(axes: Axes, table: pd.DataFrame, options: MetadataAnalysisOptions) -> pd.DataFrame:
    """Draw all cells, or the first group where all cells were not tested; return the points."""
    groups = table["group"].astype(str)
    group = ALL if (groups == ALL).any() else groups.iloc[0]
    mine = table[groups == group]
    points = pd.DataFrame(
        {
            "symbol": mine["symbol"],
            "x": mine["effect"] if _signed(table) else mine["effect_size"],
            "y": -np.log10(np.maximum(mine["p"], 1e-300)),
            "called": mine["p_adjusted"] <= options.fdr,
        }
    )
    for called, size in ((False, 5), (True, 11)):
        part = points[points["called"] == called]
        colors = np.where(part["x"] > 0, HIGHER, LOWER) if called else MISSING
        axes.scatter(part["x"], part["y"], s=size, c=colors, linewidths=0, alpha=0.8, rasterized=True)
    reach = float(points["x"].abs().max()) * 1.15 or 1.0
    axes.set_xlim(-reach if _signed(table) else 0, reach)
    axes.set_ylim(0, 1.15 * float(points["y"].max()) or 1.0)
    axes.axvline(0, color="#999999", linewidth=0.5, zorder=0)
    first = mine.iloc[0]
    cells = "all cells" if group == ALL else group
    axes.set_title(
        f"{first['column']}: {first['contrast']}, {cells}\n{int(points['called'].sum()):,} of {len(points):,} genes "
        f"at an FDR of {options.fdr:g} ({int(first['n']):,} {first['unit']}s)",
        fontsize=8,
    )
    axes.set(xlabel=_axis_label(table), ylabel="−log10 p")
    return points


def _top_genes(axes: Axes, table: pd.DataFrame, options: MetadataAnalysisOptions, n_places: int) -> None:
    """Effect of the genes with the smallest p-values, over all cells and in each group."""
    groups = list(dict.fromkeys(table["group"].astype(str)))[:MAX_GROUPS]
    of_groups = table[table["group"].astype(str).isin(groups)]
    best = table[table["group"].astype(str) == groups[0]].head(options.top_genes)
    shown = of_groups[of_groups["gene"].isin(best["gene"])]
    x = shown["group"].astype(str).map({name: i for i, name in enumerate(groups)}).to_numpy()
    y = shown["gene"].map({name: i for i, name in enumerate(best["gene"])}).to_numpy()
    signed = _signed(table)
    effect = shown["effect" if signed else "effect_size"].to_numpy(dtype=float)
    limit = float(np.nanquantile(np.abs(effect), 0.98)) or 1.0
    called = (shown["p_adjusted"] <= options.fdr).to_numpy()
    points = axes.scatter(
        x, y, s=46, c=effect, cmap=DIVERGING if signed else SEQUENTIAL, vmin=-limit if signed else 0, vmax=limit,
        edgecolors=np.where(called, "black", "#CCCCCC"), linewidths=np.where(called, 1.0, 0.5).tolist(),
    )  # fmt: skip
    axes.set_xticks(range(len(groups)), ["all cells" if name == ALL else name for name in groups])
    axes.tick_params(axis="x", rotation=90, labelsize=7)
    axes.set_yticks(range(len(best)), best["symbol"].astype(str), fontsize=7)
    axes.set(xlim=(-0.6, n_places - 0.4), ylim=(len(best) - 0.4, -0.6))
    axes.set_title(
        f"top genes (black rim: adjusted p ≤ {options.fdr:g};\nno dot: too few counts or samples)", fontsize=8
    )
    axes.figure.colorbar(points, ax=axes, label=_axis_label(table), shrink=0.7)
