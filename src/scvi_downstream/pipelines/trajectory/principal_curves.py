"""Lines through the middle of cells: projected onto, made smooth, and drawn together where lineages share cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import eigh
from scipy.optimize import brentq

POINTS_AT_ONCE = 2000  # Points projected together onto a graph, so that points × edges stay in memory.
N_POINTS = 100  # Points of each curve: at five degrees of freedom it is straight from one to the next.
# By which a curve grows at both ends, in lengths of its end segments, before cells are projected onto it.
STRETCH = 2.0
# Knots of a smoothing spline; at five degrees of freedom more change nothing that can be seen.
MAX_KNOTS = 32
ROUNDING = 1e-10  # Lengths or distances that differ by less than this share of their scale count as equal.
# Points of the quadrature that is exact for cubic polynomials on [-1, 1], both of weight 1.
GAUSS = np.array([-1, 1]) / np.sqrt(3)
# Half the width of the cosine kernel with standard deviation 1.
KERNEL_REACH = 1 / np.sqrt(1 / 3 - 2 / np.pi**2)
# Standard deviations of the kernel that are stretched over half the shared cells, as in Slingshot in R.
KERNEL_SHOWN = 3.0


@dataclass(frozen=True, eq=False)
class Projection:
    """Cells at their nearest points of a curve.

    ``arc`` is the ``(n_cells,)`` length of the curve from its first point to the cell's, ``squared_distance`` that
    of the cell to its point of the curve.
    """

    arc: np.ndarray
    squared_distance: np.ndarray


def arc_lengths(points: np.ndarray) -> np.ndarray:
    """Length of a polyline up to each of its ``(n_points, n_dims)`` points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def project(cells: np.ndarray, points: np.ndarray) -> Projection:
    """Nearest points of ``(n_cells, n_dims)`` cells on a polyline of at least two ``(n_points, n_dims)`` points."""
    from scvi_downstream.pipelines.trajectory.compiled_steps import nearest_segments

    origin = points.mean(axis=0)  # squares are expanded, which is exact only near the origin
    cells, nodes, steps = cells - origin, points - origin, np.diff(points, axis=0)
    of_line = (steps**2).sum(axis=1), (nodes[:-1] * steps).sum(axis=1), (nodes**2).sum(axis=1)
    segment, (share, squared) = np.empty(len(cells), dtype=np.intp), np.empty((2, len(cells)))
    for begin in range(0, len(cells), POINTS_AT_ONCE):
        rows = slice(begin, begin + POINTS_AT_ONCE)
        nearest_segments(cells[rows] @ nodes.T, *of_line, segment[rows], share[rows], squared[rows])
    squared = np.maximum(squared + (cells**2).sum(axis=1), 0.0)
    arcs = arc_lengths(points)
    return Projection(arcs[segment] + share * np.diff(arcs)[segment], squared)


def resample(points: np.ndarray, low: float, high: float, n_points: int = N_POINTS) -> np.ndarray:
    """``n_points`` evenly spaced points of a polyline between two arc lengths."""
    return at_arcs(points, np.linspace(low, high, n_points))


def at_arcs(points: np.ndarray, arcs: np.ndarray) -> np.ndarray:
    """Points of a polyline at given arc lengths; beyond its ends, the ends."""
    own, steps = arc_lengths(points), np.diff(points, axis=0)
    segment = np.clip(np.searchsorted(own, arcs, side="right") - 1, 0, len(steps) - 1)
    lengths = np.diff(own)[segment]
    share = np.divide(arcs - own[segment], lengths, out=np.zeros(len(arcs)), where=lengths > 0)
    return points[segment] + np.clip(share, 0, 1)[:, None] * steps[segment]


def stretched(points: np.ndarray, by: float = STRETCH) -> np.ndarray:
    """The polyline with its first and last segment longer by ``by`` times their length.

    Cells beyond an end would all project to that end; so the curve can grow.
    """
    longer = points.copy()
    longer[0] += by * (points[0] - points[1])
    longer[-1] += by * (points[-1] - points[-2])
    return longer


def project_onto_edges(
    nodes: np.ndarray, edges: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest edge of each of ``n_points`` points, and where on it: 0 at its first node, 1 at its second.

    ``nodes`` is ``(n_nodes, n_dims)``, ``edges`` ``(n_edges, 2)`` positions of nodes; of edges that are equally
    near, the first.
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


def with_ties(values: np.ndarray, gap: float) -> np.ndarray:
    """Values of the same shape, in which those that only rounding tells apart are the same.

    Where sorted values follow each other by at most ``gap``, all take the smallest of them. Rounding them to multiples
    would not do: values that ought to be equal may lie on either side of the limit between two multiples.
    """
    order = np.argsort(values, axis=None, kind="stable")
    in_order = values.ravel()[order]
    first = np.diff(in_order, prepend=-np.inf) > gap
    same = np.empty(values.size)
    same[order] = in_order[first][np.cumsum(first) - 1]
    return same.reshape(values.shape)


def smoothing_spline(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, at: np.ndarray, df: float
) -> tuple[np.ndarray, float]:
    """Weighted cubic smoothing spline of several responses by its effective degrees of freedom, and its ``lam``.

    Minimises ``sum_i w_i (y_i - f(x_i))² + lam * integral f''(x)² dx`` over cubic splines with at most 32 knots at
    quantiles of ``x``; at 5 degrees of freedom more knots change nothing that can be seen.

    Parameters
    ----------
    x, y, weights
        ``(n,)``, ``(n, n_dims)`` and ``(n,)``, not negative; observations of weight 0 are left out.
    at
        ``(m,)`` where to evaluate: the fit is ``(m, n_dims)``; beyond the data, the end values.
    df
        Trace of the smoother matrix, above 2 (2 is the straight line). With fewer distinct ``x``, fewer.

    References
    ----------
    Green & Silverman (1994), doi:10.1201/b15710; Eilers & Marx (1996), doi:10.1214/ss/1038425655.
    """
    used = weights > 0
    x, y, weights = x[used], y[used], weights[used]
    # Many cells lie at the same point of a curve but for the last bit. Counted apart, they would move the knots
    x = with_ties(x, ROUNDING * float(np.ptp(x)))
    distinct = np.unique(x)
    if len(distinct) < 4:
        return _straight_line(x, y, weights, at), np.inf
    low, span = distinct[0], distinct[-1] - distinct[0]
    knots = _knots((distinct - low) / span)
    basis = BSpline.design_matrix((x - low) / span, knots, 3)
    weighted = basis.multiply(weights[:, None]).tocsr()
    gram, roughness = (weighted.T @ basis).toarray(), _roughness(knots)
    unit = np.trace(gram) / np.trace(roughness)
    # against the sum of both: against the Gram matrix alone, which may be singular, rounding makes straight lines rough
    closeness, vectors = eigh(gram, gram + unit * roughness)
    closeness = np.clip(closeness, 0, 1)
    penalty = _penalty(closeness, min(df, len(distinct) - 1))
    scaled = (vectors.T @ (weighted.T @ y)) / (closeness + penalty * (1 - closeness))[:, None]
    coefficients, lam = vectors @ scaled, penalty * unit
    inside = np.clip((at - low) / span, 0, 1)
    return BSpline.design_matrix(inside, knots, 3) @ coefficients, lam * span**3


def _knots(distinct: np.ndarray) -> np.ndarray:
    n_inner = min(len(distinct), MAX_KNOTS) - 2
    inner = np.quantile(distinct, np.linspace(0, 1, n_inner + 2)[1:-1])
    return np.concatenate([[0.0] * 4, np.unique(inner[(inner > 0) & (inner < 1)]), [1.0] * 4])


def _roughness(knots: np.ndarray) -> np.ndarray:
    """Integrals of products of second derivatives, which are straight between knots: two Gauss points are exact."""
    edges = np.unique(knots)
    half = np.diff(edges) / 2
    points = ((edges[:-1] + edges[1:]) / 2)[:, None] + half[:, None] * GAUSS
    n = len(knots) - 4
    second = BSpline(knots, np.eye(n), 3).derivative(2)(points.ravel())
    return (second * np.repeat(half, 2)[:, None]).T @ second


def _penalty(closeness: np.ndarray, df: float) -> float:
    """Weight of the roughness at which the trace of the smoother is ``df``."""

    def excess(log_penalty: float) -> float:
        kept = closeness / (closeness + np.exp(log_penalty) * (1 - closeness))
        return float(np.sum(kept)) - df

    if excess(-40.0) <= 0:
        return float(np.exp(-40.0))
    return float(np.exp(brentq(excess, -40.0, 40.0, xtol=1e-10)))


def _straight_line(x: np.ndarray, y: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    centre = np.average(x, weights=weights)
    mean = np.average(y, axis=0, weights=weights)
    spread = np.sum(weights * (x - centre) ** 2)
    slope = 0.0 if spread == 0 else (weights * (x - centre)) @ (y - mean) / spread
    return mean + np.multiply.outer(np.clip(at, x.min(), x.max()) - centre, slope)


@dataclass(frozen=True)
class Group:
    """Branches that part at one place; each a lineage, or an earlier group of them.

    ``members`` are numbers of lineages, or ``n_lineages + g`` for group ``g``; ``lineages`` all lineages within.
    """

    members: tuple[int, ...]
    lineages: frozenset[int]


def nested_groups(sharing: Sequence[frozenset[int]]) -> list[Group]:
    """Groups of lineages that share a cluster, the innermost first.

    ``sharing`` are the lineages through each cluster; as they come from a tree, any two sets are nested or
    disjoint.
    """
    n_lineages = len(frozenset().union(*sharing))
    shared = sorted({one for one in sharing if len(one) > 1}, key=lambda group: (len(group), sorted(group)))
    groups: list[Group] = []
    for lineages in shared:
        inner = [g for g, group in enumerate(groups) if group.lineages < lineages]
        outermost = [g for g in inner if not any(groups[g].lineages < groups[h].lineages for h in inner)]
        alone = lineages.difference(*(groups[g].lineages for g in outermost))
        members = [*sorted(alone), *(n_lineages + g for g in outermost)]
        groups.append(Group(tuple(members), lineages))
    return groups


def shrink_together(
    latent: np.ndarray,
    curves: Sequence[np.ndarray],
    arcs: Sequence[np.ndarray],
    weights: np.ndarray,
    groups: Sequence[Group],
) -> list[np.ndarray]:
    """Curves moved to the average of their group, fully at the start and not at all beyond the shared cells.

    Averages are made from the leaves to the root and curves are shrunk from the root to the leaves. Where the
    shared cells have no extent along one branch, the branches leave the start in opposite directions, and none is
    moved.

    ``curves`` are ``(n_points, n_dims)`` a lineage, ``arcs`` the ``(n_cells,)`` lengths of each up to each cell,
    ``weights`` ``(n_cells, n_lineages)``, ``groups`` those of :func:`nested_groups`.
    """
    lines, along = list(curves), list(arcs)  # those of the groups follow
    on = [weights[:, k] > 0 for k in range(len(curves))]
    shares = []
    for group in groups:
        shared = np.logical_and.reduce([on[m] for m in group.members])
        shares.append([share_of_average(arc_lengths(lines[m]), along[m][shared]) for m in group.members])
        on.append(np.logical_or.reduce([on[m] for m in group.members]))
        average, arc = _average(latent, [lines[m] for m in group.members], on[-1])
        lines.append(average)
        along.append(arc)
    for g in reversed(range(len(groups))):
        if not all(share.any() for share in shares[g]):
            continue
        for m, share in zip(groups[g].members, shares[g], strict=True):
            target = at_arcs(lines[len(curves) + g], arc_lengths(lines[m]))
            lines[m] = share[:, None] * target + (1 - share[:, None]) * lines[m]
    return lines[: len(curves)]


def share_of_average(arcs: np.ndarray, shared_arcs: np.ndarray) -> np.ndarray:
    """How much of the average a curve takes at each point: 1 at the start, falling to 0 where shared cells end.

    The fall is the survival function of a cosine kernel, stretched over the arc lengths of the cells that all
    branches share (outliers beyond 1.5 interquartile ranges left out, as in a box plot).
    """
    if len(shared_arcs) == 0:
        return np.zeros(len(arcs))
    low, high = np.quantile(shared_arcs, [0.25, 0.75])
    reach = 1.5 * (high - low)
    kept = shared_arcs[(shared_arcs >= low - reach) & (shared_arcs <= high + reach)]
    first, last = kept.min(), kept.max()
    if last <= first:
        return np.zeros(len(arcs))
    u = KERNEL_SHOWN * (2 * (arcs - first) / (last - first) - 1)
    u = np.clip(u / KERNEL_REACH, -1, 1)
    return 0.5 - 0.5 * (u + np.sin(np.pi * u) / np.pi)


def _average(latent: np.ndarray, lines: list[np.ndarray], on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of curves at equal arc lengths, up to the end of the shortest; and cells along it."""
    shortest = min(arc_lengths(line)[-1] for line in lines)
    grid = np.linspace(0, shortest, N_POINTS)
    mean = stretched(np.mean([at_arcs(line, grid) for line in lines], axis=0))
    arc = project(latent, mean).arc[on]
    points = resample(mean, arc.min(), arc.max())
    return points, project(latent, points).arc
