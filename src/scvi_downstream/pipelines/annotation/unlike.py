"""Cells that are farther from all labelled cells than labelled cells are from one another."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.statistics.multiple_testing import benjamini_hochberg


def distance_p_values(distances: np.ndarray, is_labelled: np.ndarray) -> np.ndarray:
    """Conformal p-values of each cell's mean distance to its labelled neighbours, missing for labelled cells.

    Under the hypothesis that a cell is of the types that the labelled cells are of, its distance is as large
    as that of a labelled cell, which leaves itself out, in a share p of cases.

    Parameters
    ----------
    distances
        ``(n_cells,)`` mean distances.
    is_labelled
        ``(n_cells,)`` whether a cell's label is seen.

    References
    ----------
    Bates et al. (2023), doi:10.1214/22-AOS2244.
    """
    known = np.sort(distances[is_labelled])
    as_far = len(known) - np.searchsorted(known, distances, side="left")
    return np.where(is_labelled, np.nan, (1 + as_far) / (len(known) + 1))


def unlike_labelled(p: pd.Series, roles: pd.Series, fdr: float) -> pd.Series:
    """Whether a cell is farther than chance allows, at a false discovery rate within its role."""
    adjusted = p.groupby(roles, observed=True).transform(lambda values: benjamini_hochberg(values.to_numpy()))
    return (adjusted <= fdr).rename("unlike")
