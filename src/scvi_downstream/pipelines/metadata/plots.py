"""Annotations on the UMAP, against latent dimensions, shares of groups, and genes."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.pipelines.metadata.annotations import analysed_columns, is_number
from scvi_downstream.pipelines.metadata.expression import ALL
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.plots.charts import draw_volcano, heat_map
from scvi_downstream.plots.panels import name_rows, panel_grid, shortened, umap_panel
from scvi_downstream.plots.style import (
    DIVERGING,
    OKABE_ITO,
    SEQUENTIAL,
    TWO_COLUMNS,
    category_colors,
    column_colors,
    empty_figure,
    label_points,
    new_figure,
)
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

MAX_PANELS, MAX_COMPOSITIONS, MAX_ASSOCIATED, MAX_ROWS, MAX_GROUPS, NAMES_PER_PANEL = 12, 20, 30, 4, 20, 12
JITTER = 0.08
"""Most distance of a sample's point from the middle of its category."""
CALLED, QUIET = OKABE_ITO[3], "#333333"
SMALLEST_P = 1e-300
"""P-values of zero are drawn at this height."""


def plot_metadata(
    umap: pd.DataFrame, annotations: pd.DataFrame, counts: AnnData, options: MetadataAnalysisOptions
) -> Figure:
    """One UMAP panel an annotation, the first 12; cells without a value are grey.

    Parameters
    ----------
    umap, annotations
        `n_cells` × ``UMAP1``, ``UMAP2``; the same cells × annotations, numbers or categories.
    counts
        The same cells.
    options
        A column of more than ``max_categories`` categories is not drawn.
    """
    drawable = [
        name
        for name, values in annotations.items()
        if values.notna().any() and (is_number(values) or values.nunique() <= options.max_categories)
    ]
    if not drawable:
        return empty_figure("No annotation to draw: every column is empty or has too many categories.")
    shown = drawable[:MAX_PANELS]
    figure, panels = panel_grid(len(shown), columns=3, width=4.6, height=3.2)
    for axes, name in zip(panels, shown, strict=True):
        values = annotations[name].reindex(umap.index)
        missing = int(values.isna().sum())
        title = f"{name} ({missing:,} cells without a value)" if missing else str(name)
        colors = {} if is_number(values) else {"colors": _colors_of(counts, values)}
        umap_panel(axes, umap.to_numpy(), values, title, label=str(name), **colors)
    if len(drawable) > len(shown):
        figure.suptitle(f"The first {len(shown)} of {len(drawable)} annotations")
    return figure


def _colors_of(counts: AnnData, values: pd.Series) -> dict[str, str]:
    """Colours of all categories of an annotation, which may be an obs column."""
    name = str(values.name)
    return column_colors(counts, name) if name in counts.obs else category_colors(values.cat.categories)


def plot_composition(
    composition: pd.DataFrame,
    composition_tests: pd.DataFrame,
    annotations: pd.DataFrame,
    counts: AnnData,
    keys: Replicates,
    options: MetadataAnalysisOptions,
) -> Figure:
    """One panel a group: share of each sample's cells against one annotation.

    The annotation is the condition or, where that was not tested, the one with the smallest p-value. Without
    tests, bars show the shares of each sample or condition. Samples of one block are joined by a line.

    Parameters
    ----------
    composition, composition_tests, annotations
        One row a sample and group; one row an annotation, contrast and group; cells × columns.
    counts
        The same cells.
    keys, options
        Condition, samples and blocks; FDR.
    """
    if composition.empty:
        return empty_figure("No composition: no cell has a group.")
    _, samples, found = analysed_columns(annotations, counts.obs, keys, options)
    blocks = None if samples is None else samples.block
    by_sample = {name: column.values for name, column in found.items() if column.unit == "sample"}
    usable = composition_tests[composition_tests["column"].astype(str).isin(list(by_sample))]
    if usable.empty:
        groups = options.groups or keys.label_key
        known = column_colors(counts, groups) if groups and groups in counts.obs else None
        return _draw_bars(composition, known)
    columns = usable["column"].astype(str)
    column = keys.condition_key if keys.condition_key in set(columns) else columns[usable["p"].idxmin()]
    mine = usable[columns == column]
    first = mine[mine["contrast"] == mine["contrast"].iloc[0]].sort_values("p", kind="stable")
    values = by_sample[str(column)]
    drawn = composition[composition["sample"].astype(str).isin(values.index)]
    p = first.set_index(first["group"].astype(str))["p_adjusted"].head(MAX_COMPOSITIONS)
    figure, panels = panel_grid(len(p), columns=5, width=2.2, height=2.3, more_height=0.7, least_width=5)
    for axes, (group, adjusted) in zip(panels, p.items(), strict=True):
        share = drawn[drawn["group"].astype(str) == group].set_index("sample")["proportion"] * 100
        share.index = share.index.astype(str)
        colors = {} if is_number(values) else _colors_of(counts, values.rename(str(column)))
        _draw_shares(axes, share, values.reindex(share.index), blocks, colors)
        title = f"{group}\nadjusted p = {adjusted:.2g}"
        if adjusted <= options.fdr:
            axes.set_title(f"{title} *", fontsize="small", color=CALLED, weight="bold")
        else:
            axes.set_title(title, fontsize="small", color=QUIET, weight="normal")
        axes.set_ylim(bottom=0)
    figure.supylabel(f"share of each {composition['by'].iloc[0]}'s cells (%)")
    figure.supxlabel(str(column))
    within = f", lines join samples of one {blocks.name}" if blocks is not None else ""
    title = f"Composition by {column} ({first['contrast'].iloc[0]}){within}; * adjusted p ≤ {options.fdr:g}"
    figure.suptitle(title)
    return figure


def _draw_shares(
    axes: Axes,
    share: pd.Series,
    values: pd.Series,
    blocks: pd.Series | None,
    colors: Mapping[str, str],
) -> None:
    if is_number(values):
        axes.scatter(values, share, s=16, color=OKABE_ITO[0], linewidths=0)
        return
    levels = [str(level) for level in values.cat.remove_unused_categories().cat.categories]
    rng = np.random.default_rng(0)
    known = values.notna().to_numpy()
    share, values = share[known], values[known]
    x = values.cat.set_categories(levels).cat.codes.to_numpy() + rng.uniform(-JITTER, JITTER, len(values))
    if blocks is not None:
        of_block = blocks.reindex(share.index).astype(str).to_numpy()
        for block in np.unique(of_block):
            inside = np.flatnonzero(of_block == block)
            inside = inside[np.argsort(x[inside])]
            axes.plot(x[inside], share.to_numpy()[inside], color="#BBBBBB", linewidth=0.8, zorder=1)
    axes.scatter(x, share, s=16, c=[colors[str(value)] for value in values], linewidths=0, zorder=2)
    means = share.groupby(values.astype(str).to_numpy()).mean()
    for position, level in enumerate(levels):
        axes.hlines(means[level], position - 0.25, position + 0.25, color="black", linewidth=1.2, zorder=3)
    shown = [shortened(level, 12) for level in levels]
    axes.set_xticks(range(len(levels)), shown, rotation=45 if len(levels) > 3 else 0, fontsize="small")
    axes.set_xlim(-0.5, len(levels) - 0.5)


def _draw_bars(composition: pd.DataFrame, colors: Mapping[str, str] | None) -> Figure:
    """Stacked bars, one a sample or condition; ``None``: the groups are clusters, coloured by place."""
    axes_of = {"index": "sample", "columns": "group"}
    wide = composition.pivot_table(**axes_of, values="proportion", sort=False, observed=True)
    colors = category_colors(wide.columns) if colors is None else colors
    figure = new_figure(TWO_COLUMNS, 0.28 * len(wide) + 0.22 * ceil(len(wide.columns) / 3) + 1.4)
    axes = figure.subplots()
    left = np.zeros(len(wide))
    for group in wide.columns:
        axes.barh(range(len(wide)), wide[group] * 100, left=left, color=colors[str(group)], label=str(group))
        left += wide[group].to_numpy() * 100
    axes.set_yticks(range(len(wide)), wide.index.astype(str), fontsize="small")
    by = str(composition["by"].iloc[0])
    axes.set(xlabel="share of cells (%)", ylabel=by, xlim=(0, 100))
    axes.set_title(f"Composition of each {by}, not tested")
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def plot_metadata_associations(
    metadata_associations: pd.DataFrame, options: MetadataAnalysisOptions
) -> Figure:
    """Effect of each annotation on each latent dimension; a dot marks what is significant at the FDR.

    Parameters
    ----------
    metadata_associations, options
        One row a dimension and annotation; FDR.
    """
    if metadata_associations.empty or metadata_associations["effect"].isna().all():
        return empty_figure("No associations: no annotation has enough values to be tested.")
    kinds = metadata_associations["kind"].map({"continuous": "|ρ|", "categorical": "η²"})
    units = metadata_associations["n"].map("{:,}".format) + " " + metadata_associations["unit"].astype(str)
    names = metadata_associations["covariate"].astype(str)
    table = metadata_associations.assign(label=names + "  (" + kinds.astype(str) + ", " + units + "s)")
    shown = {"index": table["label"].unique()[:MAX_ASSOCIATED], "columns": table["dimension"].unique()}
    effect, p = (
        table.pivot_table(index="label", columns="dimension", values=values, observed=True).reindex(**shown)
        for values in ("effect", "p_adjusted")
    )
    n_rows, n_columns = effect.shape
    figure = new_figure(0.42 * n_columns + 4.4, 0.32 * n_rows + 2.1)
    axes = figure.subplots()
    image = heat_map(axes, effect, limits=(0, 1))
    called_rows, called_columns = np.nonzero((p <= options.fdr).to_numpy())
    axes.scatter(
        called_columns, called_rows, s=22, color="white", edgecolor="black", linewidth=0.6,
        label=f"adjusted p ≤ {options.fdr:g}",
    )  # fmt: skip
    axes.set(xlabel="latent dimension", title="Latent dimensions against annotations")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, cax=axes.inset_axes((1.02, 0, 12 / 72 / (0.42 * n_columns), 1)), label="effect")
    figure.legend(loc="outside lower center")
    return figure


def plot_metadata_genes(metadata_genes: pd.DataFrame, options: MetadataAnalysisOptions) -> Figure:
    """One row an annotation: volcano over all cells, and the top genes in each group.

    Annotations without a significant gene are named only, unless none has one.

    Parameters
    ----------
    metadata_genes, options
        One row an annotation, contrast, group and gene; FDR and number of top genes.
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
        volcanoes.append((left, _draw_volcano(left, table, options)))
        _draw_top_genes(right, table, options, n_groups)
    if left_out:
        figure.suptitle(f"Not shown, with fewer significant genes: {', '.join(left_out)}", fontsize="small")
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


def _has_direction(table: pd.DataFrame) -> bool:
    return bool(table["effect"].notna().any())


def _axis_label(table: pd.DataFrame) -> str:
    contrast = str(table["contrast"].iloc[0])
    if str(table["test"].iloc[0]) == "Spearman":
        return "Spearman's ρ"
    if not _has_direction(table):
        return "largest log2 fold change between two categories"
    return "change of log2 expression per unit" if contrast == "slope" else "log2 fold change"


def _draw_volcano(axes: Axes, table: pd.DataFrame, options: MetadataAnalysisOptions) -> pd.DataFrame:
    """Draw all cells, or the first group where all cells were not tested; return the points."""
    groups = table["group"].astype(str)
    group = ALL if (groups == ALL).any() else groups.iloc[0]
    mine = table[groups == group]
    points = mine[["symbol"]].assign(
        x=mine["effect"] if _has_direction(table) else mine["effect_size"],
        y=-np.log10(np.maximum(mine["p"], SMALLEST_P)),
        called=mine["p_adjusted"] <= options.fdr,
    )
    draw_volcano(axes, points, "called", sizes=(5, 11))
    reach = float(points["x"].abs().max()) * 1.15 or 1.0
    axes.set_xlim(-reach if _has_direction(table) else 0, reach)
    axes.set_ylim(0, 1.15 * float(points["y"].max()) or 1.0)
    first = mine.iloc[0]
    cells = "all cells" if group == ALL else group
    axes.set_title(
        f"{first['column']}: {first['contrast']}, {cells}\n{int(points['called'].sum()):,} of {len(points):,} genes "
        f"at an FDR of {options.fdr:g} ({int(first['n']):,} {first['unit']}s)",
        fontsize="small",
    )
    axes.set(xlabel=_axis_label(table), ylabel="−log10 p")
    return points


def _draw_top_genes(axes: Axes, table: pd.DataFrame, options: MetadataAnalysisOptions, n_places: int) -> None:
    """Effect of the genes with the smallest p-values, over all cells and in each group."""
    groups = list(dict.fromkeys(table["group"].astype(str)))[:MAX_GROUPS]
    of_groups = table[table["group"].astype(str).isin(groups)]
    best = table[table["group"].astype(str) == groups[0]].head(options.top_genes)
    shown = of_groups[of_groups["gene"].isin(best["gene"])]
    x = shown["group"].astype(str).map({name: i for i, name in enumerate(groups)}).to_numpy()
    y = shown["gene"].map({name: i for i, name in enumerate(best["gene"])}).to_numpy()
    signed = _has_direction(table)
    effect = shown["effect" if signed else "effect_size"].to_numpy(dtype=float)
    limit = float(np.nanquantile(np.abs(effect), 0.98)) or 1.0
    called = (shown["p_adjusted"] <= options.fdr).to_numpy()
    points = axes.scatter(
        x, y, s=46, c=effect, cmap=DIVERGING if signed else SEQUENTIAL, vmin=-limit if signed else 0, vmax=limit,
        edgecolors=np.where(called, "black", "#CCCCCC"), linewidths=np.where(called, 1.0, 0.5).tolist(),
    )  # fmt: skip
    axes.set_xticks(range(len(groups)), ["all cells" if name == ALL else name for name in groups])
    axes.tick_params(axis="x", rotation=90, labelsize="small")
    name_rows(axes, best["symbol"], fontsize="small")
    axes.set_xlim(-0.6, n_places - 0.4)
    rim = f"black rim: adjusted p ≤ {options.fdr:g}"
    axes.set_title(f"top genes ({rim};\nno dot: too few counts or samples)", fontsize="small")
    axes.figure.colorbar(points, ax=axes, label=_axis_label(table), shrink=0.7)
