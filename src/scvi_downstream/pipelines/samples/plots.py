"""Samples as points whose distances are, as far as a plane allows, those of the cells of a group."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.plots.style import (
    DIVERGING,
    OKABE_ITO,
    SEQUENTIAL,
    bare_umap_axes,
    category_colors,
    empty_figure,
    new_figure,
    point_size,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


MAX_PANELS = 9
PANELS_PER_ROW = 3
NAMED_SAMPLES = 20


def plot_sample_map(
    sample_distances: pd.DataFrame, sample_clusters: pd.DataFrame, sample_effects: pd.DataFrame
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

    References
    ----------
    Torgerson (1952), doi:10.1007/BF02288916.
    """
    groups = sample_clusters["group"].drop_duplicates().tolist()[:MAX_PANELS]
    if not groups:
        return empty_figure("No map of samples: no group has 4 samples with cells enough.")
    columns = min(PANELS_PER_ROW, len(groups))
    rows = ceil(len(groups) / columns)
    figure = new_figure(3.3 * columns + 0.4, 3.0 * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(groups) :]:
        axes.remove()
    conditions = sample_clusters["condition"].dropna().astype(str).unique().tolist()
    colors = category_colors(conditions)
    for axes, group in zip(panels, groups, strict=False):
        samples = sample_clusters[sample_clusters["group"] == group]
        _draw(axes, sample_distances[sample_distances["group"] == group], samples, colors)
        axes.set_title(_title(str(group), sample_effects), fontsize=8)
    if conditions:
        handles = [panels[0].scatter([], [], s=24, color=colors[name], label=name) for name in conditions]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    figure.supxlabel("first coordinate (units of z)", fontsize=9)
    figure.supylabel("second coordinate (units of z)", fontsize=9)
    return figure


def classical_scaling(matrix: np.ndarray) -> np.ndarray:
    """Two coordinates ``(n, 2)`` of points from their distances ``(n, n)``; each points to its largest entry."""
    centring = np.eye(len(matrix)) - 1 / len(matrix)
    values, vectors = np.linalg.eigh(-0.5 * centring @ matrix**2 @ centring)
    top = np.argsort(values)[::-1][:2]
    largest = vectors[np.abs(vectors[:, top]).argmax(axis=0), top]
    return vectors[:, top] * np.sqrt(np.maximum(values[top], 0)) * np.where(largest < 0, -1, 1)


def _title(group: str, effects: pd.DataFrame) -> str:
    rows = effects[(effects["group"] == group) & effects["silhouette"].notna()]
    if rows.empty:
        return group
    row = rows.loc[rows["silhouette"].idxmax()]
    of = f"{row['condition']}: " if len(set(rows["condition"])) > 1 else ""
    return f"{group}\n{of}silhouette {row['silhouette']:.2f}, p = {row['silhouette_p']:.2g}"


def _draw(axes: Axes, distances: pd.DataFrame, samples: pd.DataFrame, colors: dict[str, str]) -> None:
    names = samples["sample"].astype(str).tolist()
    position = {name: i for i, name in enumerate(names)}
    first = distances["sample_1"].astype(str).map(position)
    second = distances["sample_2"].astype(str).map(position)
    used = first.notna() & second.notna()
    rows, columns = first[used].astype(int).to_numpy(), second[used].astype(int).to_numpy()
    matrix = np.zeros((len(names), len(names)))
    matrix[rows, columns] = matrix[columns, rows] = distances.loc[used, "distance"].to_numpy()
    xy = classical_scaling(matrix)
    blocks = samples["block"].astype(str).to_numpy()
    for block in samples["block"].dropna().astype(str).unique():
        axes.plot(*xy[blocks == block].T, color="#AAAAAA", linewidth=0.7, zorder=1)
    of_sample = samples["condition"].astype(str)
    point_colors = [colors.get(name, OKABE_ITO[0]) for name in of_sample]
    axes.scatter(xy[:, 0], xy[:, 1], s=22, c=point_colors, linewidths=0, zorder=2)
    if not colors and len(names) <= NAMED_SAMPLES:
        for name, point in zip(names, xy, strict=True):
            axes.annotate(name, point, xytext=(3, 3), textcoords="offset points", fontsize=6)
    reach = max(np.abs(xy).max() * 1.15, 1e-6)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.locator_params(nbins=5)
    axes.tick_params(labelsize=7)


MAX_ABUNDANCE_PANELS = 3
LIMIT = 3.0


def plot_sample_abundance(
    umap: pd.DataFrame, sample_density_ratios: pd.DataFrame, sample_abundance: pd.DataFrame
) -> Figure:
    """Log-ratio of densities on the UMAP, and the probability of the condition by group; one row a condition.

    Parameters
    ----------
    umap
        Cells × ``UMAP1``, ``UMAP2``.
    sample_density_ratios
        Cells × conditions, natural logarithms.
    sample_abundance
        ``group``, ``condition``, ``reference``, ``probability``, ``p``, ``reason``.
    """
    usable = sample_density_ratios.columns[sample_density_ratios.notna().any()].tolist()[
        :MAX_ABUNDANCE_PANELS
    ]
    if not usable:
        return empty_figure("No differential abundance: there are no two conditions of 2 samples each.")
    n_groups = sample_abundance["group"].nunique()
    figure = new_figure(9.4, len(usable) * max(3.6, 0.26 * n_groups + 1.2))
    panels = figure.subplots(len(usable), 2, squeeze=False)
    xy = umap.loc[sample_density_ratios.index, ["UMAP1", "UMAP2"]].to_numpy()
    for (left, right), condition in zip(panels, usable, strict=True):
        groups = sample_abundance[
            (sample_abundance["condition"].astype(str) == condition) & sample_abundance["reason"].isna()
        ]
        reference = str(groups["reference"].iloc[0])
        _scatter(left, xy, sample_density_ratios[condition].to_numpy(), f"{condition} against {reference}")
        _bars(right, groups, condition)
    return figure


def _scatter(axes: Axes, xy: np.ndarray, values: np.ndarray, title: str) -> None:
    order = np.argsort(np.abs(values), kind="stable")
    points = axes.scatter(
        xy[order, 0],
        xy[order, 1],
        s=point_size(len(xy)),
        c=values[order],
        cmap=DIVERGING,
        vmin=-LIMIT,
        vmax=LIMIT,
        linewidths=0,
        rasterized=True,
    )
    bare_umap_axes(axes, title)
    axes.figure.colorbar(
        points, ax=axes, label="log-ratio of densities of u", extend="both", shrink=0.7, aspect=16, pad=0.02
    )


def _bars(axes: Axes, groups: pd.DataFrame, condition: str) -> None:
    y = np.arange(len(groups))
    away = groups["probability"].to_numpy() - 0.5
    axes.barh(y, away, left=0.5, color=np.where(away > 0, OKABE_ITO[3], OKABE_ITO[0]), height=0.7)
    axes.axvline(0.5, color="#555555", linewidth=0.8)
    reach = max(np.abs(away).max() * 1.7, 0.05)
    for position, value, p in zip(y, away, groups["p_adjusted"], strict=True):
        axes.annotate(
            f"p = {p:.2g}" if np.isfinite(p) else "",
            (0.5 + value, position),
            xytext=(3 if value >= 0 else -3, 0),
            textcoords="offset points",
            ha="left" if value >= 0 else "right",
            va="center",
            fontsize=7,
        )
    axes.set_yticks(y, groups["group"].astype(str), fontsize=8)
    axes.set(
        ylim=(len(groups) - 0.4, -0.6),
        xlim=(0.5 - reach, 0.5 + reach),
        xlabel=f"probability of {condition} given u (0.5: as frequent)",
        title="by group (p corrected over groups)",
    )


NAMED_IN_MATRIX = 24
LONGEST_NAME = 18
BAR = 0.05


def plot_sample_distances(sample_distances: pd.DataFrame, sample_clusters: pd.DataFrame) -> Figure:
    """Heat maps of the distances in each group, samples in the order of their tree, conditions beside them.

    Parameters
    ----------
    sample_distances
        ``group``, ``sample_1``, ``sample_2``, ``distance``.
    sample_clusters
        ``group``, ``sample``, ``condition``, ``position``, ``cluster``; no row of a group of too few samples.
    """
    groups = sample_clusters["group"].drop_duplicates().tolist()[:MAX_PANELS]
    if not groups:
        return empty_figure("No distances are drawn: no group has 4 samples with cells enough.")
    columns = min(PANELS_PER_ROW, len(groups))
    rows = ceil(len(groups) / columns)
    figure = new_figure(3.9 * columns + 0.8, 3.6 * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(groups) :]:
        axes.remove()
    conditions = sample_clusters["condition"].dropna().astype(str).unique().tolist()
    colors = category_colors(conditions)
    images = []
    highest = sample_distances.loc[sample_distances["group"].isin(groups), "distance"].max()
    for axes, group in zip(panels, groups, strict=False):
        images.append(
            _draw_matrix(
                axes,
                sample_distances[sample_distances["group"] == group],
                sample_clusters[sample_clusters["group"] == group].sort_values("position"),
                colors,
                highest,
            )
        )
        axes.set_title(str(group), pad=9 if conditions else 4)
    figure.colorbar(
        images[0], ax=list(panels[: len(groups)]), label="distance of samples (units of z)", shrink=0.5
    )
    if conditions:
        handles = [
            panels[0].scatter([], [], s=28, marker="s", color=colors[name], label=name) for name in conditions
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    return figure


def _draw_matrix(
    axes: Axes, distances: pd.DataFrame, samples: pd.DataFrame, colors: dict[str, str], highest: float
) -> AxesImage:
    names = samples["sample"].astype(str).tolist()
    position = {name: i for i, name in enumerate(names)}
    first = distances["sample_1"].astype(str).map(position)
    second = distances["sample_2"].astype(str).map(position)
    used = first.notna() & second.notna()
    matrix = np.zeros((len(names), len(names)))
    rows, columns = first[used].astype(int).to_numpy(), second[used].astype(int).to_numpy()
    matrix[rows, columns] = matrix[columns, rows] = distances.loc[used, "distance"].to_numpy()
    image = axes.imshow(matrix, cmap=SEQUENTIAL, vmin=0, vmax=highest, interpolation="nearest")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xticks([])
    if len(names) <= NAMED_IN_MATRIX:
        short = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
        axes.set_yticks(range(len(names)), short, fontsize=6)
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


MAX_GENES = 40
MAX_EXPRESSION_PANELS = 4
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
    conditions = sample_expression["condition"].drop_duplicates().tolist()[:MAX_EXPRESSION_PANELS]
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
        images.append(_draw_effects(axes, table, genes, limit, options))
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


def _draw_effects(
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
