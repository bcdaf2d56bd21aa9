"""What trajectories have learnt, as lines on a layout of two or three dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

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
