"""Pseudotime on the UMAP, with what each method has learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


N_NEIGHBORS = 20
WIDTHS = (0.6, 4.0)
SMOOTHING_STEPS = 2
LEAP = 0.12
"""Share of the layout's extent from which an edge of a graph says little: its nodes are apart on the layout."""


@dataclass(frozen=True, eq=False)
class TrajectoryLines:
    """Lines, and names at places, on a layout.

    Attributes
    ----------
    lines
        One row a point: ``line`` (points of one line follow each other), the layout's columns (``UMAP1``, …) and
        ``width`` in points.
    names
        One row a name: ``name`` and the layout's columns.
    meaning
        What the lines are, for the legend.
    """

    lines: pd.DataFrame
    names: pd.DataFrame
    meaning: str


def place_on_layout(
    points: np.ndarray, latent: np.ndarray, layout: pd.DataFrame, *, n_neighbors: int = N_NEIGHBORS
) -> pd.DataFrame:
    """Where points of the latent lie on a layout: the weighted mean of their nearest cells.

    A cell weighs by a normal kernel whose width is the distance to the middle one of them. Where the layout tears
    apart what is together, a point may lie between its cells.

    Parameters
    ----------
    points
        ``(n_points, n_dims)``, all finite.
    latent
        ``(n_cells, n_dims)``.
    layout
        ``n_cells`` × ``UMAP1``, ``UMAP2``, ….
    n_neighbors
        Cells that a point is placed by.

    Returns
    -------
    ``n_points`` × the layout's columns.
    """
    from scipy.spatial import KDTree

    k = min(n_neighbors, len(latent))
    distances, nearest = KDTree(np.asarray(latent, dtype=np.float64)).query(
        np.asarray(points, dtype=np.float64), k=k
    )
    distances, nearest = distances.reshape(len(points), k), nearest.reshape(len(points), k)
    width = np.maximum(distances[:, [k // 2]], 1e-12)
    weights = np.exp(-0.5 * ((distances - distances[:, :1]) / width) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    places = np.einsum("pk,pkd->pd", weights, layout.to_numpy(np.float64)[nearest])
    return pd.DataFrame(places, columns=layout.columns)


def curve_lines(curves: pd.DataFrame, latent: pd.DataFrame, layout: pd.DataFrame) -> TrajectoryLines:
    """Slingshot's curves: a line a lineage, its name at the end.

    Parameters
    ----------
    curves
        One row a point: ``lineage``, ``point`` (its order) and the latent's columns.
    latent, layout
        Of the same ``n_cells`` cells.
    """
    ordered = curves.sort_values(["lineage", "point"], kind="stable", ignore_index=True)
    placed = place_on_layout(ordered[list(latent.columns)].to_numpy(), latent.to_numpy(), layout)
    lines = placed.assign(line=ordered["lineage"].astype(str), width=2.0)
    last = lines.groupby("line", sort=False).tail(1).rename(columns={"line": "name"})
    names = last[["name", *layout.columns]].assign(name=last["name"].str.replace("_", " "))
    return TrajectoryLines(lines[["line", *layout.columns, "width"]], names, "lineage")


def graph_lines(
    nodes: pd.DataFrame, edges: pd.DataFrame, latent: pd.DataFrame, layout: pd.DataFrame
) -> TrajectoryLines:
    """Edges of a principal graph, the names of its tips at them.

    Parameters
    ----------
    nodes
        Node (index) × the latent's columns.
    edges
        Two nodes a row, in the first two columns.
    latent, layout
        Of the same ``n_cells`` cells.
    """
    pairs = edges.iloc[:, :2].astype(str)
    placed = _place_nodes(nodes[list(latent.columns)], pairs, latent.to_numpy(np.float64), layout)
    degree = pd.Series(pairs.to_numpy().ravel()).value_counts()
    tips = placed[placed.index.map(degree).fillna(0) == 1]
    names = tips.assign(name=[f"tip {i + 1}" for i in range(len(tips))])
    ends = [placed.loc[pairs.iloc[:, side]].to_numpy(np.float64) for side in (0, 1)]
    leaps = (
        np.linalg.norm(ends[0] - ends[1], axis=1) > LEAP * np.ptp(layout.to_numpy(np.float64), axis=0).max()
    )
    return TrajectoryLines(
        _edges(pairs, placed, np.where(leaps, 0.4, 1.6)), names, "principal graph, thin: leaps between places"
    )


def _place_nodes(
    nodes: pd.DataFrame, pairs: pd.DataFrame, latent: np.ndarray, layout: pd.DataFrame
) -> pd.DataFrame:
    """Middle of the cells nearest to each node and, the less the farther along the graph, to those about it.

    A principal graph is shorter than the cells are spread, so cells near its tips lie far beyond them: the cells
    nearest to a node in the latent would draw the graph as a knot in the middle.
    """
    from scipy.spatial import KDTree

    names = nodes.index.astype(str)
    owner = KDTree(nodes.to_numpy(np.float64)).query(latent)[1]
    sums = np.zeros((len(nodes), layout.shape[1]))
    np.add.at(sums, owner, layout.to_numpy(np.float64))
    sizes = np.bincount(owner, minlength=len(nodes)).astype(np.float64)
    first, second = (names.get_indexer(pairs.iloc[:, side]) for side in (0, 1))
    adjacent = np.zeros((len(nodes), len(nodes)))
    adjacent[first, second] = adjacent[second, first] = 1.0
    step = (np.eye(len(nodes)) + adjacent / np.maximum(adjacent.sum(axis=1, keepdims=True), 1)) / 2
    reach = np.linalg.matrix_power(step, SMOOTHING_STEPS)
    weights = (reach @ sizes)[:, None]
    alone = place_on_layout(nodes.to_numpy(), latent, layout).to_numpy(copy=True)
    middle = np.divide(reach @ sums, weights, out=alone, where=weights > 0)
    return pd.DataFrame(middle, index=names, columns=layout.columns)


def paga_lines(paga: pd.DataFrame, positions: pd.DataFrame) -> TrajectoryLines:
    """PAGA's edges between clusters, as wide as they are strong; those of its tree, and others above a tenth.

    Parameters
    ----------
    paga
        ``cluster_1``, ``cluster_2``, ``connectivity`` in (0, 1] and ``in_tree``.
    positions
        Cluster (index) × the layout's columns.
    """
    layout = [name for name in positions if str(name).startswith("UMAP")]
    placed = positions[layout].set_axis(positions.index.astype(str), axis=0)
    kept = paga[(paga["in_tree"] | (paga["connectivity"] >= 0.1))]
    low, high = WIDTHS
    strength = kept["connectivity"].to_numpy(float)
    width = low + (high - low) * strength / (strength.max() if len(strength) else 1.0)
    names = placed.assign(name=placed.index)
    return TrajectoryLines(
        _edges(kept[["cluster_1", "cluster_2"]].astype(str), placed, width), names, "PAGA, wide: strong"
    )


def _edges(pairs: pd.DataFrame, placed: pd.DataFrame, width: np.ndarray) -> pd.DataFrame:
    ends = [
        placed.reindex(pairs.iloc[:, side]).reset_index(drop=True).assign(line=range(len(pairs)), width=width)
        for side in (0, 1)
    ]
    both = pd.concat(ends).sort_index(kind="stable").reset_index(drop=True)
    return both.assign(line=both["line"].astype(str))[["line", *placed.columns, "width"]]


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
