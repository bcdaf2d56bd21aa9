"""Every annotation on the UMAP."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.plots.style import (
    DIVERGING,
    MISSING,
    OKABE_ITO,
    SEQUENTIAL,
    bare_umap_axes,
    category_colors,
    empty_figure,
    label_points,
    new_figure,
    point_size,
    scatter_categories,
    scatter_values,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    Axes = Figure = Any


MAX_PANELS = 12
PANEL_WIDTH, PANEL_HEIGHT = 4.6, 3.2
PANELS_A_ROW = 3


def plot_metadata(umap: pd.DataFrame, annotations: pd.DataFrame, options: MetadataAnalysisOptions) -> Figure:
    """One UMAP panel an annotation, the first 12; cells without a value are grey.

    Parameters
    ----------
    umap
        `n_cells` × ``UMAP1``, ``UMAP2``.
    annotations
        The same cells × annotations, numbers or categories.
    options
        A column of more than ``max_categories`` categories is not drawn.
    """
    drawable = [
        name
        for name, values in annotations.items()
        if values.notna().any()
        and not (isinstance(values.dtype, pd.CategoricalDtype) and values.nunique() > options.max_categories)
    ]
    if not drawable:
        return empty_figure("No annotation to draw: every column is empty or has too many categories.")
    shown = drawable[:MAX_PANELS]
    n_columns = min(PANELS_A_ROW, len(shown))
    n_rows = ceil(len(shown) / n_columns)
    figure = new_figure(PANEL_WIDTH * n_columns, PANEL_HEIGHT * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, name in zip(grid, shown, strict=False):
        _panel(axes, umap, annotations[name].reindex(umap.index))
    for axes in grid[len(shown) :]:
        axes.remove()
    if len(drawable) > len(shown):
        figure.suptitle(f"The first {len(shown)} of {len(drawable)} annotations", fontsize=10)
    return figure


def _panel(axes: Any, umap: pd.DataFrame, values: pd.Series) -> None:
    xy = umap.to_numpy()
    missing = int(values.isna().sum())
    if isinstance(values.dtype, pd.CategoricalDtype):
        scatter_categories(axes, xy, values)
    else:
        unknown = xy[values.isna().to_numpy()]
        axes.scatter(*unknown.T, s=point_size(len(xy)), c=MISSING, linewidths=0, rasterized=True)
        scatter_values(axes, xy, values.to_numpy(dtype=float), str(values.name))
    title = f"{values.name} ({missing:,} cells without a value)" if missing else str(values.name)
    bare_umap_axes(axes, title)


MAX_COMPOSITIONS = 20
COMPOSITIONS_A_ROW = 5
COMPOSITION_WIDTH, COMPOSITION_HEIGHT = 2.2, 2.3
JITTER = 0.08
CALLED, QUIET = OKABE_ITO[3], "#333333"


def draw_composition(
    composition: pd.DataFrame,
    tests: pd.DataFrame,
    by_sample: Mapping[str, pd.Series],
    blocks: pd.Series | None,
    condition_key: str | None,
    fdr: float,
) -> Figure:
    """One panel a group: share of each sample's cells against one annotation.

    The annotation is the condition or, where that was not tested, the one with the smallest p-value. Without
    tests, bars show the shares of each sample or condition.

    Parameters
    ----------
    composition
        One row a sample and group.
    tests
        One row an annotation, contrast and group.
    by_sample
        Annotation → value of each sample.
    blocks
        Block of each sample: its samples are joined by a line; or ``None``.
    condition_key, fdr
        Of the study.
    """
    if composition.empty:
        return empty_figure("No composition: no cell has a group.")
    usable = tests[tests["column"].astype(str).isin(list(by_sample))]
    if usable.empty:
        return _bars(composition)
    columns = usable["column"].astype(str)
    column = condition_key if condition_key in set(columns) else columns[usable["p"].idxmin()]
    mine = usable[columns == column]
    first = mine[mine["contrast"] == mine["contrast"].iloc[0]].sort_values("p", kind="stable")
    values = by_sample[str(column)]
    drawn = composition[composition["sample"].astype(str).isin(values.index)]
    groups = first["group"].astype(str).tolist()[:MAX_COMPOSITIONS]
    n_columns = min(COMPOSITIONS_A_ROW, len(groups))
    n_rows = ceil(len(groups) / n_columns)
    figure = new_figure(max(COMPOSITION_WIDTH * n_columns, 5), COMPOSITION_HEIGHT * n_rows + 0.7)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, group in zip(panels, groups, strict=False):
        share = drawn[drawn["group"].astype(str) == group].set_index("sample")["proportion"] * 100
        share.index = share.index.astype(str)
        _draw_composition_panel(axes, share, values.reindex(share.index), blocks)
        p = float(first.loc[first["group"].astype(str) == group, "p_adjusted"].iloc[0])
        called = p <= fdr
        axes.set_title(
            f"{group}\nadjusted p = {p:.2g}{' *' if called else ''}",
            fontsize=8,
            color=CALLED if called else QUIET,
            weight="bold" if called else "normal",
        )
        axes.set_ylim(bottom=0)
    for axes in panels[len(groups) :]:
        axes.remove()
    figure.supylabel(f"share of each {composition['by'].iloc[0]}'s cells (%)", fontsize=9)
    figure.supxlabel(str(column), fontsize=9)
    contrast = first["contrast"].iloc[0]
    within = f", lines join samples of one {blocks.name}" if blocks is not None else ""
    figure.suptitle(f"Composition by {column} ({contrast}){within}; * adjusted p ≤ {fdr:g}", fontsize=9)
    return figure


def _draw_composition_panel(
    axes: Axes, share: pd.Series, values: pd.Series, blocks: pd.Series | None
) -> None:
    if not isinstance(values.dtype, pd.CategoricalDtype):
        axes.scatter(values, share, s=16, color=OKABE_ITO[0], linewidths=0)
        return
    levels = list(values.cat.remove_unused_categories().cat.categories)
    colors = category_colors([str(level) for level in levels])
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
        axes.hlines(
            means[str(level)], position - 0.25, position + 0.25, color="black", linewidth=1.2, zorder=3
        )
    shown = [str(level) if len(str(level)) <= 12 else str(level)[:11] + "…" for level in levels]
    axes.set_xticks(range(len(levels)), shown, rotation=45 if len(levels) > 3 else 0, fontsize=7)
    axes.set_xlim(-0.5, len(levels) - 0.5)


def _bars(composition: pd.DataFrame) -> Figure:
    """Stacked bars, one a sample or condition."""
    wide = composition.pivot_table(
        index="sample", columns="group", values="proportion", sort=False, observed=True
    )
    colors = category_colors([str(name) for name in wide.columns])
    figure = new_figure(8, 0.28 * len(wide) + 0.22 * ceil(len(wide.columns) / 3) + 1.4)
    axes = figure.subplots()
    left = np.zeros(len(wide))
    for group in wide.columns:
        axes.barh(range(len(wide)), wide[group] * 100, left=left, color=colors[str(group)], label=str(group))
        left += wide[group].to_numpy() * 100
    axes.set_yticks(range(len(wide)), wide.index.astype(str), fontsize=7)
    by = str(composition["by"].iloc[0])
    axes.set(
        xlabel="share of cells (%)", ylabel=by, xlim=(0, 100), title=f"Composition of each {by}, not tested"
    )
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=3)
    return figure


MAX_COLUMNS = 30


def plot_metadata_associations(
    metadata_associations: pd.DataFrame, options: MetadataAnalysisOptions
) -> Figure:
    """Effect of each annotation on each latent dimension; a dot marks what is significant at the FDR.

    Parameters
    ----------
    metadata_associations
        One row a dimension and annotation.
    options
        FDR.
    """
    if metadata_associations.empty or metadata_associations["effect"].isna().all():
        return empty_figure("No associations: no annotation has enough values to be tested.")
    table = metadata_associations.assign(
        label=metadata_associations["covariate"].astype(str)
        + "  ("
        + metadata_associations["kind"].map({"continuous": "|ρ|", "categorical": "η²"}).astype(str)
        + ", "
        + metadata_associations["n"].map("{:,}".format)
        + " "
        + metadata_associations["unit"].astype(str)
        + "s)"
    )
    labels = table["label"].unique()[:MAX_COLUMNS]
    dimensions = table["dimension"].unique()
    effect = table.pivot_table(index="label", columns="dimension", values="effect", observed=True)
    effect = effect.reindex(index=labels, columns=dimensions)
    p = table.pivot_table(index="label", columns="dimension", values="p_adjusted", observed=True)
    p = p.reindex(index=labels, columns=dimensions)
    figure = new_figure(0.42 * len(dimensions) + 4.4, 0.32 * len(labels) + 2.1)
    axes = figure.subplots()
    image = axes.imshow(effect.to_numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    called_rows, called_columns = np.nonzero((p <= options.fdr).to_numpy())
    axes.scatter(
        called_columns, called_rows, s=22, color="white", edgecolor="black", linewidth=0.6,
        label=f"adjusted p ≤ {options.fdr:g}",
    )  # fmt: skip
    axes.set_xticks(range(len(dimensions)), [str(name) for name in dimensions], rotation=90, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set(xlabel="latent dimension", title="Latent dimensions against annotations")
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(
        image, cax=axes.inset_axes((1.02, 0, 12 / 72 / (0.42 * len(dimensions)), 1)), label="effect"
    )
    figure.legend(loc="outside lower center")
    return figure


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
