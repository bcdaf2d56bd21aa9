"""Factors that make sums of counts comparable when a few genes take up much of some of them."""

from __future__ import annotations

import numpy as np

TRIMMED_RATIOS, TRIMMED_ABUNDANCES = 0.3, 0.05


def tmm_factors(sums: np.ndarray) -> np.ndarray:
    """Trimmed means of M-values: what to multiply each total with, for an effective library size.

    Parameters
    ----------
    sums
        ``(n_units, n_genes)`` counts, no unit empty.

    Returns
    -------
    ``(n_units,)`` factors whose geometric mean is 1.

    References
    ----------
    Robinson & Oshlack (2010), doi:10.1186/gb-2010-11-3-r25.
    """
    counted = sums[:, sums.sum(axis=0) > 0]
    totals = counted.sum(axis=1)
    quartiles = np.quantile(counted / totals[:, None], 0.75, axis=1)
    if (
        np.median(quartiles) < 1e-20
    ):  # three quarters of the genes are unseen: the deepest sum is the reference
        reference = int(np.argmax(np.sqrt(counted).sum(axis=1)))
    else:
        reference = int(np.argmin(np.abs(quartiles - quartiles.mean())))
    factors = np.array(
        [_factor(counts, total, counted[reference], totals[reference])
         for counts, total in zip(counted, totals, strict=True)]
    )  # fmt: skip
    return factors / np.exp(np.log(factors).mean())


def _factor(counts: np.ndarray, total: float, reference: np.ndarray, reference_total: float) -> float:
    """The factor of one sum against the reference."""
    both = (counts > 0) & (reference > 0)
    y, y_reference = counts[both], reference[both]
    ratio = np.log2((y / total) / (y_reference / reference_total))
    abundance = (np.log2(y / total) + np.log2(y_reference / reference_total)) / 2
    if not len(ratio) or np.abs(ratio).max() < 1e-6:
        return 1.0
    variance = (total - y) / total / y + (reference_total - y_reference) / reference_total / y_reference
    kept = _middle(ratio, TRIMMED_RATIOS) & _middle(abundance, TRIMMED_ABUNDANCES)
    weights = 1 / variance[kept]
    return float(2 ** (weights @ ratio[kept] / weights.sum())) if weights.sum() > 0 else 1.0


def _middle(values: np.ndarray, trimmed: float) -> np.ndarray:
    from scipy.stats import rankdata

    lowest = np.floor(len(values) * trimmed) + 1
    ranks = rankdata(values)
    return (ranks >= lowest) & (ranks <= len(values) + 1 - lowest)
