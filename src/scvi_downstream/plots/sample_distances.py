"""Distances between samples, one heat map a group of cells."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import SEQUENTIAL, category_colors, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MAX_PANELS = 9
PANELS_PER_ROW = 3
NAMED_SAMPLES = 24
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
            _draw(
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


def _draw(
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
    if len(names) <= NAMED_SAMPLES:
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
