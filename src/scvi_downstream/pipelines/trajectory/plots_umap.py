"""Pseudotime on the UMAP, with what each method has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.obs import as_categories
from scvi_downstream.pipelines.trajectory.options import MONOCLE_R, TrajectoryOptions
from scvi_downstream.pipelines.trajectory.start import known_time
from scvi_downstream.plots.panels import panel_grid, scatter_known
from scvi_downstream.plots.style import bare_umap_axes, empty_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Axes = Figure = Any

# Order → title of its panel.
TITLES = {
    "pseudotime": "consensus",
    "dpt_pseudotime": "diffusion pseudotime",
    "slingshot_pseudotime": "Slingshot",
    "graph_pseudotime": "principal graph",
    "monocle_r_pseudotime": MONOCLE_R,
}
LINE, START = "#111111", "#D55E00"
N_NEIGHBORS = 20  # Cells of the latent that a point is placed by on the layout.
WIDTHS = (0.6, 4.0)  # Widths of PAGA's weakest and strongest edge, points.
DRAWN_PAGA = 0.1  # Connectivity from which an edge is drawn that is not of PAGA's tree.
SMOOTHING_STEPS = 2  # Steps along a principal graph over which the places of its nodes are averaged.
# Share of the layout's extent from which an edge of a graph says little: its nodes are apart on the layout.
LEAP = 0.12
# Share of the layout's width within which a line must have a cell, or it crosses a gap and is dotted.
GAP = 0.04
PLACES_A_STEP = 9  # Places of a segment at which cells are looked for.
MOST_NAMES = 25  # Names of clusters, lineages or tips in a panel; more cannot be read.


@dataclass(frozen=True, eq=False)
class TrajectoryLines:
    """Lines, and names at places, on a layout.

    ``lines`` has one row a point: ``line`` (points of one line follow each other), the layout's columns
    (``UMAP1``, …) and ``width`` in points. ``names`` has one row a ``name`` and its place. ``meaning`` says what
    the lines are, for the legend.
    """

    lines: pd.DataFrame
    names: pd.DataFrame
    meaning: str


@dataclass(frozen=True, eq=False)
class Panel:
    """One order of the cells, or their time.

    ``values`` are by cell of the layout, NaN (grey) where a cell is not reached; ``label`` is that of the colour
    bar, and ``lines`` are what the method has learnt.
    """

    title: str
    values: pd.Series
    label: str
    lines: TrajectoryLines | None = None


def plot_trajectory(umap: pd.DataFrame, trajectory_start: dict[str, Any], **learnt: Any) -> Figure:
    """One UMAP panel a method: pseudotime, and over it what the method has learnt; known time as the last panel.

    Parameters
    ----------
    umap
        ``n_cells`` × ``UMAP1``, ``UMAP2``.
    trajectory_start, learnt
        ``cells``: names of the start cells, in whose middle the star is; as of :func:`order_panels`.
    """
    panels = order_panels(umap, **learnt)
    if not panels:
        return empty_figure("No trajectory: no method gave any cell a pseudotime.")
    figure, grid = panel_grid(len(panels), columns=2 if len(panels) == 4 else 3, width=4.4, height=3.9)
    xy, star = umap.to_numpy(np.float64), _middle_cell(umap, trajectory_start["cells"])
    for axes, panel in zip(grid, panels, strict=True):
        scatter_known(axes, xy, panel.values.to_numpy(np.float64, na_value=np.nan), panel.label)
        bare_umap_axes(axes, panel.title)
        if panel.lines is not None:
            _draw_lines(axes, panel.lines, xy)
        for x, y in star:
            axes.scatter(
                x, y, marker="*", s=190, c=START, edgecolors="white", linewidths=1, zorder=6, label="start"
            )
        if axes.get_legend_handles_labels()[0]:
            axes.legend(
                loc="upper left", bbox_to_anchor=(0, -0.06), ncols=3, columnspacing=1, handletextpad=0.4
            )
    return figure


def order_panels(
    layout: pd.DataFrame,
    *,
    counts: AnnData,
    latent: pd.DataFrame,
    landmarks: pd.DataFrame,
    paga: pd.DataFrame,
    slingshot_curves: pd.DataFrame,
    graph_nodes: pd.DataFrame,
    graph_edges: pd.DataFrame,
    trajectory: pd.DataFrame,
    options: TrajectoryOptions,
) -> list[Panel]:
    """The orders that give some cell a pseudotime, and known time as the last; empty without any order.

    Parameters
    ----------
    layout
        ``n_cells`` × ``UMAP1``, ``UMAP2``, ….
    counts, options
        ``obs`` holds the known time, which ``options`` name.
    latent, landmarks, trajectory
        What the methods learnt on, and orders, of the same cells.
    paga, slingshot_curves, graph_nodes, graph_edges
        What they learnt; see :func:`paga_lines`, :func:`curve_lines` and :func:`graph_lines`.
    """
    orders, latent = trajectory.loc[layout.index], latent.loc[layout.index]
    lines = {
        "dpt_pseudotime": paga_lines(paga, landmarks["landmark"], layout),
        "slingshot_pseudotime": curve_lines(slingshot_curves, latent, layout),
        "graph_pseudotime": graph_lines(graph_nodes, graph_edges, latent, layout),
    }
    panels = [
        Panel(title, orders[name], "pseudotime", lines.get(name))
        for name, title in TITLES.items()
        if name in orders and orders[name].notna().any()
    ]
    if panels and options.time_key:
        time = known_time(counts.obs, options.time_key).loc[layout.index]
        panels.append(Panel(f"known time: {options.time_key}", time, options.time_key))
    return panels


def _middle_cell(layout: pd.DataFrame, start: Sequence[str]) -> np.ndarray:
    """``(1, n_dims)`` place of the start cell nearest to the median of all of them; no row where there is none."""
    places = layout[layout.index.isin(list(start))].to_numpy(np.float64)
    if not len(places):
        return places
    return places[[np.linalg.norm(places - np.median(places, axis=0), axis=1).argmin()]]


def _draw_lines(axes: Axes, overlay: TrajectoryLines, xy: np.ndarray) -> None:
    """Lines on the layout of the cells ``xy``, with a light rim and names; dotted where they cross a gap of it."""
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
            list(segments[chosen]), linewidths=widths[chosen], linestyles=style, colors=LINE, zorder=4
        )
        drawn.set_capstyle("round")
        rim = Stroke(linewidth=float(widths[chosen].max()) + 1.4, foreground="white", alpha=0.55)
        if style == "-" and np.ptp(widths[chosen]) == 0:
            drawn.set_path_effects([rim, Normal()])
        axes.add_collection(drawn, autolim=False)
    axes.add_line(Line2D([], [], color=LINE, linewidth=2, label=overlay.meaning))
    for row in overlay.names.head(MOST_NAMES).itertuples():
        axes.text(
            row.UMAP1, row.UMAP2, row.name, fontsize="small", weight="bold", ha="center", va="center", zorder=7,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _over_gaps(segments: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Which ``(n_segments, 2, 2)`` have no cell near for a third of their length or more."""
    from scipy.spatial import KDTree

    along = np.linspace(0, 1, PLACES_A_STEP)[:, None, None]
    places = segments[:, 0] * (1 - along) + segments[:, 1] * along
    distances = KDTree(xy).query(places.reshape(-1, 2))[0].reshape(PLACES_A_STEP, -1)
    return (distances > GAP * np.ptp(xy, axis=0).max()).mean(axis=0) >= 1 / 3


def place_on_layout(
    points: np.ndarray, latent: np.ndarray, layout: pd.DataFrame, *, n_neighbors: int = N_NEIGHBORS
) -> pd.DataFrame:
    """Where ``(n_points, n_dims)`` points of the latent lie on a layout: the weighted mean of their nearest cells.

    A cell weighs by a normal kernel whose width is the distance to the middle one of them. Where the layout tears
    apart what is together, a point may lie between its cells. ``n_points`` × the layout's columns.
    """
    from scipy.spatial import KDTree

    k = min(n_neighbors, len(latent))
    distances, nearest = KDTree(np.asarray(latent, float)).query(np.asarray(points, float), k=k)
    distances, nearest = distances.reshape(len(points), k), nearest.reshape(len(points), k)
    width = np.maximum(distances[:, [k // 2]], 1e-12)
    weights = np.exp(-0.5 * ((distances - distances[:, :1]) / width) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    places = np.einsum("pk,pkd->pd", weights, layout.to_numpy(np.float64)[nearest])
    return pd.DataFrame(places, columns=layout.columns)


def curve_lines(curves: pd.DataFrame, latent: pd.DataFrame, layout: pd.DataFrame) -> TrajectoryLines:
    """Slingshot's curves: a line a lineage, its name at the end.

    ``curves`` has one row a point: ``lineage``, ``point`` (its order) and the latent's columns.
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

    ``nodes`` are named and hold the latent's columns, ``edges`` two nodes a row in the first two columns.
    """
    pairs = edges.iloc[:, :2].astype(str)
    placed = _place_nodes(nodes[list(latent.columns)], pairs, latent.to_numpy(np.float64), layout)
    degree = pd.Series(pairs.to_numpy().ravel()).value_counts()
    tips = placed[placed.index.map(degree).fillna(0) == 1]
    names = tips.assign(name=[f"tip {i + 1}" for i in range(len(tips))])
    ends = [placed.loc[pairs.iloc[:, side]].to_numpy(np.float64) for side in (0, 1)]
    leaps = np.linalg.norm(ends[0] - ends[1], axis=1) > LEAP * np.ptp(layout.to_numpy(float), axis=0).max()
    lines = _edge_lines(pairs, placed, np.where(leaps, 0.4, 1.6))
    return TrajectoryLines(lines, names, "principal graph, thin: leaps between places")


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


def paga_lines(paga: pd.DataFrame, clusters: pd.Series, layout: pd.DataFrame) -> TrajectoryLines:
    """PAGA's edges between clusters, as wide as they are strong; those of its tree, and others of a tenth or more.

    A cluster is drawn at the medians of its cells; ``paga`` is the table of :func:`.diffusion.connect_clusters`.
    """
    groups = pd.Series(as_categories(clusters), index=clusters.index).reindex(layout.index)
    placed = layout.groupby(groups, observed=True).median()
    placed.index = placed.index.astype(str)
    kept = paga[paga["in_tree"] | (paga["connectivity"] >= DRAWN_PAGA)]
    low, high = WIDTHS
    strength = kept["connectivity"].to_numpy(float)
    width = low + (high - low) * strength / (strength.max() if len(strength) else 1.0)
    lines = _edge_lines(kept[["cluster_1", "cluster_2"]].astype(str), placed, width)
    return TrajectoryLines(lines, placed.assign(name=placed.index), "PAGA, wide: strong")


def _edge_lines(pairs: pd.DataFrame, placed: pd.DataFrame, width: np.ndarray) -> pd.DataFrame:
    ends = [
        placed.reindex(pairs.iloc[:, side]).reset_index(drop=True).assign(line=range(len(pairs)), width=width)
        for side in (0, 1)
    ]
    both = pd.concat(ends).sort_index(kind="stable").reset_index(drop=True)
    return both.assign(line=both["line"].astype(str))[["line", *placed.columns, "width"]]
