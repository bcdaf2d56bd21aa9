"""Genes along pseudotime, one small panel a gene."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import (
    DIVERGING,
    MISSING,
    OKABE_ITO,
    bare_umap_axes,
    category_colors,
    empty_figure,
    new_figure,
    point_size,
    scatter_values,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PREFIX = "fate_"
NOT_FATES = ("fate_entropy",)
PANELS_A_ROW = 3
MAX_STATES = 9
MAX_GENES = 10
TERMINAL = OKABE_ITO[3]


def plot_fates(
    umap: pd.DataFrame,
    fates: pd.DataFrame,
    drivers: pd.DataFrame | None = None,
    *,
    top_genes: int = MAX_GENES,
) -> Figure:
    """A row a terminal state: its probability on the UMAP, and the genes that go with it.

    Parameters
    ----------
    umap
        ``n_cells`` × ``UMAP1``, ``UMAP2``.
    fates
        ``fate_<terminal state>`` in [0, 1] by cell, NaN where unknown; ``terminal_state`` of the terminal cells, if
        there, gives them a rim.
    drivers
        ``terminal_state``, ``gene`` (or ``symbol``), ``correlation``, ``ci_lower``, ``ci_upper``, ``rank``; ``None`` or
        empty: maps only.
    top_genes
        Genes a state.
    """
    states = [
        name.removeprefix(PREFIX) for name in fates if name.startswith(PREFIX) and name not in NOT_FATES
    ]
    if not states:
        return empty_figure("No fates: no terminal state was found.")
    certain = fates[[PREFIX + state for state in states]].sum().sort_values(ascending=False).index
    shown = [name.removeprefix(PREFIX) for name in certain[:MAX_STATES]]
    left = (
        f"{len(states) - len(shown)} states that fewer cells reach are not drawn"
        if len(states) > len(shown)
        else ""
    )
    with_genes = drivers is not None and len(drivers) > 0
    figure, pairs = _grid(len(shown), with_genes=with_genes)
    aligned = fates.reindex(umap.index)
    for (left_axes, right_axes), state in zip(pairs, shown, strict=True):
        _draw_map(left_axes, umap.to_numpy(np.float64), aligned, state)
        if drivers is not None and right_axes is not None:
            _draw_genes(right_axes, drivers[drivers["terminal_state"].astype(str) == state], state, top_genes)
    if left:
        figure.suptitle(left, fontsize=8)
    return figure


def _grid(n_states: int, *, with_genes: bool) -> tuple[Figure, list[tuple[Axes, Axes | None]]]:
    states_a_row = (2 if with_genes else PANELS_A_ROW) if n_states > 1 else 1
    n_rows = ceil(n_states / states_a_row)
    figure = new_figure((6.9 if with_genes else 4.3) * states_a_row, 3.6 * n_rows)
    widths = [4.2, 2.2] if with_genes else [1]
    grid = figure.subplots(
        n_rows, states_a_row * len(widths), squeeze=False, width_ratios=widths * states_a_row
    )
    flat = grid.reshape(n_rows * states_a_row, len(widths))
    for spare in flat[n_states:].ravel():
        spare.remove()
    return figure, [(row[0], row[1] if with_genes else None) for row in flat[:n_states]]


def _draw_map(axes: Axes, xy: np.ndarray, fates: pd.DataFrame, state: str) -> None:
    values = fates[PREFIX + state].to_numpy(np.float64)
    known = np.isfinite(values)
    if not known.all():
        axes.scatter(
            xy[~known, 0], xy[~known, 1], s=point_size(len(xy)), c=MISSING, linewidths=0, rasterized=True,
            label=f"none ({(~known).sum():,} cells)",
        )  # fmt: skip
    scatter_values(axes, xy[known], values[known], "probability")
    if axes.collections:
        axes.collections[-1].set_clim(0, 1)
    if "terminal_state" in fates:
        terminal = (fates["terminal_state"].astype(str) == state).to_numpy()
        axes.scatter(
            xy[terminal, 0], xy[terminal, 1], s=point_size(len(xy)) + 8, facecolors="none",
            edgecolors=TERMINAL, linewidths=0.6, label=f"terminal ({terminal.sum():,} cells)", rasterized=True,
        )  # fmt: skip
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.06), ncols=2, handletextpad=0.2)
    bare_umap_axes(axes, f"fate: {state}")


def _draw_genes(axes: Axes, drivers: pd.DataFrame, state: str, top_genes: int) -> None:
    top = drivers[drivers["correlation"].notna()].sort_values("rank").head(top_genes)
    names = top["symbol" if "symbol" in top else "gene"].astype(str)
    y = np.arange(len(top))
    if {"ci_lower", "ci_upper"} <= set(top):
        axes.hlines(y, top["ci_lower"], top["ci_upper"], colors=MISSING, linewidth=2)
    axes.scatter(top["correlation"], y, s=22, c=OKABE_ITO[0], zorder=3)
    axes.set_yticks(y, names, fontsize=7, style="italic")
    axes.set_ylim(max(len(top), 5) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_title(f"genes with fate {state}", fontsize=8)
    axes.set_xlabel("correlation (95 %)", fontsize=8)


MAX_TRENDS = 16
TRENDS_A_ROW = 4
MAX_CELLS = 1500
TOP_QUANTILE = 0.995


def plot_gene_trends(
    curves: pd.DataFrame,
    genes: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    max_genes: int = MAX_TRENDS,
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
    n_columns = min(len(shown), TRENDS_A_ROW)
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


DARK = 0.6


def plot_agreement(matrix: pd.DataFrame) -> Figure:
    """Rank correlations between orderings; grey where they share too few cells.

    Parameters
    ----------
    matrix
        ``n_orderings`` × the same, Spearman's correlation in [-1, 1] or NaN.
    """
    if len(matrix) < 2:
        return empty_figure("No agreement to show: there is one ordering only.")
    n, names = len(matrix), [str(name).replace("_", " ") for name in matrix.columns]
    longest = max(map(len, names))
    side = 0.46 * n
    figure = new_figure(side + 0.075 * longest + 1.6, side + 0.055 * longest + 0.9)
    axes = figure.subplots()
    axes.set_facecolor("#DDDDDD")
    values = matrix.to_numpy(np.float64)
    image = axes.imshow(values, cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "n/a"
        color = "white" if abs(value) > DARK else "#222222"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(n), names, fontsize=8)
    axes.tick_params(length=0)
    axes.set_title("Agreement of pseudotimes", fontsize=10)
    figure.colorbar(image, ax=axes, label="Spearman's ρ", shrink=0.8, aspect=16, pad=0.03)
    return figure


def plot_time_agreement(agreement: pd.DataFrame, time_name: str = "known time") -> Figure:
    """Rank correlation of every pseudotime with known time, with intervals, rows by representation.

    Parameters
    ----------
    agreement
        ``representation``, ``method``, ``spearman``, ``low``, ``high``; where ``within_batch_spearman``,
        ``within_batch_low`` and ``within_batch_high`` are there too, they are drawn hollow.
    time_name
        Of the known time.
    """
    known = agreement[agreement["spearman"].notna()]
    if known.empty:
        return empty_figure("No known time to compare with, or no pseudotime.")
    best = known.groupby("representation", sort=False)["spearman"].max().sort_values(ascending=False)
    known = known.assign(place=known["representation"].map({name: i for i, name in enumerate(best.index)}))
    known = known.sort_values(["place", "spearman"], ascending=[True, False], kind="stable").reset_index(
        drop=True
    )
    colors = category_colors(sorted(known["method"].astype(str).unique()))
    y = known.index.to_numpy() + 0.6 * known["place"].to_numpy()
    figure = new_figure(6.6, 0.27 * float(y.max() + 1) + 1.5)
    axes = figure.subplots()
    shades = known["method"].astype(str).map(colors).tolist()
    _intervals(axes, known, y, shades, "", filled=True)
    hollow = "within_batch_spearman" in known and known["within_batch_spearman"].notna().any()
    if hollow:
        _intervals(axes, known, y + 0.28, shades, "within_batch_", filled=False)
        for filled, label in ((True, "all cells"), (False, "within batches")):
            axes.scatter(
                [], [], s=30, facecolors="#444444" if filled else "white", edgecolors="#444444", label=label
            )
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.3)
    axes.set_yticks(
        y,
        [f"{row.representation} · {str(row.method).replace('_', ' ')}" for row in known.itertuples()],
        fontsize=8,
    )
    axes.invert_yaxis()
    lowest = min(0.0, float(known[[name for name in known if name.endswith("low")]].min().min()))
    axes.set_xlim(max(lowest * 1.05, -1.02), 1.02)
    axes.axvline(0, color=MISSING, linewidth=1, zorder=0)
    axes.grid(axis="x", color="#EEEEEE", zorder=0)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"Spearman's ρ with {time_name}, 95 % interval\n(below 0: runs backwards)")
    return figure


def _intervals(
    axes: Axes, table: pd.DataFrame, y: np.ndarray, colors: list[str], prefix: str, *, filled: bool
) -> None:
    middle, low, high = (table[prefix + name].to_numpy(np.float64) for name in ("spearman", "low", "high"))
    axes.hlines(y, low, high, colors=colors, linewidth=1.6 if filled else 1.0, zorder=2)
    axes.scatter(
        middle,
        y,
        s=34 if filled else 22,
        c=colors if filled else "white",
        edgecolors=colors,
        linewidths=1.1,
        zorder=3,
    )


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
