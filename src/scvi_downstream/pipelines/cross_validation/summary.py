"""What all folds and batches say together: means with intervals, overfitting, the cost of an unseen batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import parse_spec
from scvi_downstream.pipelines.cross_validation.report import describe
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData

Course = Literal["overfitted", "stopped_in_time", "levelled_off", "still_improving", "too_short"]
# Through fewer epochs no trend can be told from noise.
FEWEST_EPOCHS = 10
_FEWEST_EPOCHS_AFTER = 8
# The end of a training, of which it is asked whether the loss was still falling.
_LAST_SHARE = 0.2
# Shares of the loss, and of the ELBO, below which a change or gap is too small to matter, however certain.
RELEVANT_SHARE = 0.001
MEMORISED_SHARE = 0.02
_SCORES = ("elbo", "marginal_ll", "reconstruction_error")


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % confidence interval.

    ``low`` and ``high`` are NaN with fewer than two values; ``sd`` is the standard deviation of the ``n`` values.
    """

    value: float
    low: float
    high: float
    sd: float
    n: int


def mean_with_interval(values: ArrayLike, test_share: float = 0.0) -> Mean:
    """Mean of values, or of the folds of a cross-validation with the corrected resampled t interval.

    Models of different folds are trained on mostly the same cells, so that their scores vary less than independent
    ones would. The variance of the mean is taken as ``(1 / K + n_test / n_train) s²`` in the place of ``s² / K``. That
    is a conservative correction for what random splits share; it has no exact justification for K folds, for which
    no unbiased estimate exists (Bengio & Grandvalet 2004).

    Parameters
    ----------
    values
        ``(n,)`` one score a fold, or a value a cell or batch; not finite ones are left out.
    test_share
        Held-out cells over training cells, ``n_test / n_train``; 0: values are independent, and the interval is
        Student's.

    References
    ----------
    Nadeau & Bengio (2003), doi:10.1023/A:1024068626366; Bouckaert & Frank (2004),
    doi:10.1007/978-3-540-24775-3_3.
    """
    from scipy.stats import t

    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    n = len(finite)
    value = float(finite.mean()) if n else np.nan
    if n < 2:
        return Mean(value, np.nan, np.nan, np.nan, n)
    sd = float(finite.std(ddof=1))
    reach = float(t.ppf(0.975, n - 1)) * sd * float(np.sqrt(1 / n + test_share))
    return Mean(value, value - reach, value + reach, sd, n)


def summarise_cross_validation(
    spec: dict[str, Any], keys: Keys, counts: AnnData, **parts: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores of every fold and batch, what they say with which certainty, and whether the model overfits.

    Parameters
    ----------
    spec
        The model.
    keys
        Names the batch and the label.
    counts
        For batches and labels.
    parts
        ``cells_<k>`` (likelihoods of held-out and training cells) and ``training_<k>`` (record) of every fold, and,
        where batches were left out, ``batch_cells`` and ``batch_trainings``: the same of models that have not seen a
        cell's batch.

    Returns
    -------
    One row a fold and a batch: ``held_out_by`` (fold, batch), ``held_out``, cells, mean likelihoods with standard
    errors over cells in nats per cell, epochs, seconds. For folds ``elbo_train`` and ``gap``: of the same cells under
    models trained on them, and how much more that is. For batches ``cost``: how much less the ELBO of the same cells
    is than under a model that has seen other cells of the batch, neither model being told it, with a 95 % interval
    over cells. And numbers with ``sentences``.
    """
    model = parse_spec(spec)
    numbers = range(1, 1 + sum(name.startswith("cells_") for name in parts))
    everything = pd.concat([parts[f"cells_{fold}"] for fold in numbers])
    trainings = [parts[f"training_{fold}"] for fold in numbers]
    cells = everything[everything["role"] == "held_out"]
    trained = everything.loc[everything["role"] == "train", "elbo"].groupby(level=0).mean()
    scores = folds = pd.DataFrame([_fold_row(cells, trained, training) for training in trainings])
    test_share = float((folds["n_held_out"] / (folds["n_train"] + folds["n_validation"])).mean())
    diagnosis = diagnose_curves([FoldCurves.from_record(training) for training in trainings], test_share)
    gap = judge_gap(folds["gap"], folds["elbo"], test_share)
    worth = mean_with_interval(folds["worth_of_batch"], test_share)
    n_batches = cells["batch"].nunique() if model.keys_seen(keys).batch_key and worth.n else 0
    batches: dict[str, Any] | None = None
    if "batch_cells" in parts:
        records, left_out = parts["batch_trainings"]["trainings"], parts["batch_trainings"]["left_out"]
        rows = [_batch_row(cells, parts["batch_cells"], record, counts.obs, keys) for record in records]
        batches = {"n": 0, "left_out": left_out}
        if rows:
            batches = _summarise_batches(pd.DataFrame(rows), records) | {"left_out": left_out}
            scores = pd.concat([folds, pd.DataFrame(rows)], ignore_index=True)
    summary = {
        "model": model.name,
        "family": model.family,
        "n_folds": len(trainings),
        "n_cells": len(cells),
        "n_cells_without_likelihood": int((~np.isfinite(cells["elbo"])).sum()),
        **{score: asdict(mean_with_interval(folds[score], test_share)) for score in _SCORES},
        "marginal_ll_effective_samples": float(cells["effective_samples"].median()),
        **asdict(diagnosis),
        **asdict(gap),
        "between_batches": _compare_batches(cells),
        # to be told the batch is worth at most the logarithm of the number of batches
        "worth_of_batch": asdict(worth) | {"most": float(np.log(n_batches))} if n_batches > 1 else None,
        "unseen_batches": batches,
        "seconds": float(scores["seconds"].sum()),
    }
    return scores, _without_nan(summary) | {"sentences": describe(summary)}


def _fold_row(cells: pd.DataFrame, trained: pd.Series, training: dict[str, Any]) -> dict[str, Any]:
    """One fold; its cells are compared with themselves under the models of other folds, which have seen them."""
    own = cells[cells["fold"] == training["fold"]]
    elbo_train = trained.reindex(own.index)
    return _score_row("fold", str(training["fold"]), own, training) | {
        "elbo_train": mean_with_interval(elbo_train).value,
        "gap": mean_with_interval(elbo_train - own["elbo"]).value,
        "worth_of_batch": mean_with_interval(own["elbo"] - own["elbo_batch_unknown"]).value,
    }


def _batch_row(
    seen: pd.DataFrame, unseen: pd.DataFrame, training: dict[str, Any], obs: pd.DataFrame, keys: Keys
) -> dict[str, Any]:
    """One batch; its cells are compared with themselves under the models of the folds, which have seen others of it."""
    name = training["batch"]
    own = unseen[unseen["batch"].astype(str) == name]
    row = _score_row("batch", name, own, training)
    known = seen.loc[own.index]
    row["elbo_seen"] = mean_with_interval(known["elbo_batch_unknown"]).value
    for score, prefix in (("elbo", "cost"), ("marginal_ll", "cost_marginal")):
        cost = mean_with_interval(known[f"{score}_batch_unknown"] - own[score])
        row |= {prefix: cost.value, f"{prefix}_low": cost.low, f"{prefix}_high": cost.high}
    row["n_of_own_labels"] = _n_of_own_labels(obs, name, keys)
    return row


def _score_row(by: str, name: str, cells: pd.DataFrame, training: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"held_out_by": by, "held_out": name}
    row |= {column: training[column] for column in ("n_train", "n_validation", "n_held_out")}
    for score in _SCORES:
        mean = mean_with_interval(cells[score])
        row |= {score: mean.value, f"{score}_se": mean.sd / np.sqrt(mean.n) if mean.n > 1 else np.nan}
    row["n_marginal_ll"] = int(np.isfinite(cells["marginal_ll"]).sum())
    row |= {column: training[column] for column in ("epochs", "best_epoch", "stopped_early")}
    return row | {"seconds": training["seconds"] + training["seconds_scoring"]}


def _n_of_own_labels(obs: pd.DataFrame, batch: str, keys: Keys) -> int:
    """Cells of a batch whose label no other batch has."""
    if keys.label_key is None or keys.label_key == keys.batch_key:
        return 0
    inside = (obs[str(keys.batch_key)].astype(str) == batch).to_numpy()
    labels = obs[keys.label_key].astype(str).to_numpy()
    own = (set(labels[inside]) - set(labels[~inside])) - {UNKNOWN}
    return int(np.isin(labels[inside], list(own)).sum())


def _summarise_batches(rows: pd.DataFrame, trainings: list[dict[str, Any]]) -> dict[str, Any]:
    """Cost of an unseen batch, batches counting alike, whatever their cells."""
    worst, least = rows.loc[rows["cost"].idxmax()], rows.loc[rows["cost"].idxmin()]
    likeness = {record["batch"]: record["likeness"] for record in trainings}
    of_worst = likeness[worst["held_out"]]
    nearest = max(of_worst, key=of_worst.__getitem__) if of_worst else None
    worst_cost = Mean(float(worst["cost"]), float(worst["cost_low"]), float(worst["cost_high"]), np.nan, 1)
    return {
        "n": len(rows),
        "cost": asdict(mean_with_interval(rows["cost"])),
        "cost_marginal": asdict(mean_with_interval(rows["cost_marginal"])),
        "elbo_seen": float(rows["elbo_seen"].mean()),
        "elbo_unseen": float(rows["elbo"].mean()),
        "worst": str(worst["held_out"]),
        "worst_cost": asdict(worst_cost),
        "worst_n_of_own_labels": int(worst["n_of_own_labels"]),
        "worst_n_cells": int(worst["n_held_out"]),
        "worst_nearest": nearest,
        "worst_nearest_weight": None if nearest is None else float(of_worst[nearest]),
        "least": str(least["held_out"]),
        "least_cost": float(least["cost"]),
        "likeness": likeness,
    }


def _compare_batches(cells: pd.DataFrame) -> dict[str, Any] | None:
    """How far held-out ELBOs differ between batches that the model has seen."""
    if "batch" not in cells or cells["batch"].nunique() < 2:
        return None
    means = cells[np.isfinite(cells["elbo"])].groupby(cells["batch"].astype(str))["elbo"].mean()
    return {
        "sd": float(means.std(ddof=1)),
        "lowest": str(means.idxmin()),
        "lowest_elbo": float(means.min()),
        "highest": str(means.idxmax()),
        "highest_elbo": float(means.max()),
    }


def _without_nan(value: Any) -> Any:
    """For a JSON file: numbers that are not finite become ``None``."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


@dataclass(frozen=True)
class FoldCurves:
    """The loss of one training by epoch: negative ELBO in nats per cell.

    ``train`` and ``validation`` are ``(n_epochs,)``; ``kept_epoch`` counts from 1; ``stopped_early``: before the
    limit of epochs.
    """

    train: np.ndarray
    validation: np.ndarray
    kept_epoch: int
    stopped_early: bool

    @classmethod
    def from_record(cls, training: dict[str, Any]) -> FoldCurves:
        """From the record of a training."""
        kinds = ("elbo_train", "elbo_validation")
        train, validation = (np.asarray(training["curves"][kind], dtype=np.float64) for kind in kinds)
        return cls(train, validation, int(training["best_epoch"]), bool(training["stopped_early"]))

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
    lowest_epoch, epochs
        Medians over folds: where validation was lowest, and where training ended.
    validation_change, train_change
        Trend of the loss between the lowest epoch and the last (``still_improving``: over the last epochs), in nats
        per cell; positive is worse.
    """

    course: Course
    lowest_epoch: int
    epochs: int
    validation_change: Mean
    train_change: Mean


def diagnose_curves(folds: Sequence[FoldCurves], test_share: float) -> Diagnosis:
    """Judge the trend of the validation loss after its lowest epoch, and over the last epochs.

    The lowest epoch is the lowest of many noisy values: whatever follows is higher. Judged is therefore the slope of a
    straight line through the epochs after it, which is zero on average when only noise follows, and a change counts
    when its interval over folds excludes zero and it is at least 0.1 % of the loss.

    ``test_share`` is held-out over training cells, for the intervals.
    """
    lowest_epochs, lengths = [fold.lowest_epoch for fold in folds], [len(fold.validation) for fold in folds]
    lowest, n_epochs = int(np.median(lowest_epochs)), int(np.median(lengths))
    if n_epochs < FEWEST_EPOCHS:
        nothing = mean_with_interval([])
        return Diagnosis("too_short", lowest, n_epochs, nothing, nothing)
    relevant = RELEVANT_SHARE * float(np.mean([np.abs(fold.validation).min() for fold in folds]))
    after = _trends(folds, lowest_epochs, _FEWEST_EPOCHS_AFTER, test_share)
    if after[0].low > 0 and after[0].value >= relevant:
        late = [fold.kept_epoch > fold.lowest_epoch for fold in folds]
        course: Course = "overfitted" if np.mean(late) > 0.5 else "stopped_in_time"
        return Diagnosis(course, lowest, n_epochs, *after)
    starts = [length - max(FEWEST_EPOCHS, round(_LAST_SHARE * length)) for length in lengths]
    at_end = _trends(folds, starts, 2, test_share)
    unfinished = np.mean([fold.stopped_early for fold in folds]) <= 0.5
    if unfinished and at_end[0].high < 0 and at_end[0].value <= -relevant:
        return Diagnosis("still_improving", lowest, n_epochs, *at_end)
    return Diagnosis("levelled_off", lowest, n_epochs, *after)


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
    validation, train = ([change[part] for change in changes] for part in (0, 1))
    return mean_with_interval(validation, test_share), mean_with_interval(train, test_share)


def _change(values: np.ndarray) -> float:
    epochs = np.arange(len(values), dtype=np.float64)
    slope = np.polynomial.Polynomial.fit(epochs, values, 1).convert().coef
    return float(slope[1] * (len(values) - 1)) if len(slope) > 1 else 0.0


@dataclass(frozen=True)
class Gap:
    """How much better a model describes the cells that it was trained on.

    ``gap`` is the ELBO of the same cells in training less that held out, nats per cell, over folds; ``gap_share`` its
    share of the absolute held-out ELBO; ``memorises`` says whether it is beyond chance and at least 2 %.
    """

    gap: Mean
    gap_share: float
    memorises: bool


def judge_gap(gaps: ArrayLike, held_out: ArrayLike, test_share: float) -> Gap:
    """Judge how much better the same cells are described by models that have been trained on them.

    ``gaps`` are ``(n_folds,)`` means over the fold's cells of their ELBO under models trained on them less that under
    the model that is not, nats per cell; ``held_out`` the ``(n_folds,)`` mean ELBO under the latter; ``test_share``
    held-out over training cells, for the intervals.
    """
    gap = mean_with_interval(gaps, test_share)
    share = gap.value / abs(mean_with_interval(held_out).value)
    return Gap(gap, share, bool(gap.low > 0 and share >= MEMORISED_SHARE))
