"""Intervals over folds cover the truth, also where models of the folds share their training cells."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from scvi_downstream.pipelines.cross_validation.overfitting import mean_of_independent, mean_over_folds


def test_corrected_interval_is_that_of_nadeau_and_bengio() -> None:
    values = np.array([-3.1, -2.0, -2.4, -2.9, -2.2])
    mean = mean_over_folds(values, 1 / 4)
    reach = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 1 / 4) * values.var(ddof=1))
    assert mean.value == pytest.approx(values.mean())
    assert (mean.low, mean.high) == pytest.approx((values.mean() - reach, values.mean() + reach))
    assert mean.n == 5


def test_independent_values_have_students_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 12)
    mean = mean_of_independent(values)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (mean.low, mean.high) == pytest.approx((low, high))


def test_missing_and_single_values_have_no_interval() -> None:
    assert mean_over_folds(np.array([np.nan, 4.0]), 0.25).value == 4
    record = mean_over_folds(np.array([4.0]), 0.25).as_record()
    assert record == {"value": 4.0, "low": None, "high": None, "sd": None, "n": 1}
    assert json.dumps(mean_over_folds(np.array([]), 0.25).as_record(), allow_nan=False)


def test_intervals_cover_the_score_of_a_model_that_is_fitted_to_the_folds() -> None:
    """A normal model is fitted to each four fifths and scored on the rest; its expected score is known."""
    rng = np.random.default_rng(0)
    n_cells, n_folds, n_genes = 60, 5, 8
    n_train = n_cells * (n_folds - 1) // n_folds
    truth = -0.5 * n_genes * (1 + 1 / n_train)  # mean of -|x - mean of training cells|² / 2
    covered, naive = [], []
    for _ in range(600):
        cells = rng.normal(size=(n_cells, n_genes))
        folds = np.arange(n_cells) % n_folds
        scores = np.array(
            [
                -0.5 * ((cells[folds == k] - cells[folds != k].mean(axis=0)) ** 2).sum(axis=1).mean()
                for k in range(n_folds)
            ]
        )
        for share, found in ((1 / (n_folds - 1), covered), (0.0, naive)):
            mean = mean_over_folds(scores, share)
            found.append(mean.low <= truth <= mean.high)
    assert np.mean(covered) >= 0.95
    assert np.mean(covered) > np.mean(naive)
