"""Smooth functions of pseudotime: natural cubic splines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scvi_downstream.errors import InputError

OUTERMOST = 0.025
"""Weight outside the outermost knots, where the spline is a straight line: ends are wild otherwise (Harrell 2015)."""


@dataclass(frozen=True, eq=False)
class NaturalSpline:
    """Basis of the natural cubic splines, the constant left out.

    Attributes
    ----------
    knots
        ``(n_knots,)`` ascending places of pseudotime.
    centre, transform
        ``(n_knots - 1,)`` and ``(n_knots - 1, n_knots - 1)``: they make the columns of mean 0 and variance 1 and
        uncorrelated over the cells that the basis was made for.
    """

    knots: np.ndarray
    centre: np.ndarray
    transform: np.ndarray

    def columns(self, pseudotime: np.ndarray) -> np.ndarray:
        """Values of the basis, ``(n_places, n_knots - 1)``."""
        return (_truncated_powers(pseudotime, self.knots) - self.centre) @ self.transform


def natural_spline(pseudotime: np.ndarray, n_knots: int, weights: np.ndarray | None = None) -> NaturalSpline:
    """A basis with knots at even weighted quantiles of pseudotime.

    Parameters
    ----------
    pseudotime
        ``(n_cells,)`` finite.
    n_knots
        At least 2; two knots give a straight line. Knots that coincide count once.
    weights
        ``(n_cells,)`` positive; ``None``: all alike.

    Raises
    ------
    InputError
        When pseudotime is constant.
    """
    weights = np.ones(len(pseudotime)) if weights is None else weights
    shares = np.linspace(OUTERMOST, 1 - OUTERMOST, max(n_knots, 2))
    knots = np.unique(weighted_quantile(pseudotime, shares, weights))
    if len(knots) < 2:
        raise InputError(
            f"pseudotime is the same ({pseudotime[0]:g}) in nearly all {len(pseudotime)} cells, so nothing can "
            "change along it; look at the start of the trajectory"
        )
    raw = _truncated_powers(pseudotime, knots)
    centre = np.average(raw, axis=0, weights=weights)
    r = np.linalg.qr((raw - centre) * np.sqrt(weights / weights.sum())[:, None], mode="r")
    return NaturalSpline(knots, centre, np.linalg.inv(r))


def weighted_quantile(values: np.ndarray, shares: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values below which the given shares of the weight lie, with straight lines between cells."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(shares, below / weights.sum(), values[order])


def _truncated_powers(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Straight line and curved columns, linear beyond the outermost knots."""
    width = np.ptp(knots)
    x, knots = (np.asarray(x, dtype=np.float64) - knots[0]) / width, (knots - knots[0]) / width

    def beyond(knot: float) -> np.ndarray:
        return (np.maximum(x - knot, 0) ** 3 - np.maximum(x - knots[-1], 0) ** 3) / (knots[-1] - knot)

    curved = [beyond(knot) - beyond(knots[-2]) for knot in knots[:-2]]
    return np.column_stack([x, *curved])
