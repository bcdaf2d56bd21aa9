"""Means and medians of cells that count once, several times or not at all: one row of weights a resample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the cells under each row of weights.

    Parameters
    ----------
    values
        ``(n_cells,)``.
    weights
        ``(n_draws, n_cells)``, not negative.

    Returns
    -------
    ``(n_draws,)``; NaN where all weights are 0.
    """
    return ratio(weights @ values, weights.sum(axis=1))


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of the cells, each repeated as often as its weight says: with weights of one, :func:`numpy.nanmedian`.

    Parameters
    ----------
    values
        ``(n_cells,)``; NaN are left out.
    weights
        ``(n_draws, n_cells)`` whole numbers.

    Returns
    -------
    ``(n_draws,)``; NaN where nothing is left.
    """
    order = np.argsort(values, kind="stable")
    order = order[: len(order) - np.isnan(values).sum()]
    if not len(order):
        return np.full(len(weights), np.nan)
    up_to = np.cumsum(weights[:, order], axis=1)
    total = up_to[:, -1]
    places = [(up_to <= np.floor(rank)[:, None]).sum(axis=1) for rank in ((total - 1) / 2, total / 2)]
    lower, upper = (values[order[np.minimum(place, len(order) - 1)]] for place in places)
    return np.where(total > 0, (lower + upper) / 2, np.nan)


def mean_over_groups(groups: Sequence[tuple[np.ndarray, np.ndarray]], weights: np.ndarray) -> np.ndarray:
    """Mean over groups, all alike, of the groups' weighted means.

    Parameters
    ----------
    groups
        Positions of a group's cells and their values, both ``(n_own,)``.
    weights
        ``(n_draws, n_cells)``.

    Returns
    -------
    ``(n_draws,)``; NaN without groups, and where a group has no weight.
    """
    if not groups:
        return np.full(len(weights), np.nan)
    return np.mean([weighted_mean(values, weights[:, cells]) for cells, values in groups], axis=0)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the divisor is 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
