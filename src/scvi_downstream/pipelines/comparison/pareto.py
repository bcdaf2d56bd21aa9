"""Which models nothing beats in both quality and cost."""

from __future__ import annotations

import numpy as np


def pareto_front(quality: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Rows that no other row dominates: none is as good and as cheap, and better in one of the two.

    Parameters
    ----------
    quality
        ``(n_rows,)``, more is better.
    cost
        ``(n_rows,)``, less is better.

    Returns
    -------
    ``(n_rows,)`` of booleans; a row with NaN in either is never on the front. Equal rows are on it together.
    """
    quality, cost = np.asarray(quality, dtype=float), np.asarray(cost, dtype=float)
    known = np.isfinite(quality) & np.isfinite(cost)
    front = np.zeros(len(quality), dtype=bool)
    as_good = quality[known][:, None] >= quality[known][None, :]
    as_cheap = cost[known][:, None] <= cost[known][None, :]
    dominates = as_good & as_cheap & ~(as_good.T & as_cheap.T)
    front[known] = ~dominates.any(axis=0)
    return front
