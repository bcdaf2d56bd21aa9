"""Means over pairs of fits, with an interval that knows that pairs share fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class PairMean:
    """Mean over pairs of fits.

    Attributes
    ----------
    mean
        Over all pairs.
    low, high
        95 % interval for pairs of seeds that were not tried; NaN with fewer than 3 fits.
    least, most
        Of the pairs.
    n_fits
        Number of fits.
    """

    mean: float
    low: float
    high: float
    least: float
    most: float
    n_fits: int


def mean_over_pairs(pairs: pd.DataFrame) -> PairMean:
    """Mean of a quantity of pairs, with the jackknife over fits: pairs that share a fit are not independent.

    Parameters
    ----------
    pairs
        ``fit_a``, ``fit_b`` and ``value`` of every pair.

    References
    ----------
    Arvesen (1969), doi:10.1214/aoms/1177697287, for the jackknife of U-statistics.
    """
    from scipy import stats

    fits = pd.unique(pairs[["fit_a", "fit_b"]].to_numpy().ravel())
    values = pairs["value"].to_numpy(dtype=np.float64)
    mean, n = float(values.mean()), len(fits)
    low = high = float("nan")
    if n > 2:
        involved = [(pairs["fit_a"] == fit).to_numpy() | (pairs["fit_b"] == fit).to_numpy() for fit in fits]
        pseudo = np.array([n * mean - (n - 1) * values[~inside].mean() for inside in involved])
        reach = stats.t.ppf(0.975, n - 1) * pseudo.std(ddof=1) / np.sqrt(n)
        low, high = mean - reach, min(mean + reach, 1.0)
    return PairMean(mean, float(low), float(high), float(values.min()), float(values.max()), n)
