"""Genes whose expression goes with a fate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.normalization import log_normalize
from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

if TYPE_CHECKING:
    from anndata import AnnData

PREFIX = "fate_"
NOT_FATES = ("fate_entropy",)
MIN_CELLS = 10


def fate_drivers(counts: AnnData, fates: pd.DataFrame) -> pd.DataFrame:
    """Correlation of log-normalised expression with the probability of each fate, as CellRank computes it.

    Cells are treated as independent, and fates were learnt from the same counts: p-values are too small, and genes are
    to be ranked by their correlation.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × ``n_genes``.
    fates
        ``fate_<terminal state>`` by cell; NaN for cells that cannot be reached, which are left out.

    Returns
    -------
    One row a terminal state and gene: ``terminal_state``, ``gene``, ``correlation`` (Pearson), ``ci_lower``,
    ``ci_upper`` (95 %, Fisher's transform), ``p`` (two-sided), ``p_adjusted`` (Benjamini–Hochberg within the state) and
    ``rank`` (1: the largest correlation); by state and rank. NaN for genes that do not vary. Empty where only one fate
    exists, as nothing varies with it.

    References
    ----------
    Lange et al. (2022), doi:10.1038/s41592-021-01346-6.
    """
    names = [name for name in fates.columns if name.startswith(PREFIX) and name not in NOT_FATES]
    probabilities = fates.reindex(counts.obs_names)[names].to_numpy(dtype=np.float64)
    known = np.isfinite(probabilities).all(axis=1)
    if len(names) < 2 or known.sum() < MIN_CELLS:
        return _table([], np.empty((0, 0)), 0, counts.var_names[:0])
    expression = log_normalize(counts)[known].astype(np.float64)
    correlation = _correlate(expression, probabilities[known])
    states = [name.removeprefix(PREFIX) for name in names]
    return _table(states, correlation, int(known.sum()), counts.var_names)


def _correlate(expression: sparse.csr_matrix, probabilities: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each column with each other one, ``(n_genes, n_fates)``; NaN where one is constant."""
    n_cells = expression.shape[0]
    means = np.asarray(expression.mean(axis=0)).ravel()
    squares = np.asarray(expression.multiply(expression).sum(axis=0)).ravel() - n_cells * means**2
    centred = probabilities - probabilities.mean(axis=0)
    products = expression.T @ centred
    scale = np.sqrt(np.outer(np.maximum(squares, 0), np.square(centred).sum(axis=0)))
    # A gene with the same value in all cells has a sum of squares of rounding errors.
    varies = (squares > 1e-10 * n_cells * np.maximum(means**2, 1e-12))[:, None] & (scale > 0)
    return np.divide(products, scale, out=np.full(scale.shape, np.nan), where=varies)


def _table(states: list[str], correlation: np.ndarray, n_cells: int, genes: pd.Index) -> pd.DataFrame:
    from scipy import stats

    tables = []
    for i, state in enumerate(states):
        r = np.clip(correlation[:, i], -1 + 1e-12, 1 - 1e-12)
        middle, spread = np.arctanh(r), 1 / np.sqrt(n_cells - 3)
        p = 2 * stats.norm.sf(np.abs(middle) / spread)
        reach = stats.norm.ppf(0.975) * spread
        one = pd.DataFrame(
            {
                "terminal_state": state,
                "gene": genes.astype(str),
                "correlation": correlation[:, i],
                "ci_lower": np.tanh(middle - reach),
                "ci_upper": np.tanh(middle + reach),
                "p": p,
                "p_adjusted": benjamini_hochberg(p),
            }
        ).sort_values("correlation", ascending=False, kind="stable", na_position="last")
        tables.append(one.assign(rank=np.arange(1, len(one) + 1)))
    if tables:
        return pd.concat(tables, ignore_index=True)
    numbers = ["correlation", "ci_lower", "ci_upper", "p", "p_adjusted"]
    columns = {"terminal_state": str, "gene": str, **dict.fromkeys(numbers, float), "rank": np.int64}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
