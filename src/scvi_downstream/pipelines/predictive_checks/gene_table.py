"""Every gene of every source as one row, and which are generated otherwise than observed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

from .evidence import Evidence, GeneReference
from .gene_moments import MEASURES, GeneMoments
from .statistics_of_counts import variances
from .tails import quantiles, tail_probabilities

FEWEST_COUNTS = 5
"""Expected in all cells together, by the training cells' mean; genes with fewer are not tested."""
_INTEGERS = ("mean", "zeros")


def compare_genes(
    evidence: Evidence, reference: GeneReference, names: pd.Index, symbols: np.ndarray, fdr: float
) -> pd.DataFrame:
    """Mean, variance, zeros and spread of each gene, as observed and as generated.

    Of the generated mean, zeros and spread over the checked cells, the interval and the two-sided posterior predictive
    p-value are those of a shifted gamma distribution with the first three cumulants of the draws. The variance is
    widened by the share 1 / n_samples, and, of cells that the source was not fitted to, by their number over that
    of the training cells, since what it knows of a gene comes from these. The spread takes the place of the variance
    in the test: a few large counts decide the variance of a gene, and no approximation of its tail holds.

    Parameters
    ----------
    evidence
        Of one source.
    reference
        Of training cells.
    names, symbols
        Of the genes.
    fdr
        At which genes are called.

    Returns
    -------
    One row a gene: ``<measure>_observed``, ``_predicted``, ``_lower``, ``_upper`` for mean, variance, zeros and
    spread; ``p_mean``, ``p_zeros``, ``p_spread``; ``p``, thrice the smallest of them; ``p_adjusted``
    [Benjamini–Hochberg]; ``outlier``; ``differs_in``, the measure of the smallest p; ``coverage_95``, the share of
    cells whose count lies in its central 95 %. P-values are NaN of genes with fewer than 5 expected counts.
    """
    genes, n_cells = evidence.genes, evidence.n_cells
    columns: dict[str, np.ndarray] = {}
    p_values = []
    tested = reference.mean * n_cells >= FEWEST_COUNTS
    held_out = n_cells / reference.n_cells if evidence.cells == "held-out" else 0.0
    inflation = 1 + 1 / genes.n_samples + held_out
    for row, measure in enumerate(MEASURES):
        p, lower, upper = _place(genes, row, inflation, continuity=0.5 if measure in _INTEGERS else 0.0)
        p_values.append(np.where(tested, p, np.nan))
        columns |= {
            f"{measure}_observed": genes.observed[row] / n_cells,
            f"{measure}_predicted": genes.mean[row] / n_cells,
            f"{measure}_lower": np.clip(lower / n_cells, 0, 1 if measure == "zeros" else None),
            f"{measure}_upper": np.clip(upper / n_cells, 0, 1 if measure == "zeros" else None),
        }
        if measure == "mean":
            columns |= _variance_columns(variances(genes))
    columns |= {f"p_{measure}": p for measure, p in zip(MEASURES, p_values, strict=True)}
    smallest = np.min(p_values, axis=0)
    p = np.minimum(1.0, len(MEASURES) * smallest)
    adjusted = benjamini_hochberg(p)
    outlier = adjusted <= fdr
    which = np.array(MEASURES)[np.argmin(p_values, axis=0)]
    return pd.DataFrame(
        {
            "gene": names.astype(str),
            "symbol": symbols,
            "source": evidence.source,
            "cells": evidence.cells,
            **columns,
            "coverage_95": evidence.ranks.inside / n_cells,
            "p": p,
            "p_adjusted": adjusted,
            "outlier": outlier,
            "differs_in": np.where(outlier, which, ""),
        }
    )


def _place(
    genes: GeneMoments, row: int, inflation: float, *, continuity: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two-sided p of the observed sum, and the central 95 % of the generated one."""
    observed, mean = genes.observed[row], genes.mean[row]
    deviation = np.sqrt(np.maximum(genes.variance[row], 0) * inflation)
    varies = deviation > 0
    scale = np.where(varies, deviation, 1.0)
    skewness = np.where(varies, genes.third[row] / scale**3, 0.0)
    below, _ = tail_probabilities((observed + continuity - mean) / scale, skewness)
    _, above = tail_probabilities((observed - continuity - mean) / scale, skewness)
    p = np.minimum(1.0, 2 * np.minimum(below, above))
    # nothing varies over all draws: either the same was observed, or the source says that it cannot be
    p = np.where(varies, p, np.where(np.abs(observed - mean) <= continuity, 1.0, 0.0))
    low, high = (mean + deviation * quantiles(level, skewness) for level in (0.025, 0.975))
    return p, low, high


def _variance_columns(values: np.ndarray) -> dict[str, np.ndarray]:
    lower, upper = np.quantile(values[1:], (0.025, 0.975), axis=0)
    return {
        "variance_observed": values[0],
        "variance_predicted": values[1:].mean(axis=0),
        "variance_lower": lower,
        "variance_upper": upper,
    }
