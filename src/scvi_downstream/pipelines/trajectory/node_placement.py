"""Nodes of a tree of known edges: moved to where cells are, its tips as far as cells reach."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from .edge_projection import project_onto_edges

STEPS = 30
MIN_CELLS_BEYOND = 5
REACHED_SHARE = 0.95


def place_nodes(
    nodes: np.ndarray, edges: np.ndarray, cells: np.ndarray, *, scale: float, pull: float
) -> np.ndarray:
    """Nodes of SimplePPT for given edges.

    Learning edges takes a coarse scale, at which tips shrink towards the middle: each node is a mean over cells far
    around it. With the edges given, a finer one moves nodes outwards and cannot make new branches.

    Parameters
    ----------
    nodes
        ``(n_nodes, n_dims)`` to begin with.
    edges
        ``(n_edges, 2)``.
    cells
        ``(n_cells, n_dims)``.
    scale
        Distance at which a node's share of a cell falls by a factor of e.
    pull
        Weight of an edge, in cells.

    References
    ----------
    Mao et al. (2015), doi:10.1137/1.9781611974010.89, equations for the nodes and the shares.
    """
    laplacian = np.zeros((len(nodes), len(nodes)))
    np.add.at(laplacian, (edges[:, 0], edges[:, 1]), -pull)
    laplacian += laplacian.T
    np.fill_diagonal(laplacian, -laplacian.sum(axis=1))
    for _ in range(STEPS):
        distances = cdist(cells, nodes)
        shares = np.exp((distances.min(axis=1, keepdims=True) - distances) / scale)
        shares /= shares.sum(axis=1, keepdims=True)
        nodes = np.linalg.solve(laplacian + np.diag(shares.sum(axis=0)), shares.T @ cells)
    return nodes


def extend_tips(nodes: np.ndarray, edges: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give tips beyond which cells lie one more node, so that these cells are in order and not all at the tip.

    The node is in the direction of their mean, as far as 95 % of them reach.

    Parameters
    ----------
    nodes
        ``(n_nodes, n_dims)``.
    edges
        ``(n_edges, 2)``.
    cells
        ``(n_cells, n_dims)``.

    Returns
    -------
    All nodes, the new ones last, and all edges.
    """
    edge, along = project_onto_edges(nodes, edges, cells)
    at_node = np.where(along <= 0, edges[edge, 0], np.where(along >= 1, edges[edge, 1], -1))
    added: list[np.ndarray] = []
    links: list[tuple[int, int]] = []
    for tip in np.flatnonzero(np.bincount(edges.ravel(), minlength=len(nodes)) == 1):
        beyond = cells[at_node == tip] - nodes[tip]
        mean = beyond.mean(axis=0) if len(beyond) >= MIN_CELLS_BEYOND else np.zeros(cells.shape[1])
        length = np.linalg.norm(mean)
        if length == 0:
            continue
        reach = np.quantile(beyond @ (mean / length), REACHED_SHARE)
        links.append((int(tip), len(nodes) + len(added)))
        added.append(nodes[tip] + mean / length * reach)
    if not added:
        return nodes, edges
    return np.vstack([nodes, *added]), np.vstack([edges, np.array(links, dtype=np.intp)])
