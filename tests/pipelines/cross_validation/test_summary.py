"""What is planted in likelihoods and curves is found again, in numbers and in words; what is not, is not."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_downstream.pipelines.cross_validation.report import describe_curves, describe_gap
from scvi_downstream.pipelines.cross_validation.summary import (
    Diagnosis,
    FoldCurves,
    diagnose_curves,
    judge_gap,
    mean_with_interval,
    summarise_cross_validation,
)
from scvi_downstream.study.defaults import model_options

from .conftest import KEYS, N_FOLDS, planted

SPEC = model_options({"name": "scvi", "family": "SCVI"})
COSTS = {"plate1": 4.0, "plate2": 6.0, "plate3": 5.0, "droplets": 40.0}
SHARE = 0.25
LEVEL = 600.0


def summary_of(parts: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    folds = range(1, N_FOLDS + 1)
    given = {f"cells_{fold}": parts["fold_cells"][fold - 1] for fold in folds}
    given |= {f"training_{fold}": parts["trainings"][fold - 1] for fold in folds}
    given |= {name: parts[name] for name in ("batch_cells", "batch_trainings") if name in parts}
    return summarise_cross_validation(SPEC, KEYS, SimpleNamespace(obs=parts["obs"]), **given)


def said(summary: dict[str, Any], part: str) -> str:
    return next(sentence for sentence in summary["sentences"] if part in sentence)


def test_planted_costs_gap_and_levels_are_found() -> None:
    scores, summary = summary_of(planted(cost=COSTS, gap=20, worth=3))
    folds, batches = (scores[scores["held_out_by"] == by] for by in ("fold", "batch"))
    assert len(folds) == N_FOLDS
    for row in batches.itertuples():
        assert row.cost_low < COSTS[row.held_out] < row.cost_high
        assert row.cost == pytest.approx(COSTS[row.held_out], abs=1.5)
        assert row.cost_marginal == pytest.approx(COSTS[row.held_out], abs=1.5)
    assert summary["elbo"]["low"] < -600 < summary["elbo"]["high"]
    assert summary["gap"]["value"] == pytest.approx(20, abs=1)
    assert summary["memorises"]
    assert summary["worth_of_batch"]["value"] == pytest.approx(3, abs=1)
    assert summary["unseen_batches"]["cost"]["value"] == pytest.approx(np.mean(list(COSTS.values())), abs=1)
    assert summary["unseen_batches"]["worst"] == "droplets"
    assert summary["unseen_batches"]["least"] == "plate1"
    assert summary["seconds"] == pytest.approx(6.0 * (N_FOLDS + len(COSTS)))


def test_the_first_sentence_is_the_held_out_likelihood_and_all_can_be_written() -> None:
    _, summary = summary_of(planted(cost=COSTS))
    json.dumps(summary, allow_nan=False)
    first = summary["sentences"][0]
    assert first.startswith("In 5-fold cross-validation scvi gives held-out cells an ELBO of -")
    assert "marginal log-likelihood of -" in first
    assert "most in 'droplets' (4" in said(summary, "has not seen costs")
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in summary["sentences"])


@pytest.mark.thorough
def test_batches_that_cost_nothing_are_not_said_to() -> None:
    certain = []
    for seed in range(40):
        _, summary = summary_of(planted(cost=dict.fromkeys(COSTS, 0.0), gap=0, worth=0, seed=seed))
        certain.append(summary["unseen_batches"]["cost"]["low"] > 0)
        assert certain[-1] or ", not beyond chance" in said(summary, "has not seen costs")
        assert not summary["memorises"]
        assert summary["course"] == "levelled_off"
    assert np.mean(certain) <= 0.1


def test_one_batch_that_costs_much_is_no_chance_though_the_mean_is_uncertain() -> None:
    parts = planted(cost={"plate1": 1.0, "plate2": 0.0, "plate3": 2.0, "droplets": 60.0})
    parts["batch_trainings"]["trainings"][-1]["likeness"] = {"plate1": 0.97, "plate2": 0.02, "plate3": 0.01}
    _, summary = summary_of(parts)
    assert summary["unseen_batches"]["cost"]["low"] < 0
    sentence = said(summary, "has not seen costs")
    assert "batches differ too much to say what another one would cost" in sentence
    assert "cells of 'droplets' are taken for 'plate1' (weight 0.97)" in sentence


def test_what_the_batch_is_worth_is_said_either_way() -> None:
    assert "is worth 3" in said(summary_of(planted(cost=COSTS, worth=3))[1], "To be told the batch")
    assert "is worth nothing" in said(summary_of(planted(cost=COSTS, worth=-3))[1], "To be told the batch")


def test_a_batch_of_own_labels_is_said_to_be_one() -> None:
    parts = planted(cost=COSTS)
    own = (parts["obs"]["batch"] == "droplets").to_numpy() & (np.arange(len(parts["obs"])) % 3 == 0)
    parts["obs"].loc[own, "cell_type"] = "HEK"
    scores, summary = summary_of(parts)
    assert scores.set_index("held_out").loc["droplets", "n_of_own_labels"] == own.sum()
    assert f"{own.sum()} of its 120 cells have a label of no other batch" in said(
        summary, "has not seen costs"
    )


def test_without_batches_only_folds_are_told() -> None:
    parts = planted(cost=COSTS)
    del parts["batch_cells"], parts["batch_trainings"]
    scores, summary = summary_of(parts)
    assert set(scores["held_out_by"]) == {"fold"}
    assert summary["unseen_batches"] is None
    assert not any("has not seen" in sentence for sentence in summary["sentences"])


def test_batches_that_could_not_be_held_out_are_named_with_the_reason() -> None:
    parts = planted(cost=COSTS)
    parts["batch_cells"] = parts["batch_cells"].iloc[:0]
    parts["batch_trainings"] = {"trainings": [], "left_out": {"lane": "it is the only batch"}}
    scores, summary = summary_of(parts)
    assert summary["unseen_batches"]["n"] == 0
    assert "No batch could be held out from scvi ('lane': it is the only batch)." in summary["sentences"]
    assert len(scores) == N_FOLDS


def test_cells_without_a_likelihood_are_counted_and_left_out() -> None:
    parts = planted(cost=COSTS)
    parts["fold_cells"][0].iloc[0, parts["fold_cells"][0].columns.get_loc("elbo")] = np.nan
    _, summary = summary_of(parts)
    assert summary["n_cells_without_likelihood"] == 1
    assert np.isfinite(summary["elbo"]["value"])
    assert "1 cell has no likelihood" in said(summary, "no likelihood")


def test_models_without_a_marginal_likelihood_have_none() -> None:
    parts = planted(cost=COSTS)
    for table in [*parts["fold_cells"], parts["batch_cells"]]:
        table[[name for name in table if "marginal" in name or "effective" in name]] = np.nan
    scores, summary = summary_of(parts)
    assert summary["marginal_ll"]["value"] is None
    assert "marginal" not in summary["sentences"][0]
    assert scores["marginal_ll"].isna().all()
    json.dumps(summary, allow_nan=False)


def test_corrected_interval_is_that_of_nadeau_and_bengio() -> None:
    values = np.array([-3.1, -2.0, -2.4, -2.9, -2.2])
    mean = mean_with_interval(values, 1 / 4)
    reach = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 1 / 4) * values.var(ddof=1))
    assert mean.value == pytest.approx(values.mean())
    assert (mean.low, mean.high) == pytest.approx((values.mean() - reach, values.mean() + reach))
    assert mean.n == 5


def test_independent_values_have_students_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 12)
    mean = mean_with_interval(values)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (mean.low, mean.high) == pytest.approx((low, high))


def test_missing_and_single_values_have_no_interval() -> None:
    assert mean_with_interval(np.array([np.nan, 4.0]), 0.25).value == 4
    single = asdict(mean_with_interval(np.array([4.0]), 0.25))
    np.testing.assert_equal(single, {"value": 4.0, "low": np.nan, "high": np.nan, "sd": np.nan, "n": 1})
    assert mean_with_interval(np.array([]), 0.25).n == 0


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
            mean = mean_with_interval(scores, share)
            found.append(mean.low <= truth <= mean.high)
    assert np.mean(covered) >= 0.95
    assert np.mean(covered) > np.mean(naive)


def curves(
    rng: np.random.Generator,
    n_epochs: int,
    *,
    rise: float = 0.0,
    turn: int = 40,
    train_slope: float = 0.0,
    fall: float = 80.0,
    noise: float = 0.5,
    stopped_early: bool = True,
    keep_last: bool = False,
    persistence: float = 0.0,
) -> FoldCurves:
    """Validation falls until ``turn`` and rises by ``rise`` an epoch after it."""
    epochs = np.arange(n_epochs)
    course = fall * np.exp(-epochs / (turn / 6)) + rise * np.maximum(epochs - turn, 0)
    errors = rng.normal(0, noise, n_epochs)
    for i in range(1, n_epochs):
        errors[i] += persistence * errors[i - 1]
    validation = LEVEL + course + errors
    train = LEVEL + fall * np.exp(-epochs / (turn / 6)) - train_slope * epochs + rng.normal(0, 0.2, n_epochs)
    kept = n_epochs if keep_last else int(np.argmin(validation)) + 1
    return FoldCurves(train, validation, kept, stopped_early)


def diagnose(seed: int, **options: object) -> Diagnosis:
    rng = np.random.default_rng(seed)
    return diagnose_curves([curves(rng, 80, **options) for _ in range(5)], SHARE)  # type: ignore[arg-type]


def test_rising_validation_was_stopped_in_time() -> None:
    diagnosis = diagnose(0, rise=0.3, train_slope=0.8)
    assert diagnosis.course == "stopped_in_time"
    assert 30 <= diagnosis.lowest_epoch <= 50
    assert diagnosis.validation_change.value == pytest.approx(0.3 * (79 - 42), rel=0.2)
    text = describe_curves("scvi", asdict(diagnosis))
    assert "early stopping prevented overfitting" in text
    assert f"best at epoch {diagnosis.lowest_epoch} of 80" in text
    assert "training went on improving by" in text


def test_rising_validation_whose_last_epoch_is_kept_is_overfitted() -> None:
    diagnosis = diagnose(0, rise=0.3, train_slope=0.8, stopped_early=False, keep_last=True)
    assert diagnosis.course == "overfitted"
    assert describe_curves("scvi", asdict(diagnosis)).startswith("scvi overfits: the validation ELBO")


def test_falling_validation_at_the_end_is_still_improving() -> None:
    diagnosis = diagnose(0, turn=400, stopped_early=False)
    assert diagnosis.course == "still_improving"
    assert diagnosis.validation_change.value < -1
    assert "raise max_epochs" in describe_curves("scvi", asdict(diagnosis))


def test_flat_validation_under_falling_training_loss_has_levelled_off() -> None:
    diagnosis = diagnose(0, train_slope=0.8)
    assert diagnosis.course == "levelled_off"
    text = describe_curves("scvi", asdict(diagnosis))
    assert "training went on improving by" in text
    assert "no sign of overfitting" in text


@pytest.mark.thorough
@pytest.mark.parametrize("persistence", [0.0, 0.5])
@pytest.mark.parametrize("stopped_early", [True, False])
def test_noise_is_not_called_overfitting(persistence: float, stopped_early: bool) -> None:
    courses = [
        diagnose(
            seed, noise=2.0, persistence=persistence, stopped_early=stopped_early, keep_last=not stopped_early
        ).course
        for seed in range(60)
    ]
    assert sum(course in ("overfitted", "stopped_in_time", "still_improving") for course in courses) <= 3


def test_few_epochs_and_one_long_fold_say_nothing() -> None:
    rng = np.random.default_rng(0)
    short = diagnose_curves([curves(rng, 6, rise=5, turn=2) for _ in range(5)], SHARE)
    assert short.course == "too_short"
    assert "6 epochs only" in describe_curves("scvi", asdict(short))
    folds = [curves(rng, 80, rise=0.3), *[curves(rng, 45, turn=40) for _ in range(4)]]
    assert diagnose_curves(folds, SHARE).course == "levelled_off"


def test_a_gap_is_memorised_when_it_is_beyond_chance_and_large() -> None:
    rng = np.random.default_rng(0)
    held_out = rng.normal(-620, 9, 5)
    large = judge_gap(rng.normal(18, 2, 5), held_out, SHARE)
    assert large.memorises
    assert large.gap_share == pytest.approx(18 / 620, rel=0.2)
    assert "memorises some of what it sees" in describe_gap("scvi", asdict(large))
    assert "(2.9 % of the ELBO)" in describe_gap(
        "scvi", asdict(judge_gap(np.full(5, 18.0), np.full(5, -620.0), SHARE))
    )
    little = judge_gap(rng.normal(4, 0.5, 5), held_out, SHARE)
    assert not little.memorises
    assert "which is little" in describe_gap("scvi", asdict(little))


@pytest.mark.thorough
def test_a_gap_of_chance_is_none() -> None:
    rng = np.random.default_rng(1)
    gaps = [judge_gap(rng.normal(0, 20, 5), rng.normal(-600, 9, 5), SHARE) for _ in range(400)]
    assert np.mean([gap.memorises for gap in gaps]) <= 0.025
    assert "within noise" in describe_gap(
        "scvi", asdict(judge_gap(np.array([5.0, -6, 2, -3, 1]), np.full(5, -600.0), SHARE))
    )
