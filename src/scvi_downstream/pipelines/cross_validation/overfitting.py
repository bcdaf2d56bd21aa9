"""Does the model overfit? From the curves of all folds, and from training against held-out cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean with its confidence interval.

    Attributes
    ----------
    value, low, high
        The mean and its interval; ``low`` and ``high`` are NaN with fewer than two values.
    sd
        Standard deviation of the values.
    n
        How many there were.
    """

    value: float
    low: float
    high: float
    sd: float
    n: int

    def as_record(self) -> dict[str, Any]:
        """For a JSON file: NaN becomes ``None``."""
        return {
            name: None if isinstance(number, float) and not np.isfinite(number) else number
            for name, number in asdict(self).items()
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Mean:
        """Back from the JSON file."""
        numbers = {
            name: np.nan if record[name] is None else float(record[name])
            for name in ("value", "low", "high", "sd")
        }
        return cls(**numbers, n=int(record["n"]))


def mean_over_folds(values: np.ndarray, test_share: float, *, level: float = LEVEL) -> Mean:
    """Mean over the folds of a cross-validation with the corrected resampled t interval.

    Models of different folds are trained on mostly the same cells, so that their scores vary less than independent
    ones would. The variance of the mean is taken as ``(1 / K + n_test / n_train) s²`` in the place of ``s² / K``. That
    is a conservative correction for what random splits share; it has no exact justification for K folds, for which
    no unbiased estimate exists (Bengio & Grandvalet 2004).

    Parameters
    ----------
    values
        One score a fold, ``(n_folds,)``; not finite ones are left out.
    test_share
        Held-out cells over training cells, ``n_test / n_train``; 0: values are independent.
    level
        Of the interval.

    References
    ----------
    Nadeau & Bengio (2003), doi:10.1023/A:1024068626366; Bouckaert & Frank (2004),
    doi:10.1007/978-3-540-24775-3_3.
    """
    from scipy.stats import t

    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    n = len(finite)
    if n == 0:
        return Mean(np.nan, np.nan, np.nan, np.nan, 0)
    value = float(finite.mean())
    if n == 1:
        return Mean(value, np.nan, np.nan, np.nan, 1)
    sd = float(finite.std(ddof=1))
    reach = float(t.ppf((1 + level) / 2, n - 1)) * sd * float(np.sqrt(1 / n + test_share))
    return Mean(value, value - reach, value + reach, sd, n)


def mean_of_independent(values: np.ndarray, *, level: float = LEVEL) -> Mean:
    """Mean of independent values (cells, batches) with Student's t interval."""
    return mean_over_folds(values, 0.0, level=level)


Course = Literal["overfitted", "stopped_in_time", "levelled_off", "still_improving", "too_short"]
FEWEST_EPOCHS = 10
_FEWEST_EPOCHS_AFTER = 8
_LAST_SHARE = 0.2
RELEVANT_SHARE = 0.001
MEMORISED_SHARE = 0.02


@dataclass(frozen=True)
class FoldCurves:
    """The loss of one training by epoch: negative ELBO in nats per cell.

    Attributes
    ----------
    train, validation
        ``(n_epochs,)``.
    kept_epoch
        Epoch whose weights are kept, from 1.
    stopped_early
        Whether training ended before its limit of epochs.
    """

    train: np.ndarray
    validation: np.ndarray
    kept_epoch: int
    stopped_early: bool

    @classmethod
    def of(cls, training: dict[str, Any]) -> FoldCurves:
        """From the record of a training."""
        return cls(
            np.asarray(training["curves"]["elbo_train"], dtype=np.float64),
            np.asarray(training["curves"]["elbo_validation"], dtype=np.float64),
            int(training["best_epoch"]),
            bool(training["stopped_early"]),
        )

    @property
    def lowest_epoch(self) -> int:
        """Epoch of the lowest validation loss, from 1."""
        return int(np.argmin(self.validation)) + 1


@dataclass(frozen=True)
class Diagnosis:
    """What the curves of all folds show.

    Attributes
    ----------
    course
        ``overfitted``: the weights kept are of an epoch after validation had begun to worsen; ``stopped_in_time``:
        validation worsened after the kept epoch; ``levelled_off``: it neither worsened nor improved any more;
        ``still_improving``: it was falling when training ended; ``too_short``: too few epochs to tell.
    lowest_epoch, n_epochs
        Medians over folds: where validation was lowest, and where training ended.
    validation_change, train_change
        Trend of the loss between the lowest epoch and the last (``still_improving``: over the last epochs), in nats
        per cell; positive is worse.
    """

    course: Course
    lowest_epoch: int
    n_epochs: int
    validation_change: Mean
    train_change: Mean


def diagnose_curves(folds: Sequence[FoldCurves], test_share: float) -> Diagnosis:
    """Judge the trend of the validation loss after its lowest epoch, and over the last epochs.

    The lowest epoch is the lowest of many noisy values: whatever follows is higher. Judged is therefore the slope of a
    straight line through the epochs after it, which is zero on average when only noise follows, and a change counts
    when its interval over folds excludes zero and it is at least 0.1 % of the loss.

    Parameters
    ----------
    folds
        Curves of every fold.
    test_share
        Held-out over training cells, for the intervals.
    """
    lowest = int(np.median([fold.lowest_epoch for fold in folds]))
    n_epochs = int(np.median([len(fold.validation) for fold in folds]))
    if n_epochs < FEWEST_EPOCHS:
        nothing = mean_over_folds(np.array([]), test_share)
        return Diagnosis("too_short", lowest, n_epochs, nothing, nothing)
    relevant = RELEVANT_SHARE * float(np.mean([np.abs(fold.validation).min() for fold in folds]))
    after = _trends(folds, [fold.lowest_epoch for fold in folds], _FEWEST_EPOCHS_AFTER, test_share)
    if after[0].low > 0 and after[0].value >= relevant:
        late = [fold.kept_epoch > fold.lowest_epoch for fold in folds]
        course: Course = "overfitted" if np.mean(late) > 0.5 else "stopped_in_time"
        return Diagnosis(course, lowest, n_epochs, *after)
    starts = [_start_of_last(len(fold.validation)) for fold in folds]
    at_end = _trends(folds, starts, 2, test_share)
    unfinished = np.mean([fold.stopped_early for fold in folds]) <= 0.5
    if unfinished and at_end[0].high < 0 and at_end[0].value <= -relevant:
        return Diagnosis("still_improving", lowest, n_epochs, *at_end)
    return Diagnosis("levelled_off", lowest, n_epochs, *after)


def _start_of_last(n_epochs: int) -> int:
    return n_epochs - max(FEWEST_EPOCHS, round(_LAST_SHARE * n_epochs))


def _trends(
    folds: Sequence[FoldCurves], starts: Sequence[int], fewest: int, test_share: float
) -> tuple[Mean, Mean]:
    """Change of the validation and of the training loss along straight lines through the epochs after a start."""
    changes = [
        (_change(fold.validation[start:]), _change(fold.train[start:]))
        for fold, start in zip(folds, starts, strict=True)
        if len(fold.validation) - start >= fewest
    ]
    # a trend that few folds are long enough to show is none of the model
    if len(changes) < max(2, len(folds) / 2):
        changes = []
    validation, train = (np.array([change[part] for change in changes]) for part in (0, 1))
    return mean_over_folds(validation, test_share), mean_over_folds(train, test_share)


def _change(values: np.ndarray) -> float:
    epochs = np.arange(len(values), dtype=np.float64)
    slope = np.polynomial.Polynomial.fit(epochs, values, 1).convert().coef
    return float(slope[1] * (len(values) - 1)) if len(slope) > 1 else 0.0


@dataclass(frozen=True)
class Gap:
    """How much better a model describes the cells that it was trained on.

    Attributes
    ----------
    gap
        ELBO of the same cells in training less that held out, nats per cell, over folds.
    share
        Of the absolute held-out ELBO.
    spread
        Standard deviation of the held-out ELBO between folds.
    memorises
        Whether the gap is beyond chance and at least 2 % of the ELBO.
    """

    gap: Mean
    share: float
    spread: float
    memorises: bool


def judge_gap(gaps: np.ndarray, held_out: np.ndarray, test_share: float) -> Gap:
    """Judge how much better the same cells are described by models that have been trained on them.

    Parameters
    ----------
    gaps
        ``(n_folds,)`` mean over the fold's cells of their ELBO under models trained on them less that under the model
        that is not, nats per cell.
    held_out
        ``(n_folds,)`` mean ELBO under the model that has not seen them.
    test_share
        Held-out over training cells, for the intervals.
    """
    gap = mean_over_folds(gaps, test_share)
    over = mean_over_folds(held_out, test_share)
    share = gap.value / abs(over.value)
    return Gap(gap, share, over.sd, bool(gap.low > 0 and share >= MEMORISED_SHARE))
