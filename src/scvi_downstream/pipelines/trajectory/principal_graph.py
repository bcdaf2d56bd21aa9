"""A principal graph: a tree of points through the middle of the cells."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet

logger = logging.getLogger(__name__)


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


MIN_CELLS = 30
NODES_LIMIT = 100
MOST_CELLS = 10_000
"""Beyond it the tree is learnt on a random sample; all cells are projected onto it."""
SMOOTHING = 0.5
SOFTNESS = 0.5
"""The finest scale at which trees of disjoint halves of real cells gave one order; at 0.35 they did not."""
FINER = 0.5
"""Nodes are placed at this share of the scale that edges are learnt at."""
ITERATIONS = 50


@dataclass(frozen=True, eq=False)
class PrincipalGraph:
    """A tree in the space of the cells.

    Attributes
    ----------
    nodes
        ``(n_nodes, n_dims)``.
    edges
        ``(n_nodes - 1, 2)`` positions of nodes.
    n_pruned
        Nodes of branches that were too short to keep.
    n_learnt_on
        Cells that the tree was learnt on.
    """

    nodes: np.ndarray
    edges: np.ndarray
    n_pruned: int
    n_learnt_on: int

    @property
    def degrees(self) -> np.ndarray:
        """``(n_nodes,)`` number of edges; 1 at tips, 3 and more at branch points."""
        return np.bincount(self.edges.ravel(), minlength=len(self.nodes))


def nodes_for(n_cells: int) -> int:
    """Number of nodes that Monocle 2 takes for ``n_cells``, which levels off towards 200; a third of small data."""
    wanted = 2 * NODES_LIMIT * np.log(n_cells) / (np.log(n_cells) + np.log(NODES_LIMIT))
    return int(min(round(wanted), n_cells // 3))


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
    n_nodes
        Number of nodes; ``None``: see :func:`nodes_for`.
    min_branch_length
        Branches of fewer nodes than this are taken off, as in Monocle 3. At most an eighth of the nodes, so that small
        data keep branches.
    seed
        Of the sample and of the k-means centres from which nodes start.

    Raises
    ------
    InputError
        There are too few cells for a graph, coordinates are not finite, or all cells are in one place.

    References
    ----------
    Mao et al. (2015), doi:10.1137/1.9781611974010.89 (SimplePPT); Cao et al. (2019), doi:10.1038/s41586-019-0969-x.
    """
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
    logger.info("Learning a principal graph of %d nodes on %d cells", wanted, len(sample))
    centres = _centres(sample, wanted, seed)
    scale = SOFTNESS * float(np.median(cdist(sample, centres).min(axis=1)))
    if scale == 0 or len(centres) < 2:
        raise InputError(
            f"at least half of the {len(sample)} cells are in {len(centres)} places of the embedding, so no graph can "
            "be learnt; use another model"
        )
    pull = SMOOTHING * len(sample) / wanted
    learnt = _fit(sample, centres, scale, pull)
    nodes, edges = prune(*learnt, min(min_branch_length, max(wanted // 8, 2)))
    n_pruned = len(learnt[0]) - len(nodes)
    nodes = place_nodes(nodes, edges, sample, scale=FINER * scale, pull=pull)
    return PrincipalGraph(*extend_tips(nodes, edges, latent), n_pruned, len(sample))


def _centres(sample: np.ndarray, n_nodes: int, seed: int) -> np.ndarray:
    """Distinct k-means centres, fewer than wanted where cells are in fewer places."""
    from sklearn.cluster import KMeans

    with quiet():
        return np.unique(KMeans(n_nodes, n_init=1, random_state=seed).fit(sample).cluster_centers_, axis=0)


def _fit(sample: np.ndarray, centres: np.ndarray, scale: float, pull: float) -> tuple[np.ndarray, np.ndarray]:
    import simpleppt

    simpleppt.settings.verbosity = 0
    with quiet():
        tree = simpleppt.ppt(sample, init=centres, sigma=scale, lam=pull, nsteps=ITERATIONS, progress=False)
    # A distance of 0 would not count as an edge.
    nodes = np.unique(np.asarray(tree.F.T, dtype=np.float64), axis=0)
    spanning = minimum_spanning_tree(sparse.csr_matrix(cdist(nodes, nodes))).tocoo()
    return nodes, np.column_stack([spanning.row, spanning.col]).astype(np.intp)


def prune(nodes: np.ndarray, edges: np.ndarray, min_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Take off branches of fewer than ``min_length`` nodes, the shortest first, until none is left.

    A branch is a path from a tip to the next branch point. A tree without branch points stays as it is.

    Parameters
    ----------
    nodes
        ``(n_nodes, n_dims)``.
    edges
        ``(n_nodes - 1, 2)``.
    min_length
        Fewest nodes of a branch that stays.
    """
    adjacent = adjacency(len(nodes), edges)
    alive = set(range(len(nodes)))
    while True:
        branches = [
            path for tip in alive if len(adjacent[tip]) == 1 and (path := _to_branch_point(tip, adjacent))
        ]
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


def adjacency(n_nodes: int, edges: np.ndarray) -> list[set[int]]:
    """Neighbours of each node."""
    adjacent: list[set[int]] = [set() for _ in range(n_nodes)]
    for first, second in edges.tolist():
        adjacent[first].add(second)
        adjacent[second].add(first)
    return adjacent


def _to_branch_point(tip: int, adjacent: list[set[int]]) -> list[int]:
    """Nodes from a tip up to the next branch point, without it; empty where there is none."""
    path, previous = [tip], -1
    while True:
        onward = adjacent[path[-1]] - {previous}
        if not onward:
            return []
        following = next(iter(onward))
        if len(adjacent[following]) > 2:
            return path
        previous = path[-1]
        path.append(following)
