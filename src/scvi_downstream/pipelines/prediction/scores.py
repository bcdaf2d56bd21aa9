"""How near predictions come to what is measured, on cells that neither the prediction nor the choice of genes saw."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from scvi_downstream.pipelines.prediction.comparison import (
    MEASURED_HALF,
    Group,
    Prediction,
    measured,
    measured_again,
    predict,
)
from scvi_downstream.pipelines.prediction.weights import Weights

BOUNDED = ("delta_pearson", "delta_pearson_top", "pearson", "spearman", "sign")
LOWER_IS_BETTER = ("rmse", "rmse_top")
INTERVAL = (2.5, 97.5)


def score_halves(
    group: Group, halves: tuple[Weights, Weights], top_genes: int
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of every method against one random half of the held-out cells.

    Prediction and truth share no cell: predictions start from some source cells, the truth is one half of the target
    cells and its change from other source cells. A change that is computed from the same source cells on both sides
    correlates by their noise alone. The genes that change most are chosen on the other half of the target cells,
    which, as a prediction, also shows what another measurement of as many cells achieves.

    Parameters
    ----------
    group
        Cells and what predictions are made of.
    halves
        Of :func:`.weights.halved_weights`: ``n_rows``, two a division.
    top_genes
        Number of genes of the largest change in the ``_top`` scores.

    Returns
    -------
    Method → score → ``(n_rows / 2,)``, the mean of the two directions; NaN where undefined.
    """
    again, truth = measured_again(group, halves[0]), measured(group, halves[1])
    top = np.argsort(-np.abs(again.change), axis=1, kind="stable")[:, :top_genes]
    methods = {**predict(group, halves[0]), MEASURED_HALF: again}
    return {
        method: {
            name: values.reshape(-1, 2).mean(axis=1) for name, values in _scores(given, truth, top).items()
        }
        for method, given in methods.items()
    }


def right_signs(predicted: np.ndarray, change: np.ndarray, responders: np.ndarray) -> np.ndarray:
    """Share of responding genes whose predicted change has the measured sign; NaN without responders or changes.

    Parameters
    ----------
    predicted
        ``(n_replicates, n_genes)`` predicted change.
    change
        ``(n_genes,)`` measured change.
    responders
        ``(n_genes,)`` whether a gene's change is significant.
    """
    if not responders.any() or not np.any(predicted):
        return np.full(len(predicted), np.nan)
    agree = np.sign(predicted[:, responders]) == np.sign(change[responders])
    return np.where(np.isfinite(predicted).all(axis=1), agree.mean(axis=1), np.nan)


def interval(score: str, estimates: np.ndarray, replicates: np.ndarray) -> tuple[float, float, float]:
    """The mean over divisions, and a 95 % bootstrap interval about it.

    Resampled cells carry their noise twice, which lowers every correlation of the replicates; their spread is
    therefore laid about the estimate (a basic shift, not the raw percentiles).

    Parameters
    ----------
    score
        Name, for the bounds of correlations and shares.
    estimates
        Values of divisions without resampling.
    replicates
        Values of divisions with resampled cells (and samples).
    """
    if not np.isfinite(estimates).any() or np.isfinite(replicates).sum() < 2:
        return np.nan, np.nan, np.nan
    value = float(np.nanmean(estimates))
    low, high = np.nanpercentile(replicates, INTERVAL) - np.nanmean(replicates) + value
    if score in BOUNDED:
        low, high = max(low, 0.0 if score == "sign" else -1.0), min(high, 1.0)
    if score in LOWER_IS_BETTER:
        low = max(low, 0.0)
    return value, float(low), float(high)


def better_by(score: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much better the first is: a difference that is positive when the first is better."""
    return other - one if score in LOWER_IS_BETTER else one - other


def mean_over_groups(
    by_group: list[dict[str, dict[str, np.ndarray]]],
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of methods that every group has, each group with the same weight."""
    common = [name for name in by_group[0] if all(name in scores for scores in by_group)]
    return {
        method: {
            score: _mean_where_defined(np.array([scores[method][score] for scores in by_group]))
            for score in by_group[0][method]
        }
        for method in common
    }


def tabulate(scores: dict[str, dict[str, np.ndarray]], n_divisions: int, **names: str | int) -> pd.DataFrame:
    """One row a method and score: ``value``, ``ci_lower``, ``ci_upper``; the first ``n_divisions`` are estimates."""
    rows = [
        {**names, "method": method, "score": score}
        | dict(
            zip(
                ("value", "ci_lower", "ci_upper"),
                interval(score, values[:n_divisions], values[n_divisions:]),
                strict=True,
            )
        )
        for method, by_score in scores.items()
        for score, values in by_score.items()
    ]
    return pd.DataFrame(rows)


def _scores(given: Prediction, truth: Prediction, top: np.ndarray) -> dict[str, np.ndarray]:
    expression, change = given.expression, given.change
    chosen = np.take_along_axis(expression, top, axis=1), np.take_along_axis(truth.expression, top, axis=1)
    error = ((chosen[0] - chosen[1]) ** 2).sum(axis=1)
    spread = ((chosen[1] - chosen[1].mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return {
        "delta_pearson": pearson(change, truth.change),
        "delta_pearson_top": pearson(
            np.take_along_axis(change, top, axis=1), np.take_along_axis(truth.change, top, axis=1)
        ),
        "pearson": pearson(expression, truth.expression),
        "spearman": pearson(rankdata(expression, axis=1), rankdata(truth.expression, axis=1)),
        "rmse": np.sqrt(((expression - truth.expression) ** 2).mean(axis=1)),
        "rmse_top": np.sqrt(error / top.shape[1]),
        "r2_top": 1 - np.divide(error, spread, out=np.full(len(error), np.nan), where=spread > 0),
    }


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each row; NaN where one of them does not vary.

    Parameters
    ----------
    x, y
        ``(n_rows, n_values)``.
    """
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), scale, out=np.full(len(x), np.nan), where=scale > 1e-12)


def _mean_where_defined(values: np.ndarray) -> np.ndarray:
    defined = np.isfinite(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.divide(
        total, defined.sum(axis=0), out=np.full(values.shape[1], np.nan), where=defined.any(axis=0)
    )
