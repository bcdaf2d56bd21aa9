"""Samples as points whose distances are, as far as a plane allows, those of the cells of a group."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, category_colors, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
