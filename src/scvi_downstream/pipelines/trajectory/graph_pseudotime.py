"""Pseudotime along a principal graph: how far a cell's place on it is from the root."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from .principal_graph import PrincipalGraph

CELLS_AT_ONCE = 2000
PRIOR_CELLS = 5.0
"""Cells without a start that each node is given, so that a node of a single start cell is not the root."""


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
        ``(n_cells,)`` path between tips and branch points that the edge lies on; 0 is nearest to the root.
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

    The root is the node in whose surroundings start cells are most frequent.

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
    edge, along = project_onto_edges(graph, latent)
    first, second = graph.edges[edge].T
    nearest = np.where(along < 0.5, first, second)
    root = root_node(graph, nearest, starts)
    lengths = np.linalg.norm(graph.nodes[graph.edges[:, 0]] - graph.nodes[graph.edges[:, 1]], axis=1)
    positive = np.maximum(lengths, np.finfo(np.float64).tiny)
    shape = (len(graph.nodes), len(graph.nodes))
    network = sparse.csr_matrix((positive, (graph.edges[:, 0], graph.edges[:, 1])), shape=shape)
    from_root = dijkstra(network, directed=False, indices=root)
    # Along an edge the distance from the root of a tree grows from one end to the other.
    pseudotime = from_root[first] + along * (from_root[second] - from_root[first])
    branches = branches_of(graph, from_root)
    return GraphOrder(pseudotime - pseudotime.min(), edge, branches[edge], root, from_root)


def project_onto_edges(graph: PrincipalGraph, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest edge of each point, and where on it: 0 at its first node, 1 at its second.

    Parameters
    ----------
    graph
        A tree with one edge at least.
    points
        ``(n_points, n_dims)``.
    """
    origins = graph.nodes[graph.edges[:, 0]]
    directions = graph.nodes[graph.edges[:, 1]] - origins
    squares = np.maximum(np.einsum("ed,ed->e", directions, directions), np.finfo(np.float64).tiny)
    edge = np.empty(len(points), dtype=np.intp)
    along = np.empty(len(points))
    offsets = np.einsum("ed,ed->e", origins, directions)
    for begin in range(0, len(points), CELLS_AT_ONCE):
        some = points[begin : begin + CELLS_AT_ONCE]
        place = np.clip((some @ directions.T - offsets) / squares, 0, 1)
        # |x - o - t d|² without the (points × edges × dims) array
        to_origin = (some**2).sum(axis=1)[:, None] - 2 * some @ origins.T + (origins**2).sum(axis=1)
        towards = some @ directions.T - offsets
        distance = to_origin - 2 * place * towards + place**2 * squares
        chosen = distance.argmin(axis=1)
        edge[begin : begin + len(some)] = chosen
        along[begin : begin + len(some)] = place[np.arange(len(some)), chosen]
    return edge, along


def root_node(graph: PrincipalGraph, nearest: np.ndarray, starts: np.ndarray) -> int:
    """The node with the largest share of start cells around it.

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
    return int((around_held / (around + PRIOR_CELLS)).argmax())


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
    from scipy.sparse.csgraph import connected_components

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
