"""Batches permuted among cells of the same biology: the null that batch structure is held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

INTERVAL = (5, 95)


@dataclass(frozen=True)
class PermutationTest:
    """An observed statistic beside its null.

    ``observed`` is the statistic of the real batches, NaN when it could not be computed; ``null_mean``, ``null_sd``,
    ``null_low`` and ``null_high`` are mean, standard deviation, 5 and 95 % of the permuted ones; ``p`` is ``(1 +
    number of permuted ones at least as large) / (1 + permutations)``.
    """

    observed: float = float("nan")
    null_mean: float = float("nan")
    null_sd: float = float("nan")
    null_low: float = float("nan")
    null_high: float = float("nan")
    p: float = float("nan")
    permutations: int = 0


def permute_within(batches: np.ndarray, strata: np.ndarray, n_permutations: int, seed: int) -> np.ndarray:
    """The batches as they are, then permuted among the cells of each stratum.

    Parameters
    ----------
    batches, strata
        ``(n_cells,)`` codes.
    n_permutations
        Number of permutations.
    seed
        Of the permutations.

    Returns
    -------
    ``(1 + n_permutations, n_cells)``; the first row is ``batches``.
    """
    rng = np.random.default_rng(seed)
    positions = np.argsort(strata, kind="stable")
    arranged = np.empty((1 + n_permutations, len(batches)), dtype=batches.dtype)
    arranged[0] = batches
    for row in arranged[1:]:
        row[positions] = batches[np.lexsort((rng.random(len(batches)), strata))]
    return arranged


def exchangeable_share(batches: np.ndarray, strata: np.ndarray) -> float:
    """Share of the cells whose stratum holds more than one batch; no other cell can change its batch."""
    held = np.unique(np.stack([strata, batches]), axis=1)[0]
    return float((np.bincount(held)[strata] > 1).mean())


def compare_with_null(statistics: np.ndarray) -> PermutationTest:
    """Where the first of ``(1 + n_permutations,)`` statistics lies among the others; high ones count.

    References
    ----------
    Phipson & Smyth (2010), doi:10.2202/1544-6115.1585.
    """
    observed, null = float(statistics[0]), statistics[1:]
    if not np.isfinite(statistics).all():
        return PermutationTest(observed=observed)
    low, high = np.percentile(null, INTERVAL)
    # rounding must not tell apart permutations that leave every cell in its batch
    at_least = int((null >= observed - 1e-12).sum())
    return PermutationTest(
        observed=observed,
        null_mean=float(null.mean()),
        null_sd=float(null.std(ddof=1)),
        null_low=float(low),
        null_high=float(high),
        p=(1 + at_least) / (1 + len(null)),
        permutations=len(null),
    )


def conformal_p(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Share of calibration scores that are at least as large, the cell itself counted among them.

    References
    ----------
    Bates et al. (2023), doi:10.1214/22-AOS2244.
    """
    ordered = np.sort(calibration)
    as_large = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return (1 + as_large) / (1 + len(ordered))


def explained_share(values: np.ndarray, groups: pd.Series) -> float:
    """Share of the variance of ``values`` between ``groups``, eta squared; 0 for constant values.

    Parameters
    ----------
    values
        ``(n_cells,)`` finite numbers.
    groups
        ``(n_cells,)`` group of each.
    """
    centred = values - values.mean()
    total = float(np.square(centred).sum())
    if total == 0:
        return 0.0
    grouped = pd.Series(centred).groupby(groups.to_numpy(), observed=True)
    return float((grouped.size() * grouped.mean() ** 2).sum() / total)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values of any shape; NaN (no test) stays NaN and does not count as a test.

    Parameters
    ----------
    p
        P-values in [0, 1], or NaN.

    References
    ----------
    Benjamini & Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p, dtype=np.float64)
    tested = np.isfinite(values)
    adjusted = np.full(values.shape, np.nan)
    if tested.any():
        adjusted[tested] = false_discovery_control(values[tested])
    return adjusted


def storey_q(p: np.ndarray) -> np.ndarray:
    """Q-values: adjusted p-values of Benjamini & Hochberg times the estimated share of true null hypotheses.

    Parameters
    ----------
    p
        ``(n_tests,)`` p-values in [0, 1]; NaN (no test) stays NaN and does not count as a test.

    References
    ----------
    Storey, Taylor & Siegmund (2004), doi:10.1111/j.1467-9868.2004.00439.x, with λ = 1/2.
    """
    tested = np.isfinite(p)
    if not tested.any():
        return np.full(len(p), np.nan)
    null_share = 2 * (1 + (p[tested] > 0.5).sum()) / tested.sum()
    return benjamini_hochberg(p) * min(1.0, float(null_share))
