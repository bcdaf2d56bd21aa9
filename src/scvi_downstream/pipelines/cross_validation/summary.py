"""Scores of folds and batches in one table, and what they say together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.parameters import UNKNOWN, Keys

from .intervals import Mean, mean_of_independent, mean_over_folds
from .overfitting import Diagnosis, FoldCurves, Gap, diagnose_curves, judge_gap
from .sentences import describe

_SCORES = ("elbo", "marginal_ll", "reconstruction_error")
_OF_TRAINING = ("n_train", "n_validation", "n_held_out")
_COSTS = ("epochs", "best_epoch", "stopped_early")


def summarise(
    spec: ModelSpec,
    fold_cells: list[pd.DataFrame],
    trainings: list[dict[str, Any]],
    batch_cells: pd.DataFrame | None,
    batch_trainings: dict[str, Any] | None,
    obs: pd.DataFrame,
    keys: Keys,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores of every fold and batch, and what they say together.

    Parameters
    ----------
    spec
        The model.
    fold_cells
        Likelihoods of held-out and training cells under the model of every fold.
    trainings
        Record of every fold.
    batch_cells, batch_trainings
        The same of models that have not seen a cell's batch; ``None``: no batches were left out.
    obs
        Batches and labels.
    keys
        Name them.

    Returns
    -------
    One row a fold and a batch: ``held_out_by`` (fold, batch), ``held_out``, cells, mean likelihoods with standard
    errors over cells in nats per cell, epochs, seconds. For folds ``elbo_train`` and ``gap``: of the same cells under
    models trained on them, and how much more that is. For batches ``cost``: how much less the ELBO of the same cells
    is than under a model that has seen other cells of the batch, neither model being told it, with a 95 % interval
    over cells. And numbers with ``sentences``.
    """
    everything = pd.concat(fold_cells)
    cells = everything[everything["role"] == "held_out"]
    trained = everything.loc[everything["role"] == "train", "elbo"].groupby(level=0).mean()
    scores = pd.DataFrame([_fold_row(cells, trained, training) for training in trainings])
    test_share = float((scores["n_held_out"] / (scores["n_train"] + scores["n_validation"])).mean())
    over_folds = {score: mean_over_folds(scores[score].to_numpy(), test_share) for score in _SCORES}
    diagnosis = diagnose_curves([FoldCurves.of(training) for training in trainings], test_share)
    gap = judge_gap(scores["gap"].to_numpy(), scores["elbo"].to_numpy(), test_share)
    worth = mean_over_folds(scores["worth_of_batch"].to_numpy(), test_share)
    batches: dict[str, Any] | None = None
    if batch_cells is not None and batch_trainings is not None:
        records = batch_trainings["trainings"]
        rows = pd.DataFrame([_batch_row(cells, batch_cells, record, obs, keys) for record in records])
        scores = pd.concat([scores, rows], ignore_index=True) if len(rows) else scores
        batches = _over_batches(rows, records, batch_trainings["left_out"])
    summary = {
        "model": spec.name,
        "family": spec.family,
        "n_folds": len(trainings),
        "n_cells": len(cells),
        "n_cells_without_likelihood": int((~np.isfinite(cells["elbo"])).sum()),
        **{score: mean.as_record() for score, mean in over_folds.items()},
        "marginal_ll_effective_samples": _median(cells["effective_samples"]),
        **_overfitting(diagnosis, gap),
        "between_batches": _between_batches(cells),
        "worth_of_batch": _worth(worth, cells) if spec.keys_seen(keys).batch_key else None,
        "unseen_batches": batches,
        "seconds": float(scores["seconds"].sum()),
    }
    return scores, summary | {"sentences": describe(summary, over_folds, diagnosis, gap)}


def _fold_row(cells: pd.DataFrame, trained: pd.Series, training: dict[str, Any]) -> dict[str, Any]:
    """One fold; its cells are compared with themselves under the models of other folds, which have seen them."""
    own = cells[cells["fold"] == training["fold"]]
    elbo_train = trained.reindex(own.index)
    return _row("fold", str(training["fold"]), own, training) | {
        "elbo_train": _over_cells(elbo_train).value,
        "gap": _over_cells(elbo_train - own["elbo"]).value,
        "worth_of_batch": _over_cells(own["elbo"] - own["elbo_batch_unknown"]).value,
    }


def _row(by: str, name: str, cells: pd.DataFrame, training: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"held_out_by": by, "held_out": name}
    row |= {column: training[column] for column in _OF_TRAINING}
    for score in _SCORES:
        mean = _over_cells(cells[score])
        row |= {score: mean.value, f"{score}_se": mean.sd / np.sqrt(mean.n) if mean.n > 1 else np.nan}
    row["n_marginal_ll"] = int(np.isfinite(cells["marginal_ll"]).sum())
    row |= {column: training[column] for column in _COSTS}
    return row | {"seconds": training["seconds"] + training["seconds_scoring"]}


def _batch_row(
    seen: pd.DataFrame, unseen: pd.DataFrame, training: dict[str, Any], obs: pd.DataFrame, keys: Keys
) -> dict[str, Any]:
    name = training["batch"]
    own = unseen[unseen["batch"].astype(str) == name]
    row = _row("batch", name, own, training)
    known = seen.loc[own.index]
    row["elbo_seen"] = _over_cells(known["elbo_batch_unknown"]).value
    for score, prefix in (("elbo", "cost"), ("marginal_ll", "cost_marginal")):
        cost = _over_cells(known[f"{score}_batch_unknown"] - own[score])
        row |= {prefix: cost.value, f"{prefix}_low": cost.low, f"{prefix}_high": cost.high}
    row["n_of_own_labels"] = _n_of_own_labels(obs, name, keys)
    return row


def _n_of_own_labels(obs: pd.DataFrame, batch: str, keys: Keys) -> int:
    """Cells of a batch whose label no other batch has."""
    if keys.label_key is None or keys.label_key == keys.batch_key:
        return 0
    inside = (obs[str(keys.batch_key)].astype(str) == batch).to_numpy()
    labels = obs[keys.label_key].astype(str).to_numpy()
    own = (set(labels[inside]) - set(labels[~inside])) - {UNKNOWN}
    return int(np.isin(labels[inside], list(own)).sum())


def _over_batches(
    rows: pd.DataFrame, trainings: list[dict[str, Any]], left_out: dict[str, str]
) -> dict[str, Any]:
    """Cost of an unseen batch, batches counting alike, whatever their cells."""
    if rows.empty:
        return {"n": 0, "left_out": left_out}
    worst = rows.loc[rows["cost"].idxmax()]
    least = rows.loc[rows["cost"].idxmin()]
    likeness = {record["batch"]: record["likeness"] for record in trainings}[worst["held_out"]]
    nearest = max(likeness, key=likeness.__getitem__) if likeness else None
    return {
        "n": len(rows),
        "cost": mean_of_independent(rows["cost"].to_numpy()).as_record(),
        "cost_marginal": mean_of_independent(rows["cost_marginal"].to_numpy()).as_record(),
        "elbo_seen": float(rows["elbo_seen"].mean()),
        "elbo_unseen": float(rows["elbo"].mean()),
        "worst": str(worst["held_out"]),
        "worst_cost": Mean(
            float(worst["cost"]), float(worst["cost_low"]), float(worst["cost_high"]), np.nan, 1
        ).as_record(),
        "worst_n_of_own_labels": int(worst["n_of_own_labels"]),
        "worst_n_cells": int(worst["n_held_out"]),
        "worst_nearest": nearest,
        "worst_nearest_weight": None if nearest is None else float(likeness[nearest]),
        "least": str(least["held_out"]),
        "least_cost": float(least["cost"]),
        "likeness": {record["batch"]: record["likeness"] for record in trainings},
        "left_out": left_out,
    }


def _between_batches(cells: pd.DataFrame) -> dict[str, Any] | None:
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


def _worth(worth: Mean, cells: pd.DataFrame) -> dict[str, Any] | None:
    """What it is worth to be told the batch, which is at most the logarithm of the number of batches."""
    n_batches = cells["batch"].nunique()
    return worth.as_record() | {"most": float(np.log(n_batches))} if worth.n and n_batches > 1 else None


def _overfitting(diagnosis: Diagnosis, gap: Gap) -> dict[str, Any]:
    return {
        "course": diagnosis.course,
        "lowest_epoch": diagnosis.lowest_epoch,
        "epochs": diagnosis.n_epochs,
        "validation_change": diagnosis.validation_change.as_record(),
        "train_change": diagnosis.train_change.as_record(),
        "gap": gap.gap.as_record(),
        "gap_share": _plain(gap.share),
        "memorises": gap.memorises,
    }


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _over_cells(values: pd.Series) -> Mean:
    return mean_of_independent(values.to_numpy(dtype=np.float64))


def _median(values: pd.Series) -> float | None:
    usable = values.dropna()
    return float(usable.median()) if len(usable) else None
