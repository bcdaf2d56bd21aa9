"""Tail probabilities and quantiles of sums from their first three cumulants."""

from __future__ import annotations

import numpy as np

_LEAST_SKEW = 1e-3


def tail_probabilities(z: np.ndarray, skewness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of at most and of at least ``z`` under a Pearson type III (shifted gamma) distribution.

    A sum over cells of counts that are mostly zero is skewed long after its mean and variance are well known: a
    normal tail calls rare genes unlike too often.

    Parameters
    ----------
    z
        Deviations from the mean in standard deviations, of any shape.
    skewness
        Third standardised cumulants, of the same shape.

    References
    ----------
    Pearson (1895), doi:10.1098/rsta.1895.0010.
    """
    from scipy.special import gammainc, gammaincc

    sign, shape = _gamma(skewness)
    at = np.maximum(shape + sign * np.asarray(z, dtype=np.float64) * np.sqrt(shape), 0)
    below, above = gammainc(shape, at), gammaincc(shape, at)
    return np.where(sign > 0, below, above), np.where(sign > 0, above, below)


def quantiles(probability: float, skewness: np.ndarray) -> np.ndarray:
    """Standardised quantiles of the distribution of :func:`tail_probabilities`.

    Parameters
    ----------
    probability
        In (0, 1).
    skewness
        Third standardised cumulants.
    """
    from scipy.special import gammaincinv

    sign, shape = _gamma(skewness)
    return (
        sign * (gammaincinv(shape, np.where(sign > 0, probability, 1 - probability)) - shape) / np.sqrt(shape)
    )


def _gamma(skewness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    skew = np.asarray(skewness, dtype=np.float64)
    sign = np.where(skew < 0, -1.0, 1.0)
    return sign, 4 / np.maximum(np.abs(skew), _LEAST_SKEW) ** 2
