"""The nearest place of cells on the edges of a graph."""

from __future__ import annotations

import numpy as np

POINTS_AT_ONCE = 2000


def project_onto_edges(
    nodes: np.ndarray, edges: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest edge of each point, and where on it: 0 at its first node, 1 at its second.

    Parameters
    ----------
    nodes
        ``(n_nodes, n_dims)``.
    edges
        ``(n_edges, 2)`` positions of nodes, at least one edge.
    points
        ``(n_points, n_dims)``.

    Returns
    -------
    Both ``(n_points,)``; of edges that are equally near, the first.
    """
    middle = nodes.mean(axis=0)  # squares are expanded below, which is exact only near the origin
    origins = nodes[edges[:, 0]] - middle
    directions = nodes[edges[:, 1]] - nodes[edges[:, 0]]
    squares = np.maximum(np.einsum("ed,ed->e", directions, directions), np.finfo(np.float64).tiny)
    offsets = np.einsum("ed,ed->e", origins, directions)
    edge, along = np.empty(len(points), dtype=np.intp), np.empty(len(points))
    for begin in range(0, len(points), POINTS_AT_ONCE):
        some = points[begin : begin + POINTS_AT_ONCE] - middle
        towards = some @ directions.T - offsets
        place = np.clip(towards / squares, 0, 1)
        # |x - o - t d|² without the (points × edges × dims) array
        to_origin = (some**2).sum(axis=1)[:, None] - 2 * some @ origins.T + (origins**2).sum(axis=1)
        distance = to_origin - 2 * place * towards + place**2 * squares
        chosen = distance.argmin(axis=1)
        edge[begin : begin + len(some)] = chosen
        along[begin : begin + len(some)] = place[np.arange(len(some)), chosen]
    return edge, along
