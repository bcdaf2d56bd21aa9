"""Cross-validation in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import why_no_unseen_batch
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.pipelines.cross_validation.overfitting import (
    Diagnosis,
    FoldCurves,
    Gap,
    Mean,
    diagnose_curves,
    judge_gap,
    mean_of_independent,
    mean_over_folds,
)
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.words import count, listed
from scvi_downstream.runtime.options import UNKNOWN

SECTION = Section(
    "Cross-validation",
    "Models fitted anew without a part of the cells, and what they make of this part: fold by fold, and without each "
    "batch in turn. A likelihood of more (less negative) nats per cell is better. What a batch costs that a model has "
    "not seen holds the same cells against a model that has seen others of their batch; neither is told the batch.",
    (
        Item(
            dataset="{model}.cv_figure",
            caption="Held-out likelihood of {model} in every fold, with the mean and its interval, and what each batch "
            "costs when it is unseen.",
        ),
        Item(
            dataset="{model}.cv_curves_figure",
            caption="Training and validation curves of {model} in every fold, and the same cells when they are trained "
            "on and when they are held out.",
        ),
        Item(
            dataset="{model}.cv_scores",
            caption="Cross-validation of {model}, fold by fold and batch by batch.",
            file=OUTPUT + "{model}/cv_scores.csv",
            columns=names(
                "held_out_by held_out n_train n_held_out elbo elbo_se marginal_ll elbo_train gap elbo_seen cost "
                "cost_low cost_high epochs best_epoch seconds"
            ),
            folded=True,
        ),
        Item(
            dataset="{model}.cv_summary",
            caption="What the cross-validation of {model} says, in words and numbers.",
            file=OUTPUT + "{model}/cv_summary.json",
            folded=True,
        ),
    ),
)


_FEWEST_EFFECTIVE_SAMPLES = 2.0
RELEVANT_COST = 0.01
NARROWER = (
    "more cells narrow this gap, and so do fewer dimensions or more dropout, but only the held-out ELBO tells whether "
    "these make a better model"
)


def describe(
    summary: Mapping[str, Any], over_folds: Mapping[str, Mean], diagnosis: Diagnosis, gap: Gap
) -> list[str]:
    """The held-out likelihood, overfitting, unseen batches, and what to be careful with; the most important first.

    Parameters
    ----------
    summary
        Numbers of :func:`.summary.summarise`.
    over_folds
        ELBO and marginal log-likelihood over folds.
    diagnosis, gap
        Of the curves, and of training against held-out cells.
    """
    model = str(summary["model"])
    sentences = [
        _likelihood(model, int(summary["n_folds"]), over_folds),
        describe_curves(model, diagnosis),
        describe_gap(model, gap),
        _batches(model, summary["unseen_batches"]),
        _worth(model, summary["worth_of_batch"]),
        _between(model, summary["between_batches"]),
        _poor_proposal(summary["marginal_ll_effective_samples"]),
        _without_likelihood(int(summary["n_cells_without_likelihood"])),
    ]
    return [sentence for sentence in sentences if sentence]


def _likelihood(model: str, n_folds: int, over_folds: Mapping[str, Mean]) -> str:
    elbo, marginal = over_folds["elbo"], over_folds["marginal_ll"]
    if elbo.n == 0:
        return f"No held-out cell has a likelihood under {model}."
    also = f" and a marginal log-likelihood of {with_interval(marginal)}" if marginal.n else ""
    return (
        f"In {n_folds}-fold cross-validation {model} gives held-out cells an ELBO of {with_interval(elbo)} nats per "
        f"cell{also} (95 % intervals over folds, corrected for the training cells that folds share)."
    )


def describe_curves(model: str, diagnosis: Diagnosis) -> str:
    """What the curves of all folds show, and what to do."""
    lowest, last = diagnosis.lowest_epoch, diagnosis.n_epochs
    if diagnosis.course == "too_short":
        return f"{model} was trained for {last} epochs only, too few to see whether it overfits; raise max_epochs."
    if diagnosis.course == "still_improving":
        return (
            f"{model} was still improving when training ended at epoch {last}: the validation ELBO rose by "
            f"{_nats(-diagnosis.validation_change.value)} over the last epochs; raise max_epochs."
        )
    best = f"the validation ELBO of {model} was best at epoch {lowest} of {last}"
    fell = f"{best} and fell by {_nats(diagnosis.validation_change.value)} afterwards"
    train = diagnosis.train_change
    meanwhile = f", while training went on improving by {_nats(-train.value)}" if train.high < 0 else ""
    if diagnosis.course == "levelled_off":
        return f"{_capital(best)} and levelled off{meanwhile}: no sign of overfitting in the curves."
    if diagnosis.course == "stopped_in_time":
        return f"{_capital(fell)}{meanwhile}: early stopping prevented overfitting."
    return (
        f"{model} overfits: {fell}{meanwhile}, and later weights than those of epoch {lowest} are kept; set "
        "training.early_stopping to true."
    )


def describe_gap(model: str, gap: Gap) -> str:
    """Training against held-out cells."""
    if gap.gap.n == 0:
        return ""
    size = f"{with_interval(gap.gap)} nats per cell ({100 * gap.share:.1f} % of the ELBO)"
    if gap.memorises:
        return (
            f"{model} describes cells better by {size} when it has been trained on them: it memorises some of what it "
            f"sees; {NARROWER}."
        )
    if gap.gap.low > 0:
        return f"{model} describes cells better by {size} when it has been trained on them, which is little."
    return f"{model} describes held-out cells as well as cells it was trained on, within noise: the gap is {size}."


def _batches(model: str, batches: Mapping[str, Any] | None) -> str:
    if batches is None:
        return ""
    if not batches["n"]:
        reasons = "; ".join(f"'{name}': {reason}" for name, reason in batches["left_out"].items())
        return f"No batch could be held out from {model} ({reasons})."
    cost = Mean.from_record(batches["cost"])
    over = f"over {batches['n']} batches" if cost.n > 1 else "in one batch"
    of_worst = Mean.from_record(batches["worst_cost"])
    over_cells = (
        f", {_interval(of_worst.low, of_worst.high)} over its cells" if np.isfinite(of_worst.low) else ""
    )
    worst = f"most in '{batches['worst']}' ({of_worst.value:.1f}{over_cells})"
    if batches["n"] > 1:
        worst += f", least in '{batches['least']}' ({batches['least_cost']:.1f})"
    share = 100 * cost.value / abs(batches["elbo_seen"])
    size = f"{with_interval(cost)} nats per cell of ELBO ({share:.1f} %) {over}"
    return (
        f"A batch that {model} has not seen costs {size}{_certainty(batches, cost)}: {worst}{_composition(batches)}"
        f"{_skipped(batches['left_out'])}."
    )


def _worth(model: str, record: Mapping[str, Any] | None) -> str:
    if record is None:
        return ""
    worth = Mean.from_record(record)
    size = f"{with_interval(worth)} nats per cell against the average over batches"
    if worth.low > 0:
        most = f"at most {record['most']:.1f}, the logarithm of their number"
        return (
            f"To be told the batch of a held-out cell is worth {size} ({most}): batches differ for {model}."
        )
    return f"To be told the batch of a held-out cell is worth nothing ({size}): batches hardly differ for {model}."


def _certainty(batches: Mapping[str, Any], cost: Mean) -> str:
    if cost.low > 0 or not np.isfinite(cost.low):
        return ""
    worst = Mean.from_record(batches["worst_cost"])
    if worst.low > 0 and worst.value >= RELEVANT_COST * abs(batches["elbo_seen"]):
        return "; batches differ too much to say what another one would cost"
    return ", not beyond chance"


def _composition(batches: Mapping[str, Any]) -> str:
    worst, own, weight = batches["worst"], batches["worst_n_of_own_labels"], batches["worst_nearest_weight"]
    text = ""
    if weight is not None and weight > 0.5:
        text += f"; cells of '{worst}' are taken for '{batches['worst_nearest']}' (weight {weight:.2f})"
    if own:
        text += f"; {own} of its {batches['worst_n_cells']} cells have a label of no other batch"
    return text


def _skipped(left_out: Mapping[str, str]) -> str:
    return (
        f"; {len(left_out)} more batch{'es were' if len(left_out) > 1 else ' was'} not held out"
        if left_out
        else ""
    )


def _between(model: str, between: Mapping[str, Any] | None) -> str:
    if between is None:
        return ""
    return (
        f"Among batches that {model} has seen, the mean held-out ELBO is from {between['lowest_elbo']:.1f} in "
        f"'{between['lowest']}' to {between['highest_elbo']:.1f} nats per cell in '{between['highest']}' (standard "
        f"deviation {between['sd']:.1f}); depth alone makes such differences."
    )


def _poor_proposal(effective: float | None) -> str:
    if effective is None or effective >= _FEWEST_EFFECTIVE_SAMPLES:
        return ""
    return (
        f"The encoder is a poor proposal of the marginal log-likelihood ({effective:.1f} effective samples a cell), "
        "which is therefore too low."
    )


def _without_likelihood(n_cells: int) -> str:
    if n_cells == 0:
        return ""
    have = "cells have" if n_cells > 1 else "cell has"
    return f"{n_cells} {have} no likelihood, as none of the modelled genes is counted there."


def with_interval(mean: Mean) -> str:
    """``-512.3 (-518.0 to -506.6)``."""
    return (
        f"{mean.value:.1f} ({_interval(mean.low, mean.high)})"
        if np.isfinite(mean.low)
        else f"{mean.value:.1f}"
    )


def _interval(low: float, high: float) -> str:
    return f"{low:.1f} to {high:.1f}"


def _nats(value: float) -> str:
    return f"{value:.1f} nats per cell"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def describe_cross_validation(study: Any, keys: Keys, graph: Study) -> str:
    """Folds, intervals, overfitting, and batches that a model has not seen."""
    options = study.cross_validation
    chosen = {name: graph.models[name] for name in options.models if name in graph.models}
    if not chosen:
        return ""
    strata = [f"`{key}`" for key in (keys.batch_key, keys.label_key) if key]
    stratified = f", stratified by {listed(strata)}" if strata else ""
    limit = f" and at most {count(options.max_epochs, 'epoch')}" if options.max_epochs else ""
    text = [
        f"{listed([f'`{name}`' for name in chosen])} {'were' if len(chosen) > 1 else 'was'} fitted anew in "
        f"{options.n_folds}-fold cross-validation{stratified}, with early stopping on validation cells drawn from the "
        f"training folds{limit}; models that start from another were started from one fitted on the same folds. "
        "Highly variable genes had been selected on all cells. "
        "Means over folds have corrected resampled t intervals [@nadeau2003]: the variance of the mean is "
        "(1/K + n_test/n_train) s², as folds share training cells; for K folds this is a heuristic [@bengio2004].",
        "Curves were judged by the slope of the validation loss after its lowest epoch, and a change was reported when "
        "its interval over folds excluded zero and it was at least 0.1 % of the loss. Memorisation was measured on the "
        "same cells under models trained on them and under the model that was not.",
    ]
    by_batch = [name for name, spec in chosen.items() if why_no_unseen_batch(spec, keys) is None]
    if options.batches and by_batch:
        text.append(
            f"{listed([f'`{name}`' for name in by_batch])} {'were' if len(by_batch) > 1 else 'was'} also fitted "
            f"without each batch of `{keys.batch_key}` (a random {options.max_batches}, were there more), on as many "
            "cells as in a fold where there were so many. A cell whose batch is unknown was scored as an equal mixture "
            "over the batches that the model has seen, log p(x) = log 1/B Σ p(x | b), bounded from below with weights "
            "of the batches from separate posterior draws. The cost of an unseen batch is the difference between this "
            "bound under a model of the folds, which has seen other cells of the batch, and under the model that has "
            "not, cell by cell; its interval is Student's t over batches."
        )
    return " ".join(text)


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
        "worth_of_batch": _worth_of_summary(worth, cells) if spec.keys_seen(keys).batch_key else None,
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


def _worth_of_summary(worth: Mean, cells: pd.DataFrame) -> dict[str, Any] | None:
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
