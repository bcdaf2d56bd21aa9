"""Volcanoes of the comparisons, agreement of the tests, and markers by cluster and by cell."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.plots.charts import HIGHER, LOWER, dot_plot, draw_volcano, legend_areas
from scvi_downstream.plots.panels import legend_dots, name_rows, panel_grid, shortened
from scvi_downstream.plots.style import (
    DIVERGING,
    MISSING,
    OKABE_ITO,
    SEQUENTIAL,
    TWO_COLUMNS,
    category_colors,
    empty_figure,
    label_points,
    new_figure,
)
from scvi_downstream.plots.style_file import style_settings
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

# Bounds of what can be told apart on one page.
MAX_PANELS, PANELS_PER_ROW, NAMES_PER_PANEL, MAX_COMPARISONS, MAX_CELLS = 12, 4, 8, 40, 1500
MAX_GENES, MAX_GENES_PER_CLUSTER = 48, 5
MAX_HEATMAP_GENES, MAX_HEATMAP_GENES_PER_CLUSTER = 60, 6

MIN_FRACTION_NAMED = 0.1  # of the cells of a group; rarer genes are drawn without a name
PRIORITY = {"condition": 0, "pairs": 1, "condition_by_type": 2, "clusters": 3, "labels": 3}
MEASURES = {
    "spearman_lfc": "Spearman of\nfold changes",
    "top_overlap": "overlap of\ntop genes",
    "jaccard": "Jaccard\nof calls",
    "confirmed": "calls\nconfirmed",
}
COLORS = {"wilcoxon": OKABE_ITO[1], "pseudobulk": OKABE_ITO[0]}
NAMES = {"wilcoxon": "Wilcoxon", "pseudobulk": "pseudobulk"}
LEAST_DOUBT = 1e-8  # probabilities beyond it are drawn at the edge
DOT_AREA = 110  # points², of a gene that all cells of a cluster express
LIMIT = 2.5  # z-score of the first and the last colour
NARROW = 0.03  # share of the cells below which a cluster has no room for its name


def plot_volcano(de_results: pd.DataFrame, options: DeOptions) -> Figure:
    """Volcano panels: log2 fold change of the means against −log10 of the probability that it does not count.

    Conditions and chosen pairs come first, then clusters and labels; within each the comparisons with the
    most calls.

    Parameters
    ----------
    de_results
        The tests joined, one row a gene and comparison.
    options
        The FDR and the change that counts.
    """
    if de_results.empty:
        return empty_figure("No differential expression: no two groups have cells enough to be compared.")
    chosen = _choose(de_results)
    figure, panels = panel_grid(
        len(chosen), columns=PANELS_PER_ROW, width=3.1, height=2.9, more_height=0.4, least_width=4.5
    )
    drawn = [_draw_volcano(axes, table) for axes, table in zip(panels, chosen, strict=True)]
    highest = max(1.5, *(points["y"].max() for points in drawn))
    for axes in panels:
        axes.set_ylim(-0.03 * highest, 1.2 * highest)
    figure.supxlabel("log2 fold change of mean expression (posterior mean)")
    figure.supylabel(f"−log10 (1 − probability of a change beyond {options.least_change:g})")
    colors = {f"higher (expected FDR ≤ {options.fdr:g})": HIGHER, "lower": LOWER, "not called": MISSING}
    figure.legend(handles=legend_dots(panels[0], colors, size=18), loc="outside upper center", ncols=3)
    for axes, points in zip(panels, drawn, strict=True):
        named = points[points["seen"] & points["is_de"]].nlargest(NAMES_PER_PANEL, "strength")
        called = points.loc[points["is_de"], ["x", "y"]].to_numpy()
        label_points(axes, named[["x", "y"]].to_numpy(), named["gene"].tolist(), avoid=called)
    return figure


def _choose(de_results: pd.DataFrame) -> list[pd.DataFrame]:
    tables = [table for _, table in de_results.groupby(["grouping", "comparison"], sort=False, observed=True)]
    tables.sort(key=lambda table: (PRIORITY[table["grouping"].iloc[0]], -table["is_de"].sum()))
    return tables[:MAX_PANELS]


def _draw_volcano(axes: Axes, table: pd.DataFrame) -> pd.DataFrame:
    """Draw one comparison and return its points, with what decides which of them are named."""
    table = table[table["probability"].notna()]
    y = -np.log10(np.maximum(1 - table["probability"], LEAST_DOUBT))
    points = table[["gene", "is_de"]].assign(x=table["effect"], y=y)
    draw_volcano(axes, points, "is_de", sizes=(4, 9))
    reach = max(points["x"].abs().max() * 1.15, 1)
    axes.set_xlim(-reach, reach)
    name = shortened(table["comparison"].iloc[0], 34)
    axes.set_title(f"{name}\n{points['is_de'].sum()} of {len(points)} genes called", fontsize="small")
    seen = table[["fraction1", "fraction2"]].max(axis=1) >= MIN_FRACTION_NAMED
    return points.assign(seen=seen, strength=points["y"] + points["x"].abs() / reach)


def plot_concordance(de_results: pd.DataFrame, de_concordance: pd.DataFrame) -> Figure:
    """Fold changes of the tests against each other, and their agreement in each comparison.

    Parameters
    ----------
    de_results, de_concordance
        The tests joined, one row a gene and comparison; one row a comparison.
    """
    tests = [test for test in COLORS if de_results[f"{test}_p"].notna().any()]
    if not tests:
        return empty_figure("No concordance: no classical test was run.")
    shown = de_concordance.head(MAX_COMPARISONS)
    figure = new_figure(TWO_COLUMNS, max(0.17 * len(shown) + 1.3, 2.9 * len(tests) + 0.4))
    halves = figure.add_gridspec(1, 2, width_ratios=[3.4, 8])
    left, right = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    for axes, test in zip(left.subplots(len(tests), 1, squeeze=False).ravel(), tests, strict=True):
        _draw_fold_changes(axes, de_results, test)
    panels = right.subplots(1, len(MEASURES), sharey=True)
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        _draw_measure(axes, shown, measure, title, tests)
    name_rows(panels[0], [shortened(name, 32) for name in shown["comparison"]], fontsize="small")
    colors = {f"with {NAMES[test]}": COLORS[test] for test in tests}
    handles = legend_dots(panels[0], colors, size=24)
    right.legend(handles=handles, loc="outside lower center", ncols=len(tests))
    return figure


def _draw_fold_changes(axes: Axes, de_results: pd.DataFrame, test: str) -> None:
    # The ratio of a mean to nothing is no fold change: genes unseen in one of the groups are left out.
    seen = (de_results["fraction1"] > 0) & (de_results["fraction2"] > 0)
    both = de_results[seen & de_results[f"{test}_p"].notna()]
    x, y = both["lfc_median"].to_numpy(), both[f"{test}_lfc"].to_numpy()
    reach = max(np.quantile(np.abs(np.concatenate([x, y])), 0.999), 1) if len(x) else 1.0
    inside, extent = np.clip([x, y], -reach, reach), (-reach, reach, -reach, reach)
    hexagons = axes.hexbin(
        *inside, gridsize=45, bins="log", cmap=SEQUENTIAL, mincnt=1, extent=extent, linewidths=0.1
    )
    axes.plot([-reach, reach], [-reach, reach], color="#999999", linewidth=0.6)
    correlation = pd.Series(x).corr(pd.Series(y), method="spearman")
    axes.set(xlabel="log2 fold change, model", ylabel=f"log2 fold change, {NAMES[test]}", box_aspect=1)
    axes.set_title(
        f"genes seen in both groups,\nall comparisons: Spearman {correlation:.2f}", fontsize="small"
    )
    axes.figure.colorbar(hexagons, ax=axes, label="genes", shrink=0.7)


def _draw_measure(axes: Axes, table: pd.DataFrame, measure: str, title: str, tests: list[str]) -> None:
    rows = np.arange(len(table))
    values = table[[f"{measure}_{test}" for test in tests]].to_numpy(dtype=float)
    for column, test in enumerate(tests):
        offset = 0.26 * column - 0.13 if len(tests) > 1 else 0
        axes.scatter(values[:, column], rows + offset, s=16, color=COLORS[test], linewidths=0)
    axes.set_xlim(np.nanmin(values, initial=0) - 0.04, 1.04)
    axes.set_title(title, fontsize="small")
    axes.grid(axis="y", color="#EEEEEE", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def plot_dotplot(counts: AnnData, clusters: pd.DataFrame, markers: pd.DataFrame) -> Figure:
    """Clusters × their best markers: dot size is the share of cells with a count, colour the mean expression.

    Parameters
    ----------
    counts, clusters
        Raw counts of all genes; cells × clusterings, of which ``leiden`` is drawn.
    markers
        Markers by grouping, group and rank.
    """
    genes = top_markers(markers, MAX_GENES, MAX_GENES_PER_CLUSTER)
    if genes.empty:
        return empty_figure("No dot plot: no gene passes the marker filters in any cluster.")
    groups = clusters["leiden"].astype("category").cat.remove_unused_categories()
    names = groups.cat.categories.astype(str)
    expression = log_normalize(counts, counts.var_names.get_indexer(genes["gene"]))
    member = np.eye(len(names))[:, groups.cat.codes.to_numpy()]
    member /= member.sum(axis=1, keepdims=True)
    fraction = member @ (expression > 0).astype(np.float64)
    mean = member @ expression
    spread = np.ptp(mean, axis=0)
    scaled = (mean - mean.min(axis=0)) / np.where(spread > 0, spread, 1)

    figure = new_figure(0.24 * len(genes) + 2.6, max(0.27 * len(names) + 1.6, 3.2))
    axes = figure.add_subplot()
    scaled, fraction = (pd.DataFrame(table, names, genes["gene"]) for table in (scaled, fraction))
    dark_is_high = f"{style_settings()['image.cmap']}_r"
    dots = dot_plot(
        axes, scaled, fraction, largest=DOT_AREA, cmap=dark_is_high, linewidths=0.3, edgecolors="#555555"
    )
    axes.tick_params(axis="x", labelsize="small")
    axes.set(ylabel="Leiden cluster", xlabel="marker genes, by the cluster above")
    _bracket_genes(axes, genes["group"])
    shares = {f"{share:.0%}": share for share in (0.25, 0.5, 0.75, 1.0)}
    handles = legend_areas(axes, shares, largest=DOT_AREA)
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1.02)}
    axes.legend(handles=handles, title="cells with\na count", labelspacing=0.9, **beside)
    inches = max(0.24 * len(genes), 2.6)
    bar = axes.inset_axes((1 + 0.2 / inches, 0, 0.12 / inches, 0.42))
    figure.colorbar(dots, cax=bar, label="mean log expression,\nscaled per gene")
    return figure


def top_markers(markers: pd.DataFrame, max_genes: int, max_per_cluster: int) -> pd.DataFrame:
    """The best markers of each cluster, each gene once, ``max_genes`` in all at most; by cluster and rank."""
    of_clusters = markers[markers["grouping"] == "clusters"]
    if of_clusters.empty:
        return of_clusters
    once = of_clusters.sort_values("rank", kind="stable").drop_duplicates("gene").sort_index()
    n_groups = once["group"].nunique()
    each = int(np.clip(max_genes // n_groups, 1, max_per_cluster))
    return once.groupby("group", sort=False).head(each).reset_index(drop=True)


def _bracket_genes(axes: Axes, groups: pd.Series) -> None:
    """A line and a name above the genes of each cluster."""
    top = axes.get_xaxis_transform()
    for group in groups.unique():
        first, last = np.flatnonzero(groups == group)[[0, -1]]
        ends = [first - 0.35, last + 0.35]
        axes.plot(ends, [1.02, 1.02], transform=top, color="#333333", linewidth=1, clip_on=False)
        middle = (first + last) / 2
        axes.text(middle, 1.035, group, transform=top, ha="center", va="bottom", fontsize="small")


def plot_heatmap(counts: AnnData, clusters: pd.DataFrame, markers: pd.DataFrame) -> Figure:
    """Markers × cells, cells by cluster: log expression as z-scores over the cells of the study.

    Clusters are drawn from in proportion to their size, but each shows 20 cells where it has them. Arguments are
    those of :func:`plot_dotplot`.
    """
    genes = top_markers(markers, MAX_HEATMAP_GENES, MAX_HEATMAP_GENES_PER_CLUSTER)
    if genes.empty:
        return empty_figure("No heat map: no gene passes the marker filters in any cluster.")
    groups = clusters["leiden"].astype("category").cat.remove_unused_categories()
    expression = log_normalize(counts, counts.var_names.get_indexer(genes["gene"]))
    mean = np.asarray(expression.mean(axis=0)).ravel()
    squared = expression.multiply(expression).mean(axis=0)
    std = np.sqrt(np.maximum(np.asarray(squared).ravel() - mean**2, 0))
    codes = groups.cat.codes.to_numpy()
    cells = _choose_cells(codes)
    codes = codes[cells]
    z_scores = (expression[cells].toarray() - mean) / np.where(std > 0, std, 1)

    figure = new_figure(TWO_COLUMNS, 0.135 * len(genes) + 1.6)
    figure.set_layout_engine("constrained", h_pad=0.01, hspace=0)
    bar, axes = figure.subplots(2, 1, height_ratios=[0.16, 0.135 * len(genes)], sharex=True)
    names = groups.cat.categories.astype(str).tolist()
    colors = category_colors(clusters["leiden"].astype("category").cat.categories)
    _draw_clusters(bar, codes, {name: colors[name] for name in names})
    image = axes.imshow(
        z_scores.T, aspect="auto", cmap=DIVERGING, vmin=-LIMIT, vmax=LIMIT, interpolation="none"
    )
    axes.set_yticks(range(len(genes)), genes["gene"], fontsize="small")
    axes.set(xticks=[], xlabel=f"{len(cells):,} of {len(groups):,} cells, by Leiden cluster")
    for edge in np.flatnonzero(np.diff(codes)) + 0.5:
        axes.axvline(edge, color="white", linewidth=0.6)
    for edge in np.flatnonzero(genes["group"].to_numpy()[1:] != genes["group"].to_numpy()[:-1]) + 0.5:
        axes.axhline(edge, color="white", linewidth=0.6)
    figure.colorbar(image, ax=axes, label="log expression, z-score", shrink=0.6, pad=0.01, extend="both")
    return figure


def _choose_cells(codes: np.ndarray) -> np.ndarray:
    """Positions of at most about ``MAX_CELLS`` cells, sorted by cluster, the same at every call."""
    rng = np.random.default_rng(0)
    share = min(1.0, MAX_CELLS / len(codes))
    chosen = []
    for code in np.unique(codes):
        inside = np.flatnonzero(codes == code)
        wanted = min(len(inside), max(round(share * len(inside)), 20))
        chosen.append(np.sort(rng.choice(inside, wanted, replace=False)))
    return np.concatenate(chosen)


def _draw_clusters(axes: Axes, codes: np.ndarray, colors: Mapping[str, str]) -> None:
    """The clusters' colours above the cells, each with its name."""
    from matplotlib.colors import ListedColormap

    names, shades = list(colors), ListedColormap(list(colors.values()))
    axes.imshow(
        codes[None], aspect="auto", cmap=shades, vmin=-0.5, vmax=len(names) - 0.5, interpolation="none"
    )
    axes.set_yticks([0], ["cluster"], fontsize=6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for position, code in enumerate(np.unique(codes)):
        inside = np.flatnonzero(codes == code)
        # Names of neighbouring narrow clusters would touch, so every other one stands higher.
        height = -1.5 if len(inside) < NARROW * len(codes) and position % 2 else -0.7
        axes.text(inside.mean(), height, names[code], ha="center", va="bottom", fontsize="small")
