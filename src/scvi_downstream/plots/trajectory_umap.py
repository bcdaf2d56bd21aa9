"""Pseudotime on the UMAP, with what each method has learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import (
    MISSING,
    SEQUENTIAL,
    bare_umap_axes,
    empty_figure,
    new_figure,
    point_size,
    scatter_values,
)
from scvi_downstream.plots.trajectory_lines import TrajectoryLines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_A_ROW = 3
PANEL_WIDTH, PANEL_HEIGHT = 4.4, 3.9
GAP = 0.04
"""Share of the layout's width within which a line must have a cell, or it crosses a gap and is dotted."""
PLACES_A_STEP = 9
MOST_NAMES = 25
START = "#D55E00"


def plot_trajectory(
    umap: pd.DataFrame,
    pseudotimes: pd.DataFrame,
    *,
    lines: Mapping[str, TrajectoryLines] | None = None,
    start: Sequence[str] = (),
    time: pd.Series | None = None,
) -> Figure:
    """One UMAP panel a method: pseudotime, and over it what the method has learnt.

    Parameters
    ----------
    umap
        ``n_cells`` × ``UMAP1``, ``UMAP2``.
    pseudotimes
        The same cells, a column a method; NaN (grey) where a cell is not reached.
    lines
        Column of ``pseudotimes`` → its lines.
    start
        Names of the start cells; the star is at the one in their middle.
    time
        Known time of the cells, drawn as the last panel.
    """
    shown = [name for name in pseudotimes if pseudotimes[name].notna().any()]
    if not shown:
        return empty_figure("No trajectory: no method gave any cell a pseudotime.")
    panels = [
        (str(name).replace("_", " "), pseudotimes[name], "pseudotime", (lines or {}).get(name))
        for name in shown
    ]
    if time is not None:
        panels.append((f"known time: {time.name}", time, str(time.name), None))
    n_columns = 2 if len(panels) == 4 else min(len(panels), PANELS_A_ROW)
    n_rows = ceil(len(panels) / n_columns)
    figure = new_figure(PANEL_WIDTH * n_columns, PANEL_HEIGHT * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    xy = umap.to_numpy(np.float64)
    star = _middle(umap, start)
    for axes, (title, values, label, overlay) in zip(grid, panels, strict=False):
        aligned = values.reindex(umap.index).to_numpy(np.float64, na_value=np.nan)
        _scatter_known(axes, xy, aligned, label)
        bare_umap_axes(axes, title)
        if overlay is not None:
            draw_lines(axes, overlay, xy)
        if star is not None:
            axes.scatter(
                star[0],
                star[1],
                marker="*",
                s=190,
                c=START,
                edgecolors="white",
                linewidths=1,
                zorder=6,
                label="start",
            )
        if axes.get_legend_handles_labels()[0]:
            axes.legend(
                loc="upper left", bbox_to_anchor=(0, -0.06), ncols=3, columnspacing=1, handletextpad=0.4
            )
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def draw_lines(axes: Axes, overlay: TrajectoryLines, xy: np.ndarray) -> None:
    """Lines with a light rim and names; dotted where they cross a gap of the layout.

    Parameters
    ----------
    axes
        Of a layout that shows its cells.
    overlay
        Lines on the same layout.
    xy
        ``(n_cells, 2)`` the cells on it.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import Normal, Stroke, withStroke

    lines = overlay.lines
    places = lines[["UMAP1", "UMAP2"]].to_numpy(np.float64)
    together = (lines["line"].to_numpy()[1:] == lines["line"].to_numpy()[:-1]).nonzero()[0]
    segments = np.stack([places[together], places[together + 1]], axis=1)
    widths = lines["width"].to_numpy(np.float64)[together]
    leaps = _over_gaps(segments, xy)
    for chosen, style in ((~leaps, "-"), (leaps, ":")):
        if not chosen.any():
            continue
        drawn = LineCollection(
            list(segments[chosen]), linewidths=widths[chosen], linestyles=style, colors="#111111", zorder=4
        )
        drawn.set_capstyle("round")
        rim = Stroke(linewidth=float(widths[chosen].max()) + 1.4, foreground="white", alpha=0.55)
        if style == "-" and np.ptp(widths[chosen]) == 0:
            drawn.set_path_effects([rim, Normal()])
        axes.add_collection(drawn, autolim=False)
    axes.add_line(Line2D([], [], color="#111111", linewidth=2, label=overlay.meaning))
    for row in overlay.names.head(MOST_NAMES).itertuples():
        axes.text(
            row.UMAP1, row.UMAP2, row.name, fontsize=7, weight="bold", ha="center", va="center", zorder=7,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _over_gaps(segments: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Which ``(n_segments, 2, 2)`` have no cell near for a third of their length or more."""
    from scipy.spatial import KDTree

    along = np.linspace(0, 1, PLACES_A_STEP)[:, None, None]
    places = segments[:, 0] * (1 - along) + segments[:, 1] * along
    distances = KDTree(xy).query(places.reshape(-1, 2))[0].reshape(PLACES_A_STEP, -1)
    return (distances > GAP * np.ptp(xy, axis=0).max()).mean(axis=0) >= 1 / 3


def _scatter_known(axes: Axes, xy: np.ndarray, values: np.ndarray, label: str) -> None:
    """Numbers in colour, cells without one in grey beneath."""
    known = np.isfinite(values)
    if not known.all():
        axes.scatter(
            xy[~known, 0], xy[~known, 1], s=point_size(len(xy)), c=MISSING, linewidths=0, rasterized=True,
            label=f"none ({(~known).sum():,} cells)",
        )  # fmt: skip
    if known.any():
        scatter_values(axes, xy[known], values[known], label, cmap=SEQUENTIAL)


def _middle(umap: pd.DataFrame, start: Sequence[str]) -> np.ndarray | None:
    """Place of the start cell nearest to the median of all of them."""
    places = umap[umap.index.isin(list(start))].to_numpy(np.float64)
    if not len(places):
        return None
    return places[np.linalg.norm(places - np.median(places, axis=0), axis=1).argmin()]
