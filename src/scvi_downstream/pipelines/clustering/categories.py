"""Cluster numbers as categories: "0" is the largest."""

from __future__ import annotations

import numpy as np
import pandas as pd


def by_falling_size(membership: np.ndarray) -> pd.Categorical:
    """Number clusters by falling size; among equals the one with the earliest cell comes first.

    Parameters
    ----------
    membership
        ``(n_cells,)`` cluster numbers in any order.

    Returns
    -------
    Categories ``"0"``, ``"1"``, …, each used.
    """
    _, first, codes, sizes = np.unique(membership, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return pd.Categorical.from_codes(rank[codes.ravel()], categories=[str(i) for i in range(len(order))])
