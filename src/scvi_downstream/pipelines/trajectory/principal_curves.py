"""Principal curves: smooth lines through the middle of cells, cells projected onto them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.linalg import eigh
from scipy.optimize import brentq

CELLS_AT_ONCE = 8192
MAX_KNOTS = 32
GAUSS = np.array([-1, 1]) / np.sqrt(3)


@dataclass(frozen=True, eq=False)
class Projection:
    """Cells at their nearest points of a curve.

    Attributes
    ----------
    arc
        ``(n_cells,)`` length of the curve from its first point to the cell's.
    squared_distance
        ``(n_cells,)`` of the cell to its point of the curve.
    """

    arc: np.ndarray
    squared_distance: np.ndarray


def arc_lengths(points: np.ndarray) -> np.ndarray:
    """Length of a polyline up to each of its ``(n_points, n_dims)`` points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def project(cells: np.ndarray, points: np.ndarray) -> Projection:
    """Nearest points of a polyline.

    Parameters
    ----------
    cells
        ``(n_cells, n_dims)``.
    points
        ``(n_points, n_dims)`` in order, at least two.
    """
    arcs, origin = arc_lengths(points), points.mean(axis=0)
    starts, steps = points[:-1] - origin, np.diff(points, axis=0)
    squares = np.sum(steps**2, axis=1)
    safe = np.where(squares > 0, squares, 1.0)
    offsets, sizes = np.sum(starts * steps, axis=1), np.sum(starts**2, axis=1)
    arc, distance = np.empty(len(cells)), np.empty(len(cells))
    for first in range(0, len(cells), CELLS_AT_ONCE):
        rows = slice(first, first + CELLS_AT_ONCE)
        x = cells[rows] - origin
        along = x @ steps.T - offsets
        share = np.clip(along / safe, 0, 1)
        # |x - a - t v|² without the constant |x|²
        gap = sizes - 2 * (x @ starts.T) + share * (share * squares - 2 * along)
        nearest = gap.argmin(axis=1)
        at = np.arange(len(x))
        arc[rows] = arcs[nearest] + share[at, nearest] * np.sqrt(squares[nearest])
        distance[rows] = gap[at, nearest] + np.sum(x**2, axis=1)
    return Projection(arc, np.maximum(distance, 0))


def resample(points: np.ndarray, low: float, high: float, n_points: int) -> np.ndarray:
    """``n_points`` evenly spaced points of a polyline between two arc lengths."""
    return at_arcs(points, np.linspace(low, high, n_points))


def at_arcs(points: np.ndarray, arcs: np.ndarray) -> np.ndarray:
    """Points of a polyline at given arc lengths; beyond its ends, the ends."""
    own = arc_lengths(points)
    return np.column_stack([np.interp(arcs, own, column) for column in points.T])


def stretched(points: np.ndarray, by: float) -> np.ndarray:
    """The polyline with its first and last segment longer by ``by`` times their length.

    Cells beyond an end would all project to that end; so the curve can grow.
    """
    longer = points.copy()
    longer[0] += by * (points[0] - points[1])
    longer[-1] += by * (points[-1] - points[-2])
    return longer


def smoothing_spline(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, at: np.ndarray, df: float
) -> tuple[np.ndarray, float]:
    """Weighted cubic smoothing spline of several responses, by its effective degrees of freedom.

    Minimises ``sum_i w_i (y_i - f(x_i))² + lam * integral f''(x)² dx`` over cubic splines with at most 32 knots at
    quantiles of ``x``; at 5 degrees of freedom more knots change nothing that can be seen.

    Parameters
    ----------
    x
        ``(n,)``.
    y
        ``(n, n_dims)``.
    weights
        ``(n,)``, not negative; observations of weight 0 are left out.
    at
        ``(m,)`` where to evaluate; beyond the data, the end values.
    df
        Trace of the smoother matrix, above 2 (2 is the straight line). With fewer distinct ``x``, fewer.

    Returns
    -------
    Fit ``(m, n_dims)`` and ``lam``.

    References
    ----------
    Green & Silverman (1994), doi:10.1201/b15710; Eilers & Marx (1996), doi:10.1214/ss/1038425655.
    """
    used = weights > 0
    x, y, weights = x[used], y[used], weights[used]
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
