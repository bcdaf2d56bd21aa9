"""Figures of what trajectories give: agreement, fates, genes along pseudotime."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import TARGET_SUM, symbols_of
from scvi_downstream.pipelines.trajectory.agreement import OF_R, agreement_matrix
from scvi_downstream.pipelines.trajectory.fates import PREFIX, fate_columns
from scvi_downstream.pipelines.trajectory.gene_trends import lineages_of
from scvi_downstream.pipelines.trajectory.options import MONOCLE_R, TrajectoryOptions
from scvi_downstream.pipelines.trajectory.plots_umap import TITLES
from scvi_downstream.plots.charts import heat_map
from scvi_downstream.plots.panels import panel_grid, scatter_known
from scvi_downstream.plots.style import (
    DIVERGING,
    MISSING,
    OKABE_ITO,
    bare_umap_axes,
    category_colors,
    empty_figure,
    new_figure,
    point_size,
)
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

METHODS = TITLES | {"slingshot_consensus": "Slingshot over clusterings"}  # Order → its name in figures.
_BESIDE = {OF_R: MONOCLE_R}  # of no representation, so its name is that of the method
UNKNOWN = "#DDDDDD"  # Behind heat maps: where there is no value.
MAX_STATES = 9  # Terminal states of which fates are drawn.
TERMINAL = OKABE_ITO[3]  # Rim of the cells of a terminal state.
MAX_TRENDS = 16  # Genes of which curves are drawn.
MAX_CELLS = 1500  # Drawn behind the curves of each gene.
TOP_QUANTILE = 0.995  # Share of the cells that the axis of a gene reaches up to.
MAX_LINEAGES = 6  # Lineages in a heat map of genes.
LIMIT = 2.5  # Z-scores of the darkest colours.
N_COLUMNS = 80  # Places of pseudotime of a heat map.
# Share of a gene's highest mean that is added before logarithms: what happens far below it is noise.
FLOOR = 0.05


def plot_agreement(agreement: pd.DataFrame) -> Figure:
    """Rank correlations between orders, a row of the table a pair; grey where they share too few cells."""
    matrix = agreement_matrix(agreement).rename(lambda name: _BESIDE.get(name, name.replace("_", " ")))
    matrix = matrix.set_axis(matrix.index, axis=1)
    if len(matrix) < 2:
        return empty_figure("No agreement to show: there is one ordering only.")
    side, longest = 0.46 * len(matrix), max(map(len, matrix))
    figure = new_figure(side + 0.075 * longest + 1.6, side + 0.055 * longest + 0.9)
    axes = figure.subplots()
    axes.set_facecolor(UNKNOWN)
    texts = matrix.map(lambda value: f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "n/a")
    image = heat_map(axes, matrix, limits=(-1, 1), cmap=DIVERGING, texts=texts, rotation=45, aspect="equal")
    axes.set_title("Agreement of pseudotimes")
    figure.colorbar(image, ax=axes, label="Spearman's ρ", shrink=0.8, aspect=16, pad=0.03)
    return figure


def plot_time_agreement(time: pd.DataFrame, options: TrajectoryOptions) -> Figure:
    """Rank correlation of every order with known time, with intervals, rows by representation.

    Parameters
    ----------
    time
        ``representation``, ``method``, ``spearman``, ``low``, ``high``; ``within_batch_spearman``, ``within_batch_low``
        and ``within_batch_high`` are drawn hollow where they are known.
    """
    known = time[time["spearman"].notna()]
    if known.empty:
        return empty_figure("No known time to compare with, or no pseudotime.")
    highest = known.groupby("representation", sort=False)["spearman"].max().sort_values(ascending=False)
    known = known.assign(
        method=known["method"].replace(METHODS), place=highest.index.get_indexer(known["representation"])
    )
    known = known.sort_values(
        ["place", "spearman"], ascending=[True, False], kind="stable", ignore_index=True
    )
    colors = category_colors(sorted(known["method"].unique()))
    y = known.index.to_numpy() + 0.6 * known["place"].to_numpy()
    figure = new_figure(6.6, 0.27 * float(y.max() + 1) + 1.5)
    axes = figure.subplots()
    shades = known["method"].map(colors).tolist()
    _draw_intervals(axes, known, y, shades, "", filled=True)
    if known["within_batch_spearman"].notna().any():
        _draw_intervals(axes, known, y + 0.28, shades, "within_batch_", filled=False)
        for face, label in (("#444444", "all cells"), ("white", "within batches")):
            axes.scatter([], [], s=30, facecolors=face, edgecolors="#444444", label=label)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.3)
    names = [f"{row.representation} · {row.method.replace('_', ' ')}" for row in known.itertuples()]
    axes.set_yticks(y, names, fontsize="small")
    axes.invert_yaxis()
    lowest = min(0.0, float(known[["low", "within_batch_low"]].min().min()))
    axes.set_xlim(max(lowest * 1.05, -1.02), 1.02)
    axes.axvline(0, color=MISSING, linewidth=1, zorder=0)
    axes.grid(axis="x", color="#EEEEEE", zorder=0)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"Spearman's ρ with {options.time_key}, 95 % interval\n(below 0: runs backwards)")
    return figure


def _draw_intervals(
    axes: Axes, table: pd.DataFrame, y: np.ndarray, colors: list[str], prefix: str, *, filled: bool
) -> None:
    middle, low, high = (table[prefix + name].to_numpy(np.float64) for name in ("spearman", "low", "high"))
    axes.hlines(y, low, high, colors=colors, linewidth=1.6 if filled else 1.0, zorder=2)
    size, faces = (34, colors) if filled else (22, "white")
    axes.scatter(middle, y, s=size, c=faces, edgecolors=colors, linewidths=1.1, zorder=3)


def plot_fates(
    umap: pd.DataFrame,
    fates: pd.DataFrame,
    fate_drivers: pd.DataFrame,
    counts: AnnData,
    options: TrajectoryOptions,
) -> Figure:
    """A row a terminal state: its probability on the UMAP, and the genes that go with it.

    Parameters
    ----------
    umap
        ``n_cells`` × ``UMAP1``, ``UMAP2``.
    fates
        ``fate_<terminal state>`` in [0, 1] by cell, NaN where unknown; ``terminal_state`` of the terminal cells, which
        have a rim.
    fate_drivers
        ``terminal_state``, ``gene``, ``correlation``, ``ci_lower``, ``ci_upper``, ``rank``; empty: maps only.
    counts, options
        Symbols of the genes, and the number of genes a state.
    """
    states = fates[fate_columns(fates)].sum().sort_values(ascending=False).index.str.removeprefix(PREFIX)
    if states.empty:
        return empty_figure("No fates: no terminal state was found.")
    shown, with_genes = states[:MAX_STATES], len(fate_drivers) > 0
    widths = [4.2, 2.2] if with_genes else [1]
    ratios, width = widths * min(2, len(shown)), (6.9 if with_genes else 4.3) / len(widths)
    figure, grid = panel_grid(
        len(widths) * len(shown), columns=len(ratios), width=width, height=3.6, width_ratios=ratios
    )
    xy, aligned = umap.to_numpy(np.float64), fates.reindex(umap.index)
    drivers = fate_drivers.assign(symbol=symbols_of(counts.var).reindex(fate_drivers["gene"]).to_numpy())
    for i, state in enumerate(shown):
        _draw_fate(grid[i * len(widths)], xy, aligned, state)
        if with_genes:
            own = drivers[drivers["terminal_state"].astype(str) == state]
            _draw_drivers(grid[2 * i + 1], own, state, options.fates.top_drivers)
    if len(states) > len(shown):
        left = len(states) - len(shown)
        figure.suptitle(f"{left} states that fewer cells reach are not drawn", fontsize="small")
    return figure


def _draw_fate(axes: Axes, xy: np.ndarray, fates: pd.DataFrame, state: str) -> None:
    scatter_known(axes, xy, fates[PREFIX + state].to_numpy(np.float64), "probability")
    axes.collections[-1].set_clim(0, 1)
    terminal = (fates["terminal_state"].astype(str) == state).to_numpy()
    x, y = xy[terminal].T
    axes.scatter(
        x, y, s=point_size(len(xy)) + 8, facecolors="none", edgecolors=TERMINAL, linewidths=0.6,
        label=f"terminal ({terminal.sum():,} cells)", rasterized=True,
    )  # fmt: skip
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.06), ncols=2, handletextpad=0.2)
    bare_umap_axes(axes, f"fate: {state}")


def _draw_drivers(axes: Axes, drivers: pd.DataFrame, state: str, top_genes: int) -> None:
    top = drivers[drivers["correlation"].notna()].sort_values("rank").head(top_genes)
    y = np.arange(len(top))
    axes.hlines(y, top["ci_lower"], top["ci_upper"], colors=MISSING, linewidth=2)
    axes.scatter(top["correlation"], y, s=22, c=OKABE_ITO[0], zorder=3)
    axes.set_yticks(y, top["symbol"].astype(str), fontsize="small", style="italic")
    axes.set_ylim(max(len(top), 5) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_title(f"genes with fate {state}", fontsize="small")
    axes.set_xlabel("correlation (95 %)", fontsize="small")


def plot_gene_trends(
    gene_trends: pd.DataFrame,
    trend_tests: pd.DataFrame,
    orders: pd.DataFrame,
    counts: AnnData,
    options: TrajectoryOptions,
) -> Figure:
    """Fitted means with 95 % intervals of the genes that change most, over faint cells, lineages in colours.

    Parameters
    ----------
    gene_trends
        ``lineage``, ``gene``, ``pseudotime``, ``mean``, ``ci_lower``, ``ci_upper`` (counts per 10,000).
    trend_tests
        ``gene``, ``dynamic`` and ``log2_range``, by which genes are chosen.
    orders, counts
        By cell; a cell is drawn on the lineage that it has most weight on. Raw counts of the same cells × all genes.
    options
        The order that lineages are of.
    """
    genes = _widest_genes(trend_tests, counts, MAX_TRENDS)
    genes = genes[genes.index.isin(gene_trends["gene"].astype(str).unique())]
    if genes.empty:
        return empty_figure("No genes along pseudotime: none could be fitted.")
    lineages = [str(name) for name in dict.fromkeys(gene_trends["lineage"].astype(str))]
    colors = category_colors(lineages)
    cells = _cells_on_lineages(orders, counts, genes.index, options)
    drawn = cells if len(cells) <= MAX_CELLS else cells.sample(MAX_CELLS, random_state=0)
    figure, grid = panel_grid(
        len(genes), columns=4, width=2.7, height=2.05, more_width=0.4, more_height=0.9, sharex=True
    )
    for axes, (gene, symbol) in zip(grid, genes.items(), strict=True):
        _draw_gene(axes, gene_trends[gene_trends["gene"].astype(str) == gene], drawn, str(gene), colors)
        axes.set_title(symbol, style="italic")
    handles = [
        grid[0].plot([], [], color=color, linewidth=2, label=name.replace("_", " "))[0]
        for name, color in colors.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(lineages), 6))
    figure.supxlabel("pseudotime")
    figure.supylabel("counts per 10,000 (√ scale); mean with 95 % interval")
    return figure


def _widest_genes(trend_tests: pd.DataFrame, counts: AnnData, n_genes: int) -> pd.Series:
    """Gene → symbol of the dynamic genes of the widest range over lineages."""
    dynamic = trend_tests[trend_tests["dynamic"]].sort_values("log2_range", ascending=False, kind="stable")
    return symbols_of(counts.var).reindex(dynamic["gene"].astype(str).drop_duplicates().head(n_genes))


def _cells_on_lineages(
    orders: pd.DataFrame, counts: AnnData, genes: pd.Index, options: TrajectoryOptions
) -> pd.DataFrame:
    """``lineage``, ``pseudotime`` and counts per 10,000 of ``genes`` of the cells that are on a lineage."""
    times, weights = lineages_of(orders.loc[counts.obs_names], options.trends.pseudotime)
    shares = weights.fillna(0).to_numpy()
    best, totals = shares.argmax(axis=1), np.asarray(counts.X.sum(axis=1)).ravel()
    expression = counts.X[:, counts.var_names.get_indexer(genes)].toarray() / totals[:, None] * TARGET_SUM
    table = pd.DataFrame(expression, columns=genes)
    lineage, pseudotime = weights.columns.to_numpy()[best], times.to_numpy()[np.arange(len(best)), best]
    return table.assign(lineage=lineage, pseudotime=pseudotime)[shares.max(axis=1) > 0]


def _draw_gene(
    axes: Axes, curves: pd.DataFrame, cells: pd.DataFrame, gene: str, colors: dict[str, str]
) -> None:
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
        x, color = rows["pseudotime"].to_numpy(np.float64), colors[str(name)]
        axes.fill_between(x, rows["ci_lower"], rows["ci_upper"], color=color, alpha=0.25, linewidth=0)
        axes.plot(x, rows["mean"], color=color, linewidth=1.6)
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    axes.set_ylim(0, top * 1.05 or 1.0)
    axes.set_yticks(_round_ticks(top))
    axes.tick_params(labelsize="small")


def _round_ticks(top: float) -> list[float]:
    """0, and round numbers near an eighth, 0.4 and all of the top."""

    def rounded(value: float) -> float:
        unit = 10 ** np.floor(np.log10(value))
        return float(max(step for step in (1, 2, 5) if step * unit <= value * 1.0001) * unit)

    return [0.0, *sorted({rounded(share * top) for share in (0.12, 0.45, 1.0)})] if top > 0 else [0.0]


def plot_trend_heatmap(
    gene_trends: pd.DataFrame, trend_tests: pd.DataFrame, counts: AnnData, options: TrajectoryOptions
) -> Figure:
    """Fitted expression of the genes that change most as z-scores, one panel a lineage, genes in one order.

    Genes are ordered by where along pseudotime they peak in the lineage in which they reach highest. Panels are as wide
    as their lineages are long.

    Parameters
    ----------
    gene_trends, trend_tests
        ``lineage``, ``gene``, ``pseudotime``, ``mean`` (counts per 10,000); ``gene``, ``dynamic`` and ``log2_range``,
        by which genes are chosen.
    counts, options
        Symbols of the genes, and how many.
    """
    genes = _widest_genes(trend_tests, counts, options.trends.top_genes)
    chosen = gene_trends[gene_trends["gene"].astype(str).isin(genes.index)]
    if chosen.empty:
        return empty_figure("No genes along pseudotime: none changes enough to be drawn.")
    of_cell = chosen["lineage"].astype(str)
    names = list(dict.fromkeys(of_cell))
    left_out = names[MAX_LINEAGES:]
    panels = {name: _even_places(chosen[of_cell == name]) for name in names[:MAX_LINEAGES]}
    order = _by_peak(panels)
    scores = _z_scores(panels, order)
    ends = {name: (float(panel.columns[0]), float(panel.columns[-1])) for name, panel in panels.items()}
    longest = max(end for _, end in ends.values())
    widths = [max(2.6 * (end - start) / longest, 0.9) for start, end in ends.values()]
    figure = new_figure(sum(widths) + 2.6 + 0.2 * len(widths), max(0.15 * len(order) + 1.3, 2.6))
    grid = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for axes, (name, table) in zip(grid, scores.items(), strict=True):
        axes.set_facecolor(UNKNOWN)
        image = axes.imshow(
            table.to_numpy(), aspect="auto", cmap=DIVERGING, vmin=-LIMIT, vmax=LIMIT, interpolation="none",
            extent=(*ends[name], len(order) - 0.5, -0.5),
        )  # fmt: skip
        axes.set_title(name.replace("_", " "))
        axes.set_yticks([])
        axes.tick_params(labelsize="small")
    grid[0].set_yticks(range(len(order)), genes[order], fontsize="small")
    grid[0].tick_params(axis="y", length=0)
    figure.supxlabel("pseudotime" + (f"; not drawn: {', '.join(left_out)}" if left_out else ""))
    figure.colorbar(
        image, ax=list(grid), shrink=min(1.0, 2.4 / (0.15 * len(order) + 1)), aspect=16, pad=0.02,
        label="z-score over pseudotime of\nlog fitted counts per 10,000",
    )  # fmt: skip
    return figure


def _even_places(curves: pd.DataFrame) -> pd.DataFrame:
    """Genes × even places of pseudotime, log2."""
    table = curves.assign(gene=curves["gene"].astype(str)).pivot_table(
        index="gene", columns="pseudotime", values="mean", observed=True
    )
    found = table.columns.to_numpy(np.float64)
    places = np.linspace(found[0], found[-1], N_COLUMNS)
    values = np.array([np.interp(places, found, row) for row in table.to_numpy(np.float64)])
    return pd.DataFrame(values, index=table.index, columns=places)


def _by_peak(panels: dict[str, pd.DataFrame]) -> list[str]:
    highest = pd.DataFrame({name: panel.max(axis=1) for name, panel in panels.items()}).idxmax(axis=1)
    curves = {str(gene): panels[name].loc[gene] for gene, name in highest.items()}
    return sorted(curves, key=lambda gene: (curves[gene].idxmax(), -curves[gene].idxmin()))


def _z_scores(panels: dict[str, pd.DataFrame], order: list[str]) -> dict[str, pd.DataFrame]:
    """One mean and spread a gene over all lineages, so that panels can be compared; NaN where it was not fitted."""
    aligned = {name: panel.reindex(order) for name, panel in panels.items()}
    highest = np.nanmax(np.hstack([panel.to_numpy() for panel in aligned.values()]), axis=1)
    floor = FLOOR * np.maximum(highest, 1e-12)
    aligned = {name: np.log2(panel.add(floor, axis=0)) for name, panel in aligned.items()}
    joined = np.hstack([panel.to_numpy() for panel in aligned.values()])
    mean = np.nanmean(joined, axis=1, keepdims=True)
    spread = np.nanstd(joined, axis=1, keepdims=True)
    spread[spread == 0] = 1
    return {name: (panel - mean) / spread for name, panel in aligned.items()}
