"""Cells that are unlike the labelled ones: far from them, or less certainly of any of their types."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

from .label_split import GIVEN, HELD_OUT


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


def certainty_p_values(certainty: np.ndarray, roles: pd.Series) -> np.ndarray:
    """Conformal p-values of each cell's highest probability among those of held-out cells, missing for given cells.

    Under the hypothesis that a cell is of the types that are transferred, it is as uncertain as a held-out
    cell in a share p of cases. Held-out cells are compared with the other ones.

    Parameters
    ----------
    certainty
        ``(n_cells,)`` highest mean probability, uncalibrated: calibration makes cells of known types certain,
        and others with them.
    roles
        Of :func:`.split_labels`.
    """
    held_out = (roles == HELD_OUT).to_numpy()
    known = np.sort(certainty[held_out])
    as_uncertain = np.searchsorted(known, certainty, side="right")
    p = (1 + as_uncertain - held_out) / (len(known) + 1 - held_out)
    return np.where(roles == GIVEN, np.nan, np.minimum(p, 1))


def unlike_p_values(tables: Iterable[pd.DataFrame], distance_p: pd.Series, roles: pd.Series) -> pd.Series:
    """Whether distance or certainty is out of the ordinary: the smaller p-value, times two (Bonferroni).

    Parameters
    ----------
    tables
        `n_cells` × types of each method, uncalibrated.
    distance_p
        Of :func:`distance_p_values`.
    roles
        Of :func:`.split_labels`.
    """
    certainty = np.mean([table.to_numpy() for table in tables], axis=0).max(axis=1)
    smaller = np.fmin(certainty_p_values(certainty, roles), distance_p.to_numpy())
    return pd.Series(np.minimum(2 * smaller, 1), index=roles.index, name="unlike_p")


def unlike_labelled(p: pd.Series, roles: pd.Series, fdr: float) -> pd.Series:
    """Whether a cell is unlike the labelled ones, at a false discovery rate within its role."""
    adjusted = p.groupby(roles, observed=True).transform(lambda values: benjamini_hochberg(values.to_numpy()))
    return (adjusted <= fdr).rename("unlike")
