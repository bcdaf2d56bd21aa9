"""The two classifiers of the batch: equal to reference ones, honest under the null."""

import numpy as np
import pytest

from scvi_downstream.graphs.neighbors import find_neighbors
from scvi_downstream.pipelines.batch_effects.classifiers import (
    cross_validated_auc,
    fit_logistic,
    neighbor_auc,
    precondition,
    stratified_folds,
)
from scvi_downstream.pipelines.batch_effects.design import codes
from scvi_downstream.scoring.mixing import macro_auc
from scvi_downstream.statistics.testing import compare_with_null, permute_within


def p_values(points, design, n_permutations=39, seed=0):
    batches, strata = codes(design.batches), codes(design.labels)
    arranged = permute_within(batches, strata, n_permutations, seed)
    nearest = find_neighbors(points, 31, exact=True, seed=0)[0][:, 1:]
    linear = cross_validated_auc(points, arranged, 4, seed=seed, label="")
    return compare_with_null(linear), compare_with_null(neighbor_auc(nearest, arranged))


@pytest.mark.parametrize("batch_shift", [0.0, 1.0, 20.0])
def test_coefficients_and_auc_are_those_of_scikit_learn(simulate, batch_shift):
    from sklearn.linear_model import LogisticRegression

    points, design = simulate(240, batch_shift=batch_shift)
    batches = codes(design.batches)
    arranged = permute_within(batches, np.zeros(240, dtype=int), 1, 0)
    folds = stratified_folds(arranged, np.random.default_rng(0).random(240), 4)
    features, penalty = precondition(points)
    logits = fit_logistic(features, penalty, arranged, folds != 0) @ features.T
    scaled = (points - points.mean(axis=0)) / points.std(axis=0).max()
    for row, codes_of_row in enumerate(arranged):
        trained = folds[row] != 0
        reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(
            scaled[trained], codes_of_row[trained]
        )
        ours = np.exp(logits[:, row]) / np.exp(logits[:, row]).sum(axis=0)
        np.testing.assert_allclose(ours.T, reference.predict_proba(scaled), atol=0.01)
        theirs = macro_auc(reference.decision_function(scaled).T[:, None], codes_of_row[None])
        assert macro_auc(logits[:, [row]], codes_of_row[None])[0] == pytest.approx(theirs[0], abs=1e-3)


def test_folds_are_even_and_stratified():
    batches = np.repeat([0, 1, 2], [40, 7, 3])
    folds = stratified_folds(batches[None], np.random.default_rng(0).random(50), 5)[0]
    assert np.ptp(np.bincount(folds)) == 0
    for batch, size in enumerate((40, 7, 3)):
        held = np.bincount(folds[batches == batch], minlength=5)
        assert held.max() <= -(-size // 5)


def test_arrangements_taken_in_turns_give_the_same(simulate, monkeypatch):
    points, design = simulate(120, batch_shift=0.5)
    arranged = permute_within(codes(design.batches), np.zeros(120, dtype=int), 9, 0)
    at_once = cross_validated_auc(points, arranged, 3, seed=0, label="")
    monkeypatch.setattr("scvi_downstream.pipelines.batch_effects.classifiers.MOST_VALUES", 1000)
    np.testing.assert_allclose(cross_validated_auc(points, arranged, 3, seed=0, label=""), at_once, atol=1e-4)


def test_neighbours_vote_as_counted_one_by_one(simulate):
    from sklearn.metrics import roc_auc_score

    points, design = simulate(150, batch_shift=2.0)
    batches = codes(design.batches)
    nearest = find_neighbors(points, 11, exact=True, seed=0)[0][:, 1:]
    shares = np.array([[np.mean(batches[row] == batch) for batch in range(3)] for row in nearest])
    expected = np.mean([roc_auc_score(batches == batch, shares[:, batch]) for batch in range(3)])
    assert neighbor_auc(nearest, batches[None])[0] == pytest.approx(expected, abs=1e-12)


def test_planted_structure_is_found_and_composition_is_not_taken_for_it(simulate):
    for test in p_values(*simulate(batch_shift=3.0)):
        assert test.observed > test.null_mean + 0.2
        assert test.p == pytest.approx(1 / 40)
    for test in p_values(*simulate(skewed=True)):
        assert test.observed > 0.7, "the labels tell the batch"
        assert test.p > 0.05, "but within a label nothing does"


@pytest.mark.slow
def test_p_values_are_uniform_without_structure(simulate):
    from scipy.stats import kstest

    found = np.array(
        [
            [test.p for test in p_values(*simulate(90, skewed=seed % 2 == 0, seed=seed), seed=seed)]
            for seed in range(150)
        ]
    )
    for p in found.T:
        # p is one of k / 40: spread within its step, it is continuous
        spread = p - np.random.default_rng(0).random(len(p)) / 40
        assert kstest(spread, "uniform").pvalue > 0.01
        assert (p <= 0.05).mean() < 0.12
