"""Paired differences against scipy, and how often equal models are told apart."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_downstream.pipelines.comparison.noise import Evidence, paired_difference, selection_optimism


def cells(values, column="elbo"):
    index = pd.Index([f"cell{i}" for i in range(len(values))], name="cell")
    return pd.DataFrame({"share": "test", column: values}, index=index)


def board(**columns):
    return pd.DataFrame(columns, index=["a", "b"])


def test_cells_are_paired_by_name_as_in_a_paired_t_test():
    rng = np.random.default_rng(0)
    first, second = rng.normal(-500, 80, (2, 50))
    shuffled = cells(second).sample(frac=1, random_state=0)
    evidence = Evidence(cells={"a": cells(first).iloc[5:], "b": shuffled})
    found = paired_difference(board(elbo_test=[0.0, 0.0]), "elbo_test", "a", "b", evidence)
    expected = stats.ttest_rel(first[5:], second[5:])
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.value / found.standard_error == pytest.approx(expected.statistic)


def test_less_is_better_turns_the_sign():
    error = "reconstruction_error"
    evidence = Evidence(cells={"a": cells(np.arange(9.0), error), "b": cells(np.arange(9.0) + 2, error)})
    table = board(reconstruction_error_test=[4.0, 6.0])
    assert paired_difference(table, "reconstruction_error_test", "a", "b", evidence).value == 2


def test_identical_models_differ_by_nothing():
    evidence = Evidence(cells={"a": cells(np.arange(9.0)), "b": cells(np.arange(9.0))})
    found = paired_difference(board(elbo_test=[4.0, 4.0]), "elbo_test", "a", "b", evidence)
    assert found.is_noise("one_standard_error")
    assert found.is_noise("interval")
    assert not found.is_noise("none")


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(),
        Evidence(draws={"a": pd.DataFrame(), "b": pd.DataFrame({"scib_total": [0.1, 0.2]})}),
        Evidence(draws={name: pd.DataFrame({"scib_total": [np.nan, 0.2]}) for name in "ab"}),
    ],
)
def test_unknown_noise_is_none(evidence):
    assert paired_difference(board(scib_total=[0.5, 0.4]), "scib_total", "a", "b", evidence) is None
    assert paired_difference(board(elbo_test=[0.5, 0.4]), "elbo_test", "a", "b", evidence) is None


@pytest.mark.thorough
@pytest.mark.parametrize(("noise", "nominal"), [("one_standard_error", 0.683), ("interval", 0.95)])
def test_equal_models_are_within_noise_in_the_nominal_share_of_cases(noise, nominal):
    rng = np.random.default_rng(0)
    n_studies, within = 400, 0
    for _ in range(n_studies):
        shared = rng.normal(-500, 80, 80)
        values = {name: shared + rng.normal(0, 3, 80) for name in "ab"}
        means = pd.DataFrame({"elbo_test": {name: value.mean() for name, value in values.items()}})
        best, other = ("a", "b") if means["elbo_test"].idxmax() == "a" else ("b", "a")
        evidence = Evidence(cells={name: cells(value) for name, value in values.items()})
        within += paired_difference(means, "elbo_test", best, other, evidence).is_noise(noise)
    assert within / n_studies == pytest.approx(nominal, abs=3 * np.sqrt(nominal * (1 - nominal) / n_studies))


def test_a_true_difference_is_found_although_cells_differ_much_more():
    rng = np.random.default_rng(0)
    shared = rng.normal(-500, 80, 200)
    values = {"a": shared + rng.normal(1, 3, 200), "b": shared + rng.normal(0, 3, 200)}
    evidence = Evidence(cells={name: cells(value) for name, value in values.items()})
    found = paired_difference(board(elbo_test=[1.0, 0.0]), "elbo_test", "a", "b", evidence)
    assert not found.is_noise("interval")


def test_optimism_of_the_best_of_equal_models_is_that_of_the_largest_of_normal_draws():
    rng = np.random.default_rng(0)
    optimism = []
    for _ in range(30):
        values = {f"m{i}": rng.normal(0, 2, 100) for i in range(10)}
        # scores are equal here, so that nothing but noise decides
        means = pd.DataFrame({"elbo_test": dict.fromkeys(values, 0.0)})
        evidence = Evidence(cells={name: cells(value) for name, value in values.items()})
        optimism.append(selection_optimism(means, "elbo_test", list(values), evidence))
    largest_of_ten = 1.539  # expectation for standard normal draws
    assert np.mean(optimism) == pytest.approx(largest_of_ten * 2 / np.sqrt(100), rel=0.05)


def test_a_clear_winner_is_not_optimistic():
    rng = np.random.default_rng(0)
    evidence = Evidence(draws={name: pd.DataFrame({"scib_total": rng.normal(0, 0.01, 200)}) for name in "ab"})
    table = board(scib_total=[0.9, 0.1])
    assert selection_optimism(table, "scib_total", ["a", "b"], evidence) < 1e-3
    assert selection_optimism(table, "scib_total", ["a"], evidence) is None
    assert selection_optimism(table, "seconds", ["a", "b"], evidence) is None
