"""Pseudotime along a principal graph: how far a cell's place on it is from the root."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from scvi_downstream.pipelines.trajectory.principal_graph import PrincipalGraph, adjacency, project_onto_edges

PRIOR_CELLS = 5.0
"""Cells without a start that each node is given, so that a node of a single start cell is not the root."""
SHORT = 0.1
"""Share of the longest way from the root that a way on its other side needs, to be a path of its own."""


@dataclass(frozen=True, eq=False)
class GraphOrder:
    """Cells on a principal graph.

    Attributes
    ----------
    pseudotime
        ``(n_cells,)`` distance along the graph from the root, in units of the space.
    edge
        ``(n_cells,)`` edge that each cell is projected onto.
    branch
        ``(n_cells,)`` path between tips and branch points that the edge lies on, of those that hold cells; 0 is
        nearest to the root.
    root
        Node at which pseudotime is 0.
    node_pseudotime
        ``(n_nodes,)``.
    """

    pseudotime: np.ndarray
    edge: np.ndarray
    branch: np.ndarray
    root: int
    node_pseudotime: np.ndarray


def order_along_graph(graph: PrincipalGraph, latent: np.ndarray, starts: np.ndarray) -> GraphOrder:
    """Project cells onto the nearest edge and measure the way from the root.

    The root is where start cells are most frequent, see :func:`root_node`.

    Parameters
    ----------
    graph
        Learnt on these cells.
    latent
        ``(n_cells, n_dims)``.
    starts
        Positions of the start cells, at least one.

    References
    ----------
    Cao et al. (2019), doi:10.1038/s41586-019-0969-x.
    """
    edge, along = project_onto_edges(graph.nodes, graph.edges, latent)
    first, second = graph.edges[edge].T
    nearest = np.where(along < 0.5, first, second)
    root = root_node(graph, nearest, starts)
    from_root = distances_from(graph, root)
    # Along an edge the distance from the root of a tree grows from one end to the other.
    pseudotime = from_root[first] + along * (from_root[second] - from_root[first])
    held = np.unique(branches_of(graph, from_root)[edge], return_inverse=True)[1]
    return GraphOrder(pseudotime - pseudotime.min(), edge, held, root, from_root)


def distances_from(graph: PrincipalGraph, node: int) -> np.ndarray:
    """``(n_nodes,)`` length of the way along the graph from one node to each."""
    first, second = graph.edges.T
    lengths = np.linalg.norm(graph.nodes[first] - graph.nodes[second], axis=1)
    positive = np.maximum(lengths, np.finfo(np.float64).tiny)
    network = sparse.csr_matrix((positive, (first, second)), shape=(len(graph.nodes), len(graph.nodes)))
    return dijkstra(network, directed=False, indices=node)


def root_node(graph: PrincipalGraph, nearest: np.ndarray, starts: np.ndarray) -> int:
    """The node with the largest share of start cells around it, or the tip behind it.

    The tip of its branch takes the node's place when start cells reach up to the tip, which is when they are at least
    half as frequent on the way to it as around the node, or when the way is no longer than a tenth of the graph: so
    little is the spread of the start cells about their place and not a path of its own.

    Parameters
    ----------
    graph
        The tree.
    nearest
        ``(n_cells,)`` nearest node of each cell.
    starts
        Positions of the start cells.
    """
    n_nodes = len(graph.nodes)
    held = np.bincount(nearest[starts], minlength=n_nodes).astype(np.float64)
    sizes = np.bincount(nearest, minlength=n_nodes).astype(np.float64)
    around_held, around = held.copy(), sizes.copy()
    for first, second in (graph.edges.T, graph.edges.T[::-1]):
        np.add.at(around_held, first, held[second])
        np.add.at(around, first, sizes[second])
    root = int((around_held / (around + PRIOR_CELLS)).argmax())
    share = around_held[root] / around[root]
    from_root = distances_from(graph, root)
    tips = [
        tail[-1]
        for tail in _tails(graph, root)
        if from_root[tail[-1]] <= SHORT * from_root.max() or held[tail].sum() >= share / 2 * sizes[tail].sum()
    ]
    return min(tips, key=lambda tip: (from_root[tip], tip), default=root)


def _tails(graph: PrincipalGraph, root: int) -> list[list[int]]:
    """Nodes from beside the root to a tip, for each tip that no branch point separates from it."""
    adjacent = adjacency(len(graph.nodes), graph.edges)
    if len(adjacent[root]) != 2:
        return []
    tails = []
    for beside in sorted(adjacent[root]):
        tail, previous = [beside], root
        while len(onward := adjacent[tail[-1]] - {previous}) == 1:
            previous = tail[-1]
            tail.append(next(iter(onward)))
        if not onward:
            tails.append(tail)
    return tails


def branches_of(graph: PrincipalGraph, from_root: np.ndarray) -> np.ndarray:
    """Branch of each edge: edges that meet at a node of degree two are of one; numbered from the root on.

    Parameters
    ----------
    graph
        The tree.
    from_root
        ``(n_nodes,)`` distance of each node from the root.
    """
    degrees = graph.degrees
    at_node: dict[int, list[int]] = {}
    for position, pair in enumerate(graph.edges.tolist()):
        for node in pair:
            at_node.setdefault(node, []).append(position)
    joined = [edges for node, edges in at_node.items() if degrees[node] == 2]
    n_edges = len(graph.edges)
    pairs = np.array(joined, dtype=np.intp).reshape(-1, 2)
    links = sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_edges, n_edges))
    _, codes = connected_components(links, directed=False)
    nearest = pd.Series(from_root[graph.edges].min(axis=1)).groupby(codes).min()
    order = nearest.sort_values(kind="stable").index.to_numpy()
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    return rank[codes]


def graph_table(order: GraphOrder, reachable: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """``graph_pseudotime`` and ``graph_branch`` by cell; missing where the start does not reach.

    Parameters
    ----------
    order
        Of the reachable cells.
    reachable
        ``(n_cells,)`` mask of these among all cells.
    cells
        Names of all cells.
    """
    pseudotime = np.full(len(cells), np.nan)
    branch = np.full(len(cells), -1)
    pseudotime[reachable] = order.pseudotime
    branch[reachable] = order.branch
    names = [f"branch_{i + 1}" for i in range(int(order.branch.max()) + 1)]
    return pd.DataFrame(
        {"graph_pseudotime": pseudotime, "graph_branch": pd.Categorical.from_codes(branch, categories=names)},
        index=pd.Index(cells, name="cell"),
    )


MOST_TORN = 0.06
"""Share from which a tree is not a faithful picture: more than planted trees give."""
FAR = 0.1
"""Share of the graph's longest way beyond which two neighbours are torn apart."""


def torn_share(
    graph: PrincipalGraph, latent: np.ndarray, indices: np.ndarray, reachable: np.ndarray
) -> float:
    """Share of neighbouring cells that the graph puts far from each other.

    A tree must cut a cycle, and a path that visits one population after another leaves the way that cells take: then
    neighbours lie on distant parts of the graph. Planted trees give up to 0.05, a planted cycle 0.06 to 0.08, cells
    without any structure 0.35.

    Parameters
    ----------
    graph
        Learnt on the reachable cells.
    latent
        ``(n_cells, n_dims)``.
    indices
        ``(n_cells, k)`` nearest neighbours of each cell, itself first.
    reachable
        ``(n_cells,)`` mask; pairs of these are counted.
    """
    edge, along = project_onto_edges(graph.nodes, graph.edges, latent)
    nearest = np.where(along < 0.5, graph.edges[edge, 0], graph.edges[edge, 1])
    ways = np.array([distances_from(graph, node) for node in range(len(graph.nodes))])
    counted = reachable[:, None] & reachable[indices[:, 1:]]
    if not counted.any():
        return 0.0
    apart = ways[nearest[:, None], nearest[indices[:, 1:]]]
    return float((apart[counted] > FAR * ways.max()).mean())
