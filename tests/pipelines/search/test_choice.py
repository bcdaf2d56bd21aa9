"""Which trial is recommended: the best unless others cannot be told from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from scvi_downstream.models.search_space import TrialRecord
from scvi_downstream.pipelines.search.choice import choose, difference, pareto_front, tabulate_trials


def trial(number: int, cells: np.ndarray, n_parameters: int = 1000, **scores: float) -> TrialRecord:
    return TrialRecord(
        number,
        {"n_latent": number},
        "finished",
        {"elbo_validation": float(cells.mean()), "n_parameters": n_parameters, **scores},
        by_cell={"elbo_validation": {"validation": list(cells), "test": list(cells - 1)}},
    )


def test_differences_are_those_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(-500, 80, 150)
    better, worse = trial(1, cells), trial(2, cells - rng.normal(2, 3, 150))
    found = difference(better, worse, "elbo_validation")
    interval = stats.ttest_rel(
        *(one.by_cell["elbo_validation"]["validation"] for one in (better, worse))
    ).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert not found.is_noise


def test_draws_give_the_error_of_integration_scores() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.05, 400)
    make = [
        TrialRecord(
            number,
            {},
            "finished",
            {"scib_total": mean},
            draws={"scib_total": list(mean + shared + rng.normal(0, 0.002, 400))},
        )
        for number, mean in ((1, 0.62), (2, 0.61))
    ]
    found = difference(*make, "scib_total")
    assert found.mean == pytest.approx(0.01)
    assert found.standard_error == pytest.approx(0.002 * np.sqrt(2), rel=0.15)
    assert found.low > 0


def test_equal_models_are_told_apart_as_rarely_as_the_rule_says() -> None:
    """With pure noise a trial lies beyond one standard error of the other in 32 % of cases."""
    rng = np.random.default_rng(1)
    apart = 0
    for _ in range(600):
        cells = rng.normal(-500, 80, 60)
        records = [trial(number, cells + rng.normal(0, 3, 60)) for number in (1, 2)]
        apart += len(choose(records, ("elbo_validation",)).within_noise) == 1
    assert abs(apart / 600 - 0.32) < 0.06


def test_of_equal_trials_the_smallest_is_recommended() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(-500, 80, 200)
    best = trial(1, cells + rng.normal(0.05, 3, 200), n_parameters=9000)
    small = trial(2, cells + rng.normal(0.0, 3, 200), n_parameters=1000)
    bad = trial(3, cells - 20, n_parameters=10)
    records = sorted([best, small], key=lambda one: -one.scores["elbo_validation"])
    choice = choose([*records, bad], ("elbo_validation",))
    assert choice.within_noise == (1, 2)
    assert choice.recommended == 2
    assert not choice.behind[3].is_noise


def test_with_two_objectives_the_second_decides_among_equals() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(-500, 80, 200)
    noise = [rng.normal(0, 3, 200) for _ in range(2)]
    records = [
        trial(1, cells + noise[0], n_parameters=10, scib_total=0.5),
        trial(2, cells + noise[1], n_parameters=99, scib_total=0.7),
        trial(3, cells - 20, scib_total=0.9),
    ]
    choice = choose(records, ("elbo_validation", "scib_total"))
    assert set(choice.within_noise) == {1, 2}
    assert choice.recommended == 2
    assert choose(records, ("scib_total", "elbo_validation")).recommended == 3


@given(arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 4).map(float)))
def test_the_front_is_what_nothing_beats(scores: np.ndarray) -> None:
    beaten = [any(bool((other >= row).all() and (other > row).any()) for other in scores) for row in scores]
    assert pareto_front(scores).tolist() == [not one for one in beaten]


def test_the_table_has_a_row_for_every_trial() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(-500, 80, 50)
    records = [
        trial(1, cells),
        TrialRecord(2, {"n_latent": 5}, "failed", reason="the loss becomes NaN"),
        TrialRecord(
            3,
            {"n_latent": 9},
            "stopped",
            {"elbo_validation": -600.0},
            (-700.0, -600.0),
            reason="stopped after 2 epochs",
        ),
    ]
    choice = choose(records[:1], ("elbo_validation",))
    names = {number: f"scvi_search_{number:03d}" for number in (1, 2, 3)}
    table = tabulate_trials(records, names, {"n_latent": 10}, ("elbo_validation",), choice)
    assert table.index.tolist() == list(names.values())
    assert table["status"].tolist() == ["finished", "failed", "stopped"]
    assert table["recommended"].tolist() == [True, False, False]
    assert table["elbo_validation"].isna().tolist() == [False, True, False]
    assert table.columns[-1] == "reason"
    assert pd.api.types.is_numeric_dtype(table["n_latent"])
