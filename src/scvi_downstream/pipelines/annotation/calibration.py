"""Probabilities that mean what they say: temperature scaling, and how far off they are.

Guo et al. (2017), arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

FEWEST_TO_CALIBRATE = 30
SMOOTHING = 1e-3
COLDEST, HOTTEST = 0.05, 20.0


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """``p^(1/T)``, normalised: above 1 the probabilities become more alike, below 1 more decided.

    Parameters
    ----------
    probabilities
        ``(n, n_types)``, rows sum to 1. A thousandth of a uniform distribution is mixed in, so that a
        neighbour's 0 is not taken for impossible.
    temperature
        Positive.
    """
    smooth = (1 - SMOOTHING) * probabilities + SMOOTHING / probabilities.shape[1]
    logits = np.log(smooth) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Temperature of the highest likelihood of the true types, with a standard normal prior on its logarithm.

    Parameters
    ----------
    probabilities
        ``(n, n_types)``.
    truth
        ``(n,)`` column of each cell's true type.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        tempered = temper(probabilities, float(np.exp(log_temperature)))
        likelihood = np.log(np.maximum(tempered[rows, truth], np.finfo(float).tiny)).sum()
        return float(log_temperature**2 / 2 - likelihood)

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def halves_of(truth: np.ndarray, seed: int) -> np.ndarray:
    """``(n,)`` 0 or 1: each type is divided as evenly as it can be."""
    shuffled = np.random.default_rng(seed).permutation(len(truth))
    ordered = shuffled[np.argsort(truth[shuffled], kind="stable")]
    halves = np.empty(len(truth), dtype=int)
    halves[ordered] = np.arange(len(truth)) % 2
    return halves


def calibrate(
    probabilities: pd.DataFrame, held_out: np.ndarray, truth: np.ndarray, halves: np.ndarray
) -> tuple[pd.DataFrame, float]:
    """Tempered probabilities: of held-out cells by a temperature that has not seen them, of others by one of all.

    Parameters
    ----------
    probabilities
        `n_cells` × types.
    held_out
        ``(n_held_out,)`` positions of the cells that were held out.
    truth, halves
        ``(n_held_out,)`` columns of their true types; their halves, each of which gets the other's temperature.

    Returns
    -------
    The same shape, and the temperature of all held-out cells.
    """
    values = probabilities.to_numpy(dtype=float)
    temperature = fit_temperature(values[held_out], truth)
    tempered = temper(values, temperature)
    for half in (0, 1):
        cells, others = held_out[halves == half], held_out[halves != half]
        other_temperature = fit_temperature(values[others], truth[halves != half])
        tempered[cells] = temper(values[cells], other_temperature)
    return pd.DataFrame(tempered, index=probabilities.index, columns=probabilities.columns), temperature


def calibrate_mean(
    tables: Sequence[pd.DataFrame], held_out: np.ndarray, truth: np.ndarray, halves: np.ndarray
) -> tuple[pd.DataFrame, float]:
    """Tempered mean of tempered tables; no temperature of a held-out cell, of either step, has seen its half.

    Parameters
    ----------
    tables
        Each `n_cells` × types.
    held_out, truth, halves
        As in :func:`calibrate`.

    Returns
    -------
    `n_cells` × types, and the temperature of the mean of all held-out cells.
    """
    values = [table.to_numpy(dtype=float) for table in tables]

    def fitted_on(seen: np.ndarray) -> tuple[np.ndarray, float]:
        tempered = [temper(table, fit_temperature(table[held_out[seen]], truth[seen])) for table in values]
        mean = np.mean(tempered, axis=0)
        temperature = fit_temperature(mean[held_out[seen]], truth[seen])
        return temper(mean, temperature), temperature

    result, temperature = fitted_on(np.ones(len(held_out), dtype=bool))
    for half in (0, 1):
        cells = held_out[halves == half]
        result[cells] = fitted_on(halves != half)[0][cells]
    first = tables[0]
    return pd.DataFrame(result, index=first.index, columns=first.columns), temperature


def bin_of(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin, from 0, of each confidence; bins are equally wide between 0 and 1."""
    return np.clip((confidence * n_bins).astype(int), 0, n_bins - 1)


def calibration_error(confidence: np.ndarray, is_right: np.ndarray, n_bins: int) -> float:
    """Expected calibration error: mean distance of confidence and accuracy in bins, weighted by cells."""
    bins = bin_of(confidence, n_bins)
    gaps = np.bincount(bins, weights=confidence - is_right, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_error_interval(
    confidence: np.ndarray, is_right: np.ndarray, n_bins: int, seed: int, n_samples: int = 500
) -> tuple[float, float]:
    """95 % interval of :func:`calibration_error` by the bootstrap over cells."""
    rng = np.random.default_rng(seed)
    n_cells = len(confidence)
    errors = []
    for _ in range(n_samples):
        drawn = rng.integers(n_cells, size=n_cells)
        errors.append(calibration_error(confidence[drawn], is_right[drawn], n_bins))
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def error_of_exact_probabilities(
    confidence: np.ndarray, n_bins: int, seed: int, n_samples: int = 500
) -> float:
    """Mean of :func:`calibration_error` if each cell were right with exactly its probability.

    With few cells even exact probabilities do not show 0.

    References
    ----------
    Bröcker & Smith (2007), doi:10.1175/WAF993.1.
    """
    rng = np.random.default_rng(seed)
    errors = [
        calibration_error(confidence, rng.random(len(confidence)) < confidence, n_bins)
        for _ in range(n_samples)
    ]
    return float(np.mean(errors))


def wilson_interval(n_right: np.ndarray | float, n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of shares ``n_right / n``: Wilson (1927), doi:10.1080/01621459.1927.10502953."""
    z = 1.959963984540054
    right, total = np.asarray(n_right, dtype=float), np.asarray(n, dtype=float)
    share = right / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    reach = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return middle - reach, middle + reach


def reliability(confidence: np.ndarray, is_right: np.ndarray, n_bins: int) -> pd.DataFrame:
    """Bins that hold cells: ``low, high, confidence, accuracy, accuracy_low, accuracy_high, n``."""
    bins = bin_of(confidence, n_bins)
    n = np.bincount(bins, minlength=n_bins)
    filled = np.flatnonzero(n)
    right = np.bincount(bins, weights=is_right, minlength=n_bins)[filled]
    low, high = wilson_interval(right, n[filled])
    return pd.DataFrame(
        {
            "low": filled / n_bins,
            "high": (filled + 1) / n_bins,
            "confidence": np.bincount(bins, weights=confidence, minlength=n_bins)[filled] / n[filled],
            "accuracy": right / n[filled],
            "accuracy_low": low,
            "accuracy_high": high,
            "n": n[filled],
        }
    )
