"""Temperatures and calibration errors, where the truth is known."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.annotation.scores import (
    calibrate,
    calibrate_mean,
    calibration_error,
    calibration_error_interval,
    error_of_exact_probabilities,
    fit_temperature,
    halves_of,
    reliability,
    temper,
    wilson_interval,
)


def exact(n_cells, n_types=4, seed=0, sharpness=2.0):
    """Probabilities, and truths drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness, (n_cells, n_types))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (probabilities.cumsum(axis=1) > rng.random(n_cells)[:, None]).argmax(axis=1)
    return probabilities, truth


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature):
    probabilities, truth = exact(8000, sharpness=0.8)
    off = probabilities ** (1 / temperature)
    off /= off.sum(axis=1, keepdims=True)
    assert fit_temperature(off, truth) == pytest.approx(1 / temperature, rel=0.08)


def test_tempering_keeps_the_order_and_the_sum():
    probabilities, _ = exact(200)
    for temperature in (0.1, 1, 9):
        tempered = temper(probabilities, temperature)
        np.testing.assert_allclose(tempered.sum(axis=1), 1)
        assert (tempered.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    np.testing.assert_allclose(temper(probabilities, 1.0), probabilities, atol=1e-3)
    assert (temper(np.array([[1.0, 0.0]]), 20.0)[0] > 0.2).all()


def test_a_perfect_method_keeps_a_finite_temperature():
    certain = np.eye(3)[np.arange(90) % 3]
    assert 0.05 <= fit_temperature(certain, np.arange(90) % 3) <= 20


def test_no_held_out_cell_is_calibrated_by_its_own_label():
    probabilities, truth = exact(400)
    table = pd.DataFrame(probabilities)
    held_out = np.arange(100, 300)
    halves = halves_of(truth[held_out], 0)
    before, temperature = calibrate(table, held_out, truth[held_out], halves)
    changed = truth[held_out].copy()
    changed[halves == 0] = (changed[halves == 0] + 1) % 4
    after, _ = calibrate(table, held_out, changed, halves)
    rows = held_out[halves == 0]
    pd.testing.assert_frame_equal(before.iloc[rows], after.iloc[rows])
    assert not np.allclose(before.iloc[held_out[halves == 1]], after.iloc[held_out[halves == 1]])
    np.testing.assert_allclose(before.iloc[:100], temper(probabilities[:100], temperature))


def test_halves_share_every_type():
    truth = np.random.default_rng(0).integers(5, size=203)
    halves = halves_of(truth, 1)
    counted = np.array([[np.sum((truth == code) & (halves == half)) for half in (0, 1)] for code in range(5)])
    assert np.abs(np.diff(counted)).max() <= 1


def test_the_error_is_that_of_the_definition():
    confidence = np.array([0.95, 0.91, 0.55, 0.52, 1.0])
    is_right = np.array([1, 0, 1, 1, 1])
    by_hand = (3 / 5) * abs(2 / 3 - (0.95 + 0.91 + 1.0) / 3) + (2 / 5) * abs(1 - 0.535)
    assert calibration_error(confidence, is_right, 10) == pytest.approx(by_hand)
    table = reliability(confidence, is_right, 10)
    assert table["n"].tolist() == [2, 3]
    assert (np.abs(table["accuracy"] - table["confidence"]) * table["n"]).sum() / 5 == pytest.approx(by_hand)
    assert (table["accuracy_low"] < table["accuracy_high"]).all()


def test_exact_probabilities_have_the_error_that_is_said_for_them():
    errors = []
    for seed in range(40):
        probabilities, truth = exact(150, seed=seed)
        is_right = probabilities.argmax(axis=1) == truth
        errors.append(calibration_error(probabilities.max(axis=1), is_right, 10))
    said = error_of_exact_probabilities(exact(150)[0].max(axis=1), 10, 0)
    assert np.mean(errors) == pytest.approx(said, rel=0.2)
    low, high = calibration_error_interval(probabilities.max(axis=1), is_right, 10, 0)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (90, 100)])
def test_intervals_are_those_of_scipy(right, n):
    from scipy.stats import binomtest

    theirs = binomtest(right, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(right, n), (theirs.low, theirs.high), atol=1e-12)


def test_no_probability_of_a_held_out_cell_depends_on_the_truth_of_its_half():
    probabilities, truth = exact(200)
    tables = [pd.DataFrame(temper(probabilities, temperature)) for temperature in (0.5, 2.0)]
    held_out = np.arange(100)
    halves = halves_of(truth[:100], seed=0)
    first, _ = calibrate_mean(tables, held_out, truth[:100], halves)
    changed = np.where(halves == 0, (truth[:100] + 1) % 4, truth[:100])
    second, _ = calibrate_mean(tables, held_out, changed, halves)
    np.testing.assert_array_equal(first.iloc[held_out[halves == 0]], second.iloc[held_out[halves == 0]])
    assert not np.allclose(first.iloc[held_out[halves == 1]], second.iloc[held_out[halves == 1]])
