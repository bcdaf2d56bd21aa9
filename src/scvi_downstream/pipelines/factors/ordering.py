"""Latent dimensions as factors: in an order and with a sign that do not depend on the fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from .effects import LatentEffects

MIN_SHARE = 1e-4
"""Share of the decoded variance from which the decoder counts as using a dimension."""


def order_factors(
    effects: LatentEffects, latent: pd.DataFrame, genes: pd.Index, expression: sparse.csr_matrix
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Loadings and shares of variance of factors.

    Factors are ordered by the variance of their effects on decoded log-expression. The sign of a factor makes the
    sum of the cubes of its loadings positive, so that the heavier tail points upwards; where that sum is zero,
    the largest loading is positive.

    Parameters
    ----------
    effects
        Of the ``n_dimensions`` latent dimensions on ``n_genes`` genes.
    latent
        ``(n_cells, n_dimensions)``.
    genes
        Names of the modelled genes.
    expression
        ``(n_cells, n_genes)`` observed log-normalised expression.

    Returns
    -------
    Loadings, genes × ``factor_1`` …: natural logarithm per standard deviation of the factor, relative to the mean
    gene. And one row a factor: ``dimension``, ``sign``, ``sd`` of the dimension, ``variance_share`` (of the
    variance of decoded log-expression; as factors correlate, the shares need not add up to 1),
    ``unique_share`` (of it, what the other active factors do not predict linearly), ``observed_share`` (of the
    variance of ``expression``, by regression on this factor alone), ``observed_cumulative`` (on it and all
    before), ``active`` (whether the decoder uses it: at least 0.01 % of the decoded variance).
    """
    order = np.argsort(-effects.variance, kind="stable")
    slopes = effects.slopes[:, order]
    signs = np.array([_sign(column) for column in np.ascontiguousarray(slopes.T)])
    names = [f"factor_{i}" for i in range(1, len(order) + 1)]
    values = latent.to_numpy(dtype=np.float64)[:, order]
    centred = values - values.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    share = effects.variance[order] / effects.total if effects.total > 0 else np.zeros(len(order))
    alone, cumulative = _observed(centred, expression)
    table = pd.DataFrame(
        {
            "factor": names,
            "dimension": latent.columns[order],
            "sign": signs,
            "sd": spread,
            "variance_share": share,
            "unique_share": share * _not_predicted(centred, share >= MIN_SHARE),
            "observed_share": alone,
            "observed_cumulative": cumulative,
            "active": share >= MIN_SHARE,
        }
    )
    loadings = pd.DataFrame(slopes * signs, index=pd.Index(genes, name="gene"), columns=names)
    return loadings, table


def _sign(loadings: np.ndarray) -> int:
    cubes = np.sum(loadings**3)
    decisive = cubes if cubes != 0 else loadings[np.argmax(np.abs(loadings))]
    return -1 if decisive < 0 else 1


def _not_predicted(centred: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Share of the variance of each column that a linear model of the other active columns leaves."""
    left = np.ones(centred.shape[1])
    for k in range(centred.shape[1]):
        own, others = centred[:, k], centred[:, active & (np.arange(len(active)) != k)]
        if not (own @ own) > 0:
            continue
        residual = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
        left[k] = (residual @ residual) / (own @ own)
    return left


def _observed(centred: np.ndarray, expression: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the variance of expression by each column alone, and by the first, the first two, …"""
    n = len(centred)
    mean = np.asarray(expression.mean(axis=0, dtype=np.float64)).ravel()
    total = float((expression.astype(np.float64).power(2)).sum() - n * (mean @ mean))
    if not total > 0:
        return np.zeros(centred.shape[1]), np.zeros(centred.shape[1])
    size = np.linalg.norm(centred, axis=0)
    unit = np.divide(centred, size, out=np.zeros(centred.shape), where=size > 0)
    q, r = np.linalg.qr(unit)
    q = q * (np.abs(np.diag(r)) > 1e-8)
    alone, added = (((expression.T @ directions) ** 2).sum(axis=0) / total for directions in (unit, q))
    return alone, np.cumsum(added)
