"""Proper scores of predicted counts, per cell and per gene, with bootstrap intervals over cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import gammaln
from scipy.stats import rankdata

_REPLICATES = 500
_FEWEST_DETECTIONS = 10
_INTERVAL = (2.5, 97.5)
_NAMES = {
    "model": "the model",
    "gene_mean": "the mean of each gene",
    "knn_smoothing": "smoothing over neighbours",
    "thinned_cell": "the thinned cell itself",
}


@dataclass(frozen=True)
class MethodScores:
    """Errors per cell ``(n_cells,)`` and results per gene ``(n_genes,)``; undefined correlations are NaN."""

    nll: np.ndarray
    squared_error: np.ndarray
    nll_by_gene: np.ndarray
    pearson: np.ndarray
    spearman: np.ndarray
    pearson_replicates: np.ndarray
    spearman_replicates: np.ndarray


def expected_counts(rates: np.ndarray, kept: sparse.csr_matrix, held_out_share: float) -> np.ndarray:
    """Held-out counts that rates per gene predict: rate × kept library × share / (1 - share)."""
    library = np.asarray(kept.sum(axis=1), dtype=np.float64).reshape(-1, 1)
    return rates * (library * held_out_share / (1 - held_out_share))


def poisson_nll(expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each count in nats: in expectation only the true mean minimises it."""
    mean = np.maximum(expected, 1e-12)
    return mean - observed * np.log(mean) + gammaln(observed + 1.0)


def compare_methods(
    rates: dict[str, np.ndarray],
    kept: sparse.csr_matrix,
    held_out: sparse.csr_matrix,
    held_out_share: float,
    *,
    seed: int,
) -> tuple[dict[str, Any], dict[str, MethodScores]]:
    """Score every method and say whether the model beats the best of the others.

    Parameters
    ----------
    rates
        Per method ``(n_cells, n_genes)``, rows adding to one; one is named ``model``.
    kept, held_out
        ``(n_cells, n_genes)`` parts of the counts.
    held_out_share
        Share of the molecules held out.
    seed
        Of the bootstrap.

    Returns
    -------
    ``methods`` (per method and score: value, low, high), ``best_baseline``, ``difference``
    (model minus best baseline, in nats per entry) and ``verdict``; and the scores per cell and gene.
    """
    observed = held_out.toarray()
    library = expected_counts(np.ones((len(observed), 1)), kept, held_out_share)
    normalised = observed / library
    ranked = rankdata(normalised, axis=0)
    weights = _bootstrap_weights(len(observed), seed)
    scored = {
        method: _score(rate, library, observed, normalised, ranked, weights) for method, rate in rates.items()
    }
    methods = {method: _summary(scores, weights) for method, scores in scored.items()}
    loss = {method: float(scores.nll.mean()) for method, scores in scored.items()}
    baselines = [method for method in scored if method != "model"]
    best = min(baselines, key=lambda method: loss[method])
    difference = _interval(scored["model"].nll - scored[best].nll, weights)
    summary = {
        "methods": methods,
        "best_baseline": best,
        "difference": difference,
        "verdict": _verdict(difference, best, loss[best]),
    }
    return summary, scored


def tabulate_by_gene(
    genes: pd.Index, scored: dict[str, MethodScores], held_out: sparse.csr_matrix
) -> pd.DataFrame:
    """One row per gene: held-out counts, and each method's error and correlations across cells."""
    table = pd.DataFrame(
        {
            "gene": genes,
            "mean_held_out": np.asarray(held_out.mean(axis=0)).ravel(),
            "n_cells_detected": np.asarray((held_out > 0).sum(axis=0)).ravel(),
        }
    )
    for method, scores in scored.items():
        table[f"poisson_nll_{method}"] = scores.nll_by_gene
        table[f"pearson_{method}"] = scores.pearson
        table[f"spearman_{method}"] = scores.spearman
    return table


def _score(
    rates: np.ndarray,
    library: np.ndarray,
    observed: np.ndarray,
    normalised: np.ndarray,
    ranked: np.ndarray,
    weights: np.ndarray,
) -> MethodScores:
    nll = poisson_nll(rates * library, observed)
    scale = np.median(library)
    squared = (np.log1p(rates * scale) - np.log1p(normalised * scale)) ** 2
    detected = (observed > 0).sum(axis=0) >= _FEWEST_DETECTIONS
    varies = detected & (np.ptp(rates, axis=0) > 1e-6 * rates.mean(axis=0))
    pearson, pearson_replicates = _correlation(rates, normalised, varies, weights)
    spearman, spearman_replicates = _correlation(rankdata(rates, axis=0), ranked, varies, weights)
    return MethodScores(
        nll=nll.mean(axis=1),
        squared_error=squared.mean(axis=1),
        nll_by_gene=nll.mean(axis=0),
        pearson=pearson,
        spearman=spearman,
        pearson_replicates=pearson_replicates,
        spearman_replicates=spearman_replicates,
    )


def _bootstrap_weights(n_cells: int, seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed).multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=_REPLICATES)
    return draws / n_cells


def _correlation(
    predicted: np.ndarray, observed: np.ndarray, varies: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation per gene, NaN where undefined, and the mean over genes in each bootstrap replicate."""
    by_gene = np.full(predicted.shape[1], np.nan)
    if not varies.any():
        return by_gene, np.full(len(weights), np.nan)
    x, y = (values[:, varies].astype(np.float64) for values in (predicted, observed))
    x, y = ((values - values.mean(axis=0)) / values.std(axis=0) for values in (x, y))
    by_gene[varies] = (x * y).mean(axis=0)
    mean_x, mean_y = weights @ x, weights @ y
    covariance = weights @ (x * y) - mean_x * mean_y
    spread = (weights @ x**2 - mean_x**2) * (weights @ y**2 - mean_y**2)
    defined = spread > 1e-12
    replicates = np.where(defined, covariance / np.sqrt(np.where(defined, spread, 1.0)), np.nan)
    return by_gene, np.nanmean(replicates, axis=1)


def _summary(scores: MethodScores, weights: np.ndarray) -> dict[str, dict[str, float] | None]:
    return {
        "poisson_nll": _interval(scores.nll, weights),
        "mse_log_normalised": _interval(scores.squared_error, weights),
        "pearson": _correlation_interval(scores.pearson, scores.pearson_replicates),
        "spearman": _correlation_interval(scores.spearman, scores.spearman_replicates),
    }


def _interval(by_cell: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(weights @ by_cell, _INTERVAL)
    return {"value": float(by_cell.mean()), "low": float(low), "high": float(high)}


def _correlation_interval(by_gene: np.ndarray, replicates: np.ndarray) -> dict[str, float] | None:
    if not np.isfinite(by_gene).any():
        return None
    low, high = np.percentile(replicates, _INTERVAL)
    return {"value": float(np.nanmean(by_gene)), "low": float(low), "high": float(high)}


def _verdict(difference: dict[str, float], best: str, reference: float) -> str:
    value, low, high = (100 * difference[part] / reference for part in ("value", "low", "high"))
    loss = f"Poisson loss {value:+.2f} % (95 % interval {low:+.2f} to {high:+.2f} %)"
    comparison = "better than" if high < 0 else "worse than" if low > 0 else "as well as"
    return f"the model predicts held-out counts {comparison} {_NAMES[best]}: {loss}"
