"""A principal graph, a tree of points through the middle of the cells, and pseudotime along it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial.distance import cdist

from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.trajectory.options import PrincipalGraphOptions, TrajectoryOptions
from scvi_downstream.pipelines.trajectory.principal_curves import project_onto_edges
from scvi_downstream.pipelines.trajectory.start import Reach, reach_of_start
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import one_thread, quiet
from scvi_downstream.runtime.words import count

# Cells of a graph: with three cells a node, fewer would not make up the shortest branch that is usually kept.
MIN_CELLS = 30
NODES_LIMIT = 100  # Half of the number of nodes that Monocle 2 never exceeds.
MOST_CELLS = 10_000  # Beyond it the tree is learnt on a random sample; all cells are projected onto it.
SMOOTHING = 0.5  # Pull of an edge, as a share of the cells of an average node.
# The finest scale at which trees of disjoint halves of real cells gave one order; at 0.35 they did not.
SOFTNESS = 0.5
FINER = 0.5  # Nodes are placed at this share of the scale that edges are learnt at.
# Iterations of SimplePPT, and the shares of their distance from the origin below whose moves nodes rest: simpleppt's.
ITERATIONS, AT_REST = 50, 5e-3
PLACING_STEPS = 30  # Of moving nodes with their edges as they are.
MIN_CELLS_BEYOND = 5  # A tip with fewer cells beyond it is not extended: their mean is no direction.
REACHED_SHARE = 0.95  # Share of the cells beyond a tip that it is extended to; the farthest few are outliers.
# Cells without a start that each node is given, so that a node of a single start cell is not the root.
PRIOR_CELLS = 5.0
# Share of the longest way from the root that a way on its other side needs, to be a path of its own.
SHORT = 0.1
MOST_TORN = 0.06  # Share from which a tree is not a faithful picture: more than planted trees give.
FAR = 0.1  # Share of the graph's longest way beyond which two neighbours are torn apart.


@one_thread()
def learn_graph(
    latent: pd.DataFrame,
    neighbors: NeighborsGraph,
    landmarks: pd.DataFrame,
    trajectory_start: dict[str, Any],
    options: TrajectoryOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """A principal graph of the cells that the start reaches, and pseudotime along it.

    Returns
    -------
    ``graph_pseudotime`` and ``graph_branch`` by cell; nodes (index ``node``, the latent's columns and ``pseudotime``);
    edges (``first``, ``second``); tips, branch points and sentences.
    """
    values = latent.to_numpy(np.float64)
    reach = reach_of_start(neighbors, landmarks, trajectory_start)
    graph, order = order_reached(values, reach, options.principal_graph, seed)
    torn = torn_share(graph, values, neighbors.indices[:, : neighbors.n_neighbors], reach.reachable)
    nodes = pd.DataFrame(graph.nodes, columns=latent.columns).assign(pseudotime=order.node_pseudotime)
    edges = pd.DataFrame(graph.edges, columns=["first", "second"])
    table = graph_table(order, reach.reachable, neighbors.cells)
    return table, nodes.rename_axis("node"), edges, _facts(graph, order.root, torn)


def order_reached(
    latent: np.ndarray, reach: Reach, options: PrincipalGraphOptions, seed: int
) -> tuple[PrincipalGraph, GraphOrder]:
    """The graph of the cells that the start reaches, and these cells on it; ``latent`` is of all cells."""
    cells = np.flatnonzero(reach.reachable)
    graph = learn_principal_graph(latent[cells], seed=seed, **dict(options))
    return graph, order_along_graph(graph, latent[cells], np.flatnonzero(np.isin(cells, reach.starts)))


def _facts(graph: PrincipalGraph, root: int, torn: float) -> dict[str, Any]:
    tips, forks = int((graph.degrees == 1).sum()), int((graph.degrees > 2).sum())
    root_is_tip = bool(graph.degrees[root] == 1)
    sentence = f"the principal graph has {tips} tips and {count(forks, 'branch point')}"
    if not root_is_tip:
        sentence += "; its root is not a tip, so pseudotime grows away from it on both sides"
    sentences = [sentence]
    if torn > MOST_TORN:
        sentences.append(
            f"the principal graph puts {torn:.0%} of neighbouring cells far from each other (planted trees: 5 % at "
            "most), so it leaves the way that cells take: its branches are not lineages"
        )
    return {
        "n_nodes": len(graph.nodes),
        "n_tips": tips,
        "n_branch_points": forks,
        "n_pruned": graph.n_pruned,
        "n_learnt_on": graph.n_learnt_on,
        "root": root,
        "root_is_tip": root_is_tip,
        "torn_share": torn,
        "sentences": sentences,
    }


@dataclass(frozen=True, eq=False)
class PrincipalGraph:
    """A tree in the space of the cells: ``(n_nodes, n_dims)`` nodes, ``(n_nodes - 1, 2)`` edges as positions of nodes.

    ``n_pruned`` nodes were of branches that were too short to keep; the tree was learnt on ``n_learnt_on`` cells.
    """

    nodes: np.ndarray
    edges: np.ndarray
    n_pruned: int
    n_learnt_on: int

    @property
    def degrees(self) -> np.ndarray:
        """``(n_nodes,)`` number of edges; 1 at tips, 3 and more at branch points."""
        return np.bincount(self.edges.ravel(), minlength=len(self.nodes))


@dataclass(frozen=True, eq=False)
class GraphOrder:
    """Cells on a principal graph.

    ``pseudotime`` is the ``(n_cells,)`` distance along the graph from the node ``root``, in units of the space,
    and ``node_pseudotime`` that of the nodes. ``branch`` is the path between tips and branch points that a cell is
    projected onto, of those that hold cells; 0 is nearest to the root.
    """

    pseudotime: np.ndarray
    branch: np.ndarray
    root: int
    node_pseudotime: np.ndarray


def learn_principal_graph(
    latent: np.ndarray, *, n_nodes: int | None = None, min_branch_length: int = 10, seed: int = 0
) -> PrincipalGraph:
    """Learn a tree through the cells by SimplePPT, which Monocle 3 builds on, and prune its short branches.

    The two scales of the method follow the data, so that the result does not depend on the units of the space: cells
    are shared among nodes in steps of half the median distance to the nearest node, and each edge of the tree pulls as
    much as half the cells of an average node. At this scale edges come back from other seeds and samples, but tips
    shrink towards the middle. Nodes are therefore placed anew at half the scale with the edges as they are, and tips
    extended to the cells beyond them.

    Beyond :data:`MOST_CELLS` the tree is learnt on a random sample of them; only its tips see all cells.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)`` of one connected population.
    n_nodes, seed
        Number of nodes, ``None``: see :func:`nodes_for`; seed of the sample and of the k-means centres where nodes
        start.
    min_branch_length
        Branches of fewer nodes than this are taken off, as in Monocle 3. At most an eighth of the nodes, so that small
        data keep branches.

    Raises
    ------
    InputError
        There are too few cells for a graph, coordinates are not finite, or all cells are in one place.

    References
    ----------
    Mao et al. (2015), doi:10.1137/1.9781611974010.89 (SimplePPT); Cao et al. (2019), doi:10.1038/s41586-019-0969-x.
    """
    from sklearn.cluster import KMeans

    if len(latent) < MIN_CELLS:
        raise InputError(
            f"a principal graph needs at least {MIN_CELLS} cells that are connected to the start, and there are "
            f"{len(latent)}; choose another start"
        )
    if not np.isfinite(latent).all():
        raise InputError(
            "the embedding holds NaN or infinite values, so no graph can be learnt; use another model"
        )
    sample = latent
    if len(latent) > MOST_CELLS:
        chosen = np.random.default_rng(seed).choice(len(latent), MOST_CELLS, replace=False)
        sample = latent[np.sort(chosen)]
    wanted = min(n_nodes or nodes_for(len(latent)), len(sample) // 2)
    with quiet():
        centres = KMeans(wanted, n_init=1, random_state=seed).fit(sample).cluster_centers_
    centres = np.unique(centres, axis=0)  # fewer where cells are in fewer places
    scale = SOFTNESS * float(np.median(cdist(sample, centres).min(axis=1)))
    if scale == 0 or len(centres) < 2:
        raise InputError(
            f"at least half of the {len(sample)} cells are in {len(centres)} places of the embedding, so no graph can "
            "be learnt; use another model"
        )
    pull = SMOOTHING * len(sample) / wanted
    learnt = fit_tree(sample, centres, scale=scale, pull=pull)
    nodes, edges = prune(*learnt, min(min_branch_length, max(wanted // 8, 2)))
    n_pruned = len(learnt[0]) - len(nodes)
    nodes = place_nodes(nodes, edges, sample, scale=FINER * scale, pull=pull)
    return PrincipalGraph(*extend_tips(nodes, edges, latent), n_pruned, len(sample))


def fit_tree(
    cells: np.ndarray, nodes: np.ndarray, *, scale: float, pull: float
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and edges of SimplePPT: the spanning tree of the nodes and their places in turn, until these rest.

    ``nodes`` are ``(n_nodes, n_dims)`` to begin with, ``scale`` and ``pull`` those of :func:`place_nodes`; nodes that
    come to the same place are one. Mao et al. (2015), doi:10.1137/1.9781611974010.89; stopped as in simpleppt.
    """
    for _ in range(ITERATIONS):
        before, nodes = nodes, _placed(nodes, _spanning_edges(nodes), cells, scale, pull)
        if (np.abs((nodes - before).sum(axis=1)) < AT_REST * np.linalg.norm(nodes, axis=1)).all():
            break
    nodes = np.unique(nodes, axis=0)  # a distance of 0 would not count as an edge
    return nodes, _spanning_edges(nodes)


def _spanning_edges(nodes: np.ndarray) -> np.ndarray:
    from scvi_downstream.pipelines.trajectory.compiled_steps import join_nearest

    joined_to = np.empty(len(nodes), dtype=np.intp)
    join_nearest(cdist(nodes, nodes), joined_to)
    edges = np.sort(np.column_stack([joined_to[1:], np.arange(1, len(nodes))]), axis=1)
    return edges[np.lexsort(edges.T[::-1])]


def nodes_for(n_cells: int) -> int:
    """Number of nodes that Monocle 2 takes for ``n_cells``, which levels off towards 200; a third of small data."""
    wanted = 2 * NODES_LIMIT * np.log(n_cells) / (np.log(n_cells) + np.log(NODES_LIMIT))
    return int(min(round(wanted), n_cells // 3))


def prune(nodes: np.ndarray, edges: np.ndarray, min_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Take off branches of fewer than ``min_length`` nodes, the shortest first, until none is left.

    A branch is a path from a tip to the next branch point. A tree without branch points stays as it is. ``nodes``
    is ``(n_nodes, n_dims)``, ``edges`` ``(n_nodes - 1, 2)``.
    """
    adjacent = _adjacency(len(nodes), edges)
    alive = set(range(len(nodes)))
    while True:
        paths = [_walk(tip, -1, adjacent) for tip in alive if len(adjacent[tip]) == 1]
        branches = [path[:-1] for path in paths if len(adjacent[path[-1]]) > 2]
        short = [path for path in branches if len(path) < min_length]
        if not short:
            break
        for node in min(short, key=lambda path: (len(path), path)):
            for other in adjacent[node]:
                adjacent[other].discard(node)
            adjacent[node] = set()
            alive.discard(node)
    kept = np.array(sorted(alive), dtype=np.intp)
    renumbered = np.full(len(nodes), -1, dtype=np.intp)
    renumbered[kept] = np.arange(len(kept))
    remaining = renumbered[edges]
    return nodes[kept], remaining[(remaining >= 0).all(axis=1)]


def _adjacency(n_nodes: int, edges: np.ndarray) -> list[set[int]]:
    """Neighbours of each node."""
    adjacent: list[set[int]] = [set() for _ in range(n_nodes)]
    for first, second in edges.tolist():
        adjacent[first].add(second)
        adjacent[second].add(first)
    return adjacent


def _walk(node: int, before: int, adjacent: list[set[int]]) -> list[int]:
    """Nodes from one on, away from the one before it, up to the next tip or branch point, which is the last."""
    path, previous = [node], before
    while len(onward := adjacent[path[-1]] - {previous}) == 1:
        previous = path[-1]
        path.extend(onward)
    return path


def place_nodes(
    nodes: np.ndarray, edges: np.ndarray, cells: np.ndarray, *, scale: float, pull: float
) -> np.ndarray:
    """Nodes of SimplePPT for given edges, by the equations of Mao et al. (2015), doi:10.1137/1.9781611974010.89.

    Learning edges takes a coarse scale, at which tips shrink towards the middle: each node is a mean over cells
    far around it. With the edges given, a finer one moves nodes outwards and cannot make new branches. ``scale``
    is the distance at which a node's share of a cell falls by a factor of e, ``pull`` the weight of an edge in
    cells.
    """
    for _ in range(PLACING_STEPS):
        nodes = _placed(nodes, edges, cells, scale, pull)
    return nodes


def _placed(nodes: np.ndarray, edges: np.ndarray, cells: np.ndarray, scale: float, pull: float) -> np.ndarray:
    """One step of :func:`place_nodes`."""
    laplacian = np.zeros((len(nodes), len(nodes)))
    np.add.at(laplacian, (edges[:, 0], edges[:, 1]), -pull)
    laplacian += laplacian.T
    distances = cdist(cells, nodes)
    shares = np.exp((distances.min(axis=1, keepdims=True) - distances) / scale)
    shares /= shares.sum(axis=1, keepdims=True)
    np.fill_diagonal(laplacian, shares.sum(axis=0) - laplacian.sum(axis=1))
    return np.linalg.solve(laplacian, shares.T @ cells)


def extend_tips(nodes: np.ndarray, edges: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give tips beyond which cells lie one more node, so that these cells are in order and not all at the tip.

    The node is in the direction of their mean, as far as 95 % of them reach. All nodes, the new ones last, and all
    edges.
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


def order_along_graph(graph: PrincipalGraph, latent: np.ndarray, starts: np.ndarray) -> GraphOrder:
    """Project cells onto the nearest edge and measure the way from the root (Cao et al. 2019).

    The root is where start cells, ``starts`` by position, are most frequent, see :func:`root_node`.
    """
    edge, along = project_onto_edges(graph.nodes, graph.edges, latent)
    first, second = graph.edges[edge].T
    nearest = np.where(along < 0.5, first, second)
    root = root_node(graph, nearest, starts)
    from_root = distances_from(graph, root)
    # Along an edge the distance from the root of a tree grows from one end to the other.
    pseudotime = from_root[first] + along * (from_root[second] - from_root[first])
    held = np.unique(branches_of(graph, from_root)[edge], return_inverse=True)[1]
    return GraphOrder(pseudotime - pseudotime.min(), held, root, from_root)


def distances_from(graph: PrincipalGraph, node: int) -> np.ndarray:
    """``(n_nodes,)`` length of the way along the graph from one node to each."""
    first, second = graph.edges.T
    lengths = np.linalg.norm(graph.nodes[first] - graph.nodes[second], axis=1)
    positive = np.maximum(lengths, np.finfo(np.float64).tiny)
    network = sparse.csr_matrix((positive, (first, second)), shape=(len(graph.nodes), len(graph.nodes)))
    return dijkstra(network, directed=False, indices=node)


def root_node(graph: PrincipalGraph, nearest: np.ndarray, starts: np.ndarray) -> int:
    """The node with the largest share of start cells around it, or the tip behind it.

    The tip of its branch takes the node's place when start cells reach up to the tip, which is when they are at
    least half as frequent on the way to it as around the node, or when the way is no longer than a tenth of the
    graph: so little is the spread of the start cells about their place and not a path of its own. ``nearest`` is
    the ``(n_cells,)`` nearest node of each cell, ``starts`` are positions of the start cells.
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
    adjacent = _adjacency(len(graph.nodes), graph.edges)
    if len(adjacent[root]) != 2:
        return []
    tails = [_walk(beside, root, adjacent) for beside in sorted(adjacent[root])]
    return [tail for tail in tails if len(adjacent[tail[-1]]) == 1]


def branches_of(graph: PrincipalGraph, from_root: np.ndarray) -> np.ndarray:
    """Branch of each edge: paths between tips and branch points, numbered from the root on."""
    passed = np.flatnonzero(graph.degrees == 2)
    pairs = np.array([np.flatnonzero((graph.edges == node).any(axis=1)) for node in passed], dtype=np.intp)
    first, second = pairs.reshape(-1, 2).T
    n_edges = len(graph.edges)
    links = sparse.csr_matrix((np.ones(len(first)), (first, second)), shape=(n_edges, n_edges))
    _, codes = connected_components(links, directed=False)
    nearest = pd.Series(from_root[graph.edges].min(axis=1)).groupby(codes).min()
    return nearest.rank(method="first").to_numpy().astype(np.intp)[codes] - 1


def graph_table(order: GraphOrder, reachable: np.ndarray, cells: pd.Index) -> pd.DataFrame:
    """``graph_pseudotime`` and ``graph_branch`` by cell; missing where the start does not reach."""
    names = [f"branch_{i + 1}" for i in range(int(order.branch.max()) + 1)]
    branch = pd.Categorical.from_codes(order.branch, categories=names)
    reached = {"graph_pseudotime": order.pseudotime, "graph_branch": branch}
    return pd.DataFrame(reached, index=cells[reachable]).reindex(cells).rename_axis("cell")


def torn_share(
    graph: PrincipalGraph, latent: np.ndarray, indices: np.ndarray, reachable: np.ndarray
) -> float:
    """Share of neighbouring cells that the graph puts far from each other.

    A tree must cut a cycle, and a path that visits one population after another leaves the way that cells take:
    then neighbours lie on distant parts of the graph. Planted trees give up to 0.05, a planted cycle 0.06 to 0.08,
    cells without any structure 0.35. ``indices`` are the ``(n_cells, k)`` nearest neighbours of each cell, itself
    first; pairs of ``reachable`` cells are counted.
    """
    edge, along = project_onto_edges(graph.nodes, graph.edges, latent)
    nearest = np.where(along < 0.5, graph.edges[edge, 0], graph.edges[edge, 1])
    ways = np.array([distances_from(graph, node) for node in range(len(graph.nodes))])
    counted = reachable[:, None] & reachable[indices[:, 1:]]
    if not counted.any():
        return 0.0
    apart = ways[nearest[:, None], nearest[indices[:, 1:]]]
    return float((apart[counted] > FAR * ways.max()).mean())
