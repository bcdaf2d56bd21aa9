"""Samples on maps and heat maps of their distances, densities of conditions, and genes that they change."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.samples.abundance import DENSITY
from scvi_downstream.pipelines.samples.distances import distance_matrix
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.plots.charts import dot_plot, legend_areas
from scvi_downstream.plots.panels import legend_dots, name_rows, panel_grid, shortened
from scvi_downstream.plots.style import (
    DIVERGING,
    OKABE_ITO,
    SEQUENTIAL,
    bare_umap_axes,
    column_colors,
    empty_figure,
    new_figure,
    point_size,
)
from scvi_downstream.runtime.slow_types import AnnData, Axes, AxesImage, Figure, PathCollection

MAX_PANELS, MAX_ABUNDANCE_PANELS, MAX_EXPRESSION_PANELS = 9, 3, 4
PANELS_PER_ROW = 3
NAMED_SAMPLES, NAMED_IN_MATRIX = 20, 24
"""Most samples whose names can be read on a map, and beside a heat map."""
LONGEST_NAME = 18
BAR = 0.05
"""Height of the strip of conditions, as a share of the heat map's."""
LIMIT = 3.0
"""Log-ratio of densities of the deepest colour: 20 times as dense."""
MAX_GENES = 40
LARGEST_DOT = 90


def plot_sample_map(
    sample_distances: pd.DataFrame,
    sample_clusters: pd.DataFrame,
    sample_effects: pd.DataFrame,
    counts: AnnData,
    keys: Keys,
) -> Figure:
    """Classical multidimensional scaling of the samples of each group; lines join the samples of a pair.

    Parameters
    ----------
    sample_distances
        ``group``, ``sample_1``, ``sample_2``, ``distance``.
    sample_clusters
        ``group``, ``sample``, ``condition``, ``block``; no row of a group of too few samples.
    sample_effects
        ``group``, ``condition``, ``silhouette``, ``silhouette_p``, for the titles.
    counts, keys
        Say which colours conditions have.

    References
    ----------
    Torgerson (1952), doi:10.1007/BF02288916.
    """
    groups = sample_clusters["group"].drop_duplicates().tolist()[:MAX_PANELS]
    if not groups:
        return empty_figure("No map of samples: no group has 4 samples with cells enough.")
    figure, panels = panel_grid(
        len(groups), columns=PANELS_PER_ROW, width=3.3, height=3.0, more_width=0.4, more_height=0.6
    )
    colors = _condition_colors(sample_clusters, counts, keys)
    for axes, group in zip(panels, groups, strict=True):
        samples = sample_clusters[sample_clusters["group"] == group]
        _draw_map(axes, sample_distances[sample_distances["group"] == group], samples, colors)
        axes.set_title(_describe_silhouette(str(group), sample_effects), fontsize="small")
    _add_condition_legend(figure, legend_dots(panels[0], colors, size=24))
    figure.supxlabel("first coordinate (units of z)")
    figure.supylabel("second coordinate (units of z)")
    return figure


def _condition_colors(samples: pd.DataFrame, counts: AnnData, keys: Keys) -> dict[str, str]:
    there = set(samples["condition"].dropna().astype(str))
    known = column_colors(counts, keys.condition_key) if keys.condition_key else {}
    return {name: color for name, color in known.items() if name in there}


def _add_condition_legend(figure: Figure, handles: list[PathCollection]) -> None:
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))


def classical_scaling(matrix: np.ndarray) -> np.ndarray:
    """Two coordinates ``(n, 2)`` of points from their distances ``(n, n)``; each points to its largest entry."""
    centring = np.eye(len(matrix)) - 1 / len(matrix)
    values, vectors = np.linalg.eigh(-0.5 * centring @ matrix**2 @ centring)
    top = np.argsort(values)[::-1][:2]
    largest = vectors[np.abs(vectors[:, top]).argmax(axis=0), top]
    return vectors[:, top] * np.sqrt(np.maximum(values[top], 0)) * np.where(largest < 0, -1, 1)


def _describe_silhouette(group: str, effects: pd.DataFrame) -> str:
    rows = effects[(effects["group"] == group) & effects["silhouette"].notna()]
    if rows.empty:
        return group
    row = rows.loc[rows["silhouette"].idxmax()]
    condition = f"{row['condition']}: " if len(set(rows["condition"])) > 1 else ""
    return f"{group}\n{condition}silhouette {row['silhouette']:.2f}, p = {row['silhouette_p']:.2g}"


def _draw_map(axes: Axes, distances: pd.DataFrame, samples: pd.DataFrame, colors: Mapping[str, str]) -> None:
    names = samples["sample"].astype(str).tolist()
    xy = classical_scaling(distance_matrix(distances, names))
    blocks = samples["block"].astype(str).to_numpy()
    for block in samples["block"].dropna().astype(str).unique():
        axes.plot(*xy[blocks == block].T, color="#AAAAAA", linewidth=0.7, zorder=1)
    point_colors = [colors.get(name, OKABE_ITO[0]) for name in samples["condition"].astype(str)]
    axes.scatter(xy[:, 0], xy[:, 1], s=22, c=point_colors, linewidths=0, zorder=2)
    if not colors and len(names) <= NAMED_SAMPLES:
        for name, point in zip(names, xy, strict=True):
            axes.annotate(name, point, xytext=(3, 3), textcoords="offset points", fontsize="small")
    reach = max(np.abs(xy).max() * 1.15, 1e-6)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize="small")


def plot_sample_abundance(
    umap: pd.DataFrame, sample_density_ratios: pd.DataFrame, sample_abundance: pd.DataFrame
) -> Figure:
    """Log-ratio of densities on the UMAP, and the probability of the condition by group; one row a condition.

    Parameters
    ----------
    umap, sample_density_ratios
        Cells × ``UMAP1``, ``UMAP2``; cells × ``density_<condition>``, natural logarithms.
    sample_abundance
        ``group``, ``condition``, ``reference``, ``probability``, ``p``, ``reason``.
    """
    ratios = sample_density_ratios.dropna(axis=1, how="all").iloc[:, :MAX_ABUNDANCE_PANELS]
    if ratios.empty:
        return empty_figure("No differential abundance: there are no two conditions of 2 samples each.")
    height = max(3.6, 0.26 * sample_abundance["group"].nunique() + 1.2)
    figure, panels = panel_grid(2 * ratios.shape[1], columns=2, width=4.7, height=height)
    xy = umap.loc[ratios.index, ["UMAP1", "UMAP2"]].to_numpy()
    for column, left, right in zip(ratios, panels[::2], panels[1::2], strict=True):
        condition = column.removeprefix(DENSITY)
        of_condition = sample_abundance["condition"].astype(str) == condition
        groups = sample_abundance[of_condition & sample_abundance["reason"].isna()]
        title = f"{condition} against {groups['reference'].iloc[0]}"
        _draw_densities(left, xy, ratios[column].to_numpy(), title)
        _draw_probabilities(right, groups, condition)
    return figure


def _draw_densities(axes: Axes, xy: np.ndarray, values: np.ndarray, title: str) -> None:
    order = np.argsort(np.abs(values), kind="stable")
    points = axes.scatter(
        xy[order, 0], xy[order, 1], s=point_size(len(xy)), c=values[order], cmap=DIVERGING, vmin=-LIMIT, vmax=LIMIT,
        linewidths=0, rasterized=True,
    )  # fmt: skip
    bare_umap_axes(axes, title)
    axes.figure.colorbar(
        points, ax=axes, label="log-ratio of densities of u", extend="both", shrink=0.7, aspect=16, pad=0.02
    )


def _draw_probabilities(axes: Axes, groups: pd.DataFrame, condition: str) -> None:
    y = np.arange(len(groups))
    away = groups["probability"].to_numpy() - 0.5
    axes.barh(y, away, left=0.5, color=np.where(away > 0, OKABE_ITO[3], OKABE_ITO[0]), height=0.7)
    axes.axvline(0.5, color="#555555", linewidth=0.8)
    reach = max(np.abs(away).max() * 1.7, 0.05)
    for position, value, p in zip(y, away, groups["p_adjusted"], strict=True):
        side, gap = ("left", 3) if value >= 0 else ("right", -3)
        axes.annotate(
            f"p = {p:.2g}" if np.isfinite(p) else "", (0.5 + value, position), xytext=(gap, 0),
            textcoords="offset points", ha=side, va="center", fontsize="small",
        )  # fmt: skip
    name_rows(axes, groups["group"], fontsize="small")
    label = f"probability of {condition} given u (0.5: as frequent)"
    axes.set(xlim=(0.5 - reach, 0.5 + reach), xlabel=label, title="by group (p corrected over groups)")


def plot_sample_distances(
    sample_distances: pd.DataFrame, sample_clusters: pd.DataFrame, counts: AnnData, keys: Keys
) -> Figure:
    """Heat maps of the distances in each group, samples in the order of their tree, conditions beside them.

    Parameters
    ----------
    sample_distances
        ``group``, ``sample_1``, ``sample_2``, ``distance``.
    sample_clusters
        ``group``, ``sample``, ``condition``, ``position``, ``cluster``; no row of a group of too few samples.
    counts, keys
        Say which colours conditions have.
    """
    groups = sample_clusters["group"].drop_duplicates().tolist()[:MAX_PANELS]
    if not groups:
        return empty_figure("No distances are drawn: no group has 4 samples with cells enough.")
    figure, panels = panel_grid(
        len(groups), columns=PANELS_PER_ROW, width=3.3, height=2.7, more_width=0.8, more_height=0.6
    )
    colors = _condition_colors(sample_clusters, counts, keys)
    shown = sample_distances[sample_distances["group"].isin(groups)]
    for axes, group in zip(panels, groups, strict=True):
        samples = sample_clusters[sample_clusters["group"] == group].sort_values("position")
        distances = shown[shown["group"] == group]
        image = _draw_matrix(axes, distances, samples, colors, shown["distance"].max())
        axes.set_title(str(group), pad=13 if colors else 4)
    figure.colorbar(image, ax=panels, label="distance of samples (units of z)", shrink=0.5)
    _add_condition_legend(figure, legend_dots(panels[0], colors, marker="s"))
    return figure


def _draw_matrix(
    axes: Axes, distances: pd.DataFrame, samples: pd.DataFrame, colors: Mapping[str, str], highest: float
) -> AxesImage:
    names = samples["sample"].astype(str).tolist()
    matrix = distance_matrix(distances, names)
    image = axes.imshow(matrix, cmap=SEQUENTIAL, vmin=0, vmax=highest, interpolation="none")
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    if len(names) <= NAMED_IN_MATRIX:
        axes.set_yticks(
            range(len(names)), [shortened(name, LONGEST_NAME) for name in names], fontsize="small"
        )
        axes.tick_params(length=0)
    else:
        axes.set(yticks=[], ylabel=f"{len(names)} samples")
    edges = np.flatnonzero(np.diff(samples["cluster"].to_numpy())) + 0.5
    for edge in edges:
        axes.axhline(edge, color="white", linewidth=1)
        axes.axvline(edge, color="white", linewidth=1)
    if colors:
        strip = axes.inset_axes((0, 1.01, 1, BAR))
        for i, condition in enumerate(samples["condition"].astype(str)):
            strip.axvspan(i - 0.5, i + 0.5, color=colors[condition], linewidth=0)
        strip.set_xlim(-0.5, len(names) - 0.5)
        strip.set_axis_off()
    return image


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
    conditions = sample_expression["condition"].drop_duplicates().tolist()[:MAX_EXPRESSION_PANELS]
    if not conditions:
        return empty_figure("No differential expression: there are no two conditions of 2 samples each.")
    tables = [sample_expression[sample_expression["condition"] == name] for name in conditions]
    chosen = [_most_changed(table, options.top_genes) for table in tables]
    heights = [0.24 * table["group"].nunique() + 1.5 for table in tables]
    figure = new_figure(max(0.24 * max(map(len, chosen)) + 3.6, 6), sum(heights) + 0.4)
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights).ravel()
    limit = max(1.0, *(float(table["lfc"].abs().max()) for table in tables))
    for axes, table, genes in zip(panels, tables, chosen, strict=True):
        dots = _draw_changes(axes, table, genes, limit, options)
        axes.set_title(f"{table['condition'].iloc[0]} against {table['reference'].iloc[0]}")
    figure.colorbar(dots, ax=list(panels), label="log2 fold change", shrink=0.7, aspect=14, pad=0.01)
    shares = {f"{share:.0%} of cells": share for share in (0.25, 0.5, 1.0)}
    ring = panels[0].scatter(
        [], [], s=LARGEST_DOT, facecolors="none", edgecolors="black",
        label=f"sums by sample, FDR ≤ {options.fdr:g}",
    )  # fmt: skip
    handles = [*legend_areas(panels[0], shares, largest=LARGEST_DOT), ring]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _most_changed(table: pd.DataFrame, per_group: int) -> list[str]:
    """The genes of highest rank in any group, in the order of their best rank."""
    best = table.groupby("gene", sort=False, observed=True)["rank"].agg(["min", "mean"])
    return best[best["min"] <= per_group].sort_values(["min", "mean"]).head(MAX_GENES).index.tolist()


def _draw_changes(
    axes: Axes, table: pd.DataFrame, genes: list[str], limit: float, options: SamplesOptions
) -> PathCollection:
    by_group = table.set_index(["group", "gene"])
    groups = table["group"].drop_duplicates()

    def spread(column: str) -> pd.DataFrame:
        return by_group[column].unstack("gene").reindex(index=groups, columns=genes)

    changes = spread("lfc")
    agreeing = np.sign(spread("pseudobulk_lfc")) == np.sign(changes)
    rings = np.where((spread("pseudobulk_p_adjusted") <= options.fdr) & agreeing, 0.9, 0.0)
    symbols = table.drop_duplicates("gene").set_index("gene")["symbol"].astype(str)
    dots = dot_plot(
        axes, changes, spread("share_of_cells"), largest=LARGEST_DOT, limits=(-limit, limit), cmap=DIVERGING,
        linewidths=rings.ravel().tolist(), edgecolors="black",
    )  # fmt: skip
    axes.set_xticks(range(len(genes)), symbols[genes], rotation=90, fontsize="small")
    axes.tick_params(axis="y", labelsize="small")
    axes.tick_params(length=0)
    return dots
