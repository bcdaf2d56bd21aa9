"""What a cross-validation says, in words with numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .intervals import Mean
from .overfitting import Diagnosis, Gap

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
