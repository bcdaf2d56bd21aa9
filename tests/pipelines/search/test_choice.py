"""Which trial is recommended, its sentences, and an entry of ``models:`` that gives the same model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.search.choice import (
    choose,
    choose_trial,
    difference,
    model_entry,
    tabulate_trials,
)
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.pipelines.search.trial import TrialRecord
from scvi_downstream.scoring.criteria import pareto_front
from scvi_downstream.study.defaults import defaults_of, model_spec


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
    assert not found.is_noise("one_standard_error")


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
    assert found.value == pytest.approx(0.01)
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
    assert not choice.behind[3].is_noise("one_standard_error")


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
    table = tabulate_trials(records, "scvi", {"n_latent": 10}, ("elbo_validation",), choice)
    assert table.index.tolist() == ["scvi_search_001", "scvi_search_002", "scvi_search_003"]
    assert table["status"].tolist() == ["finished", "failed", "stopped"]
    assert table["recommended"].tolist() == [True, False, False]
    assert table["elbo_validation"].isna().tolist() == [False, True, False]
    assert table.columns[-1] == "reason"
    assert pd.api.types.is_numeric_dtype(table["n_latent"])


SEARCH = defaults_of(
    SearchOptions,
    space={
        "n_latent": [5, 10, 20],
        "gene_likelihood": ["zinb", "nb"],
        "training.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    },
)


def base(**options: Any) -> dict[str, Any]:
    return model_spec({"name": "scvi", "family": "SCVI", **options}).model_dump(mode="json")


def records_of(gain: float, n: int = 14, seed: int = 0) -> dict[str, Any]:
    """Trials whose ELBO rises by ``gain`` with every tenfold of the learning rate, and by nothing else."""
    rng = np.random.default_rng(seed)
    cells = {share: rng.normal(-500, 60, 120) for share in ("validation", "test")}
    records = []
    for number in range(1, n + 1):
        rate = float(f"{10 ** rng.uniform(-4, -1):.3g}")
        changes = (
            {}
            if number == 1
            else {
                "n_latent": int(rng.choice([5, 10, 20])),
                "gene_likelihood": str(rng.choice(["zinb", "nb"])),
                "training.lr": rate,
            }
        )
        up = gain * np.log10(changes.get("training.lr", 1e-3) / 1e-3)
        values = {share: (given + up + rng.normal(0, 2, 120)).tolist() for share, given in cells.items()}
        scores = {
            "elbo_validation": float(np.mean(values["validation"])),
            "n_parameters": 1000 * number,
            "seconds": 1.0,
        }
        records.append(
            TrialRecord(number, changes, "finished", scores, (-600.0,), {"elbo_validation": values}).plain()
        )
    return {"model": "scvi", "trials": records}


def test_a_planted_gain_is_found_and_told() -> None:
    table, summary, entry = choose_trial(
        records_of(gain=20), {"scvi": base()}, SEARCH, defaults_of(TrainingOptions)
    )
    taken = table[table["recommended"]].iloc[0]
    assert taken["training.lr"] == table["training.lr"].max()
    assert summary["option_effects"][0]["option"] == "training.lr"
    assert summary["test_elbo_gain_low"] > 0
    assert "is better than scvi as it is configured" in summary["sentences"][1]
    assert any("goes with training.lr (ρ +1.00)" in sentence for sentence in summary["sentences"])
    assert entry["scvi_best"]["training"]["lr"] == taken["training.lr"]


@pytest.mark.thorough
def test_options_without_effect_are_not_called_better() -> None:
    told_apart = with_effect = 0
    for seed in range(40):
        _, summary, _ = choose_trial(
            records_of(gain=0, seed=seed), {"scvi": base()}, SEARCH, defaults_of(TrainingOptions)
        )
        told_apart += (summary["test_elbo_gain_low"] or 0) > 0
        with_effect += any(
            "goes with" in sentence and "No option" not in sentence for sentence in summary["sentences"]
        )
    assert told_apart <= 5  # 2.5 % of 40 expected
    assert with_effect <= 6


def test_failed_and_stopped_trials_are_told() -> None:
    records = records_of(gain=20)
    records["trials"].append(
        TrialRecord(15, {"n_latent": 5}, "failed", reason="the loss becomes NaN").plain()
    )
    records["trials"].append(
        TrialRecord(16, {"n_latent": 5}, "stopped", {"elbo_validation": -900.0}, (-900.0,)).plain()
    )
    _, summary, _ = choose_trial(records, {"scvi": base()}, SEARCH, defaults_of(TrainingOptions))
    assert "14 of 16 trials came to an end, 1 was stopped early, 1 failed" in summary["sentences"][0]
    assert "scvi_search_015 failed: the loss becomes NaN." in summary["sentences"]


def test_the_model_as_configured_can_win() -> None:
    records = records_of(gain=0, n=1)
    _, summary, entry = choose_trial(records, {"scvi": base()}, SEARCH, defaults_of(TrainingOptions))
    assert summary["sentences"][0].startswith("No trial is better than scvi as it is configured")
    assert entry == {"scvi_best": {"family": "SCVI"}}


def test_an_entry_gives_the_model_of_the_trial() -> None:
    given = base(n_hidden=64, training={"max_epochs": 40})
    changes = {"n_latent": 10, "training.lr": 0.002, "gene_likelihood": "nb"}
    entry = model_entry(given, changes, defaults_of(TrainingOptions))
    assert entry == {
        "scvi_best": {
            "family": "SCVI",
            "n_hidden": 64,
            "n_latent": 10,
            "gene_likelihood": "nb",
            "training": {"max_epochs": 40, "lr": 0.002},
        }
    }
    again = model_spec({"name": "scvi_best", **entry["scvi_best"]})
    wanted = model_spec(
        {
            **given,
            "name": "scvi_best",
            "n_latent": 10,
            "gene_likelihood": "nb",
            "training": {**given["training"], "lr": 0.002},
        }
    )
    assert again == wanted
