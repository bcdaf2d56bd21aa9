"""Planted curves are recognised; curves of noise, and of training that has settled, are not called overfitted."""

from __future__ import annotations

import numpy as np
import pytest

from scvi_downstream.pipelines.cross_validation.overfitting import (
    Diagnosis,
    FoldCurves,
    diagnose_curves,
    judge_gap,
)
from scvi_downstream.pipelines.cross_validation.report import describe_curves, describe_gap

SHARE = 0.25
LEVEL = 600.0


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
    text = describe_curves("scvi", diagnosis)
    assert "early stopping prevented overfitting" in text
    assert f"best at epoch {diagnosis.lowest_epoch} of 80" in text
    assert "training went on improving by" in text


def test_rising_validation_whose_last_epoch_is_kept_is_overfitted() -> None:
    diagnosis = diagnose(0, rise=0.3, train_slope=0.8, stopped_early=False, keep_last=True)
    assert diagnosis.course == "overfitted"
    assert describe_curves("scvi", diagnosis).startswith("scvi overfits: the validation ELBO")


def test_falling_validation_at_the_end_is_still_improving() -> None:
    diagnosis = diagnose(0, turn=400, stopped_early=False)
    assert diagnosis.course == "still_improving"
    assert diagnosis.validation_change.value < -1
    assert "raise max_epochs" in describe_curves("scvi", diagnosis)


def test_flat_validation_under_falling_training_loss_has_levelled_off() -> None:
    diagnosis = diagnose(0, train_slope=0.8)
    assert diagnosis.course == "levelled_off"
    text = describe_curves("scvi", diagnosis)
    assert "training went on improving by" in text
    assert "no sign of overfitting" in text


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
    assert "6 epochs only" in describe_curves("scvi", short)
    folds = [curves(rng, 80, rise=0.3), *[curves(rng, 45, turn=40) for _ in range(4)]]
    assert diagnose_curves(folds, SHARE).course == "levelled_off"


def test_a_gap_is_memorised_when_it_is_beyond_chance_and_large() -> None:
    rng = np.random.default_rng(0)
    held_out = rng.normal(-620, 9, 5)
    large = judge_gap(rng.normal(18, 2, 5), held_out, SHARE)
    assert large.memorises
    assert large.share == pytest.approx(18 / 620, rel=0.2)
    assert "memorises some of what it sees" in describe_gap("scvi", large)
    assert "(2.9 % of the ELBO)" in describe_gap(
        "scvi", judge_gap(np.full(5, 18.0), np.full(5, -620.0), SHARE)
    )
    little = judge_gap(rng.normal(4, 0.5, 5), held_out, SHARE)
    assert not little.memorises
    assert "which is little" in describe_gap("scvi", little)


def test_a_gap_of_chance_is_none() -> None:
    rng = np.random.default_rng(1)
    gaps = [judge_gap(rng.normal(0, 20, 5), rng.normal(-600, 9, 5), SHARE) for _ in range(400)]
    assert np.mean([gap.memorises for gap in gaps]) <= 0.025
    assert "within noise" in describe_gap(
        "scvi", judge_gap(np.array([5.0, -6, 2, -3, 1]), np.full(5, -600.0), SHARE)
    )
