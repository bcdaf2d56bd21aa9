"""Cross-validation in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.words import sentence

SECTION = Section(
    "Cross-validation",
    "Models fitted anew without a part of the cells, and what they make of this part: fold by fold, and without each "
    "batch in turn. A likelihood of more (less negative) nats per cell is better. What a batch costs that a model has "
    "not seen holds the same cells against a model that has seen others of their batch; neither is told the batch.",
    (
        Item(
            dataset="{model}.cross_validation_figure",
            caption="Held-out likelihood of {model} in every fold, with the mean and its interval, and what each batch "
            "costs when it is unseen.",
        ),
        Item(
            dataset="{model}.cross_validation_curves_figure",
            caption="Training and validation curves of {model} in every fold, and the same cells when they are trained "
            "on and when they are held out.",
        ),
        result(
            "{model}/cv_scores.csv",
            "Cross-validation of {model}, fold by fold and batch by batch.",
            columns=names(
                "held_out_by held_out n_train n_held_out elbo elbo_se marginal_ll elbo_train gap elbo_seen cost "
                "cost_low cost_high epochs best_epoch seconds"
            ),
            folded=True,
        ),
        result(
            "{model}/cv_summary.json",
            "What the cross-validation of {model} says, in words and numbers.",
            folded=True,
        ),
    ),
)
# With fewer, importance sampling hangs on one draw.
_FEWEST_EFFECTIVE_SAMPLES = 2.0
# Of the ELBO: what one batch costs is then more than its cells' noise.
RELEVANT_COST = 0.01


def describe(summary: Mapping[str, Any]) -> list[str]:
    """The held-out likelihood, overfitting, unseen batches, and what to be careful with; the most important first.

    Parameters
    ----------
    summary
        Numbers of :func:`.summary.summarise_cross_validation`, NaN where there is none.
    """
    model = str(summary["model"])
    effective, n_without = summary["marginal_ll_effective_samples"], summary["n_cells_without_likelihood"]
    sentences = [
        _describe_likelihood(model, summary),
        describe_curves(model, summary),
        describe_gap(model, summary),
        _describe_batches(model, summary["unseen_batches"]) if summary["unseen_batches"] else "",
        _describe_worth(model, summary["worth_of_batch"]) if summary["worth_of_batch"] else "",
    ]
    if between := summary["between_batches"]:
        sentences.append(
            f"Among batches that {model} has seen, the mean held-out ELBO is from {between['lowest_elbo']:.1f} in "
            f"'{between['lowest']}' to {between['highest_elbo']:.1f} nats per cell in '{between['highest']}' (standard "
            f"deviation {between['sd']:.1f}); depth alone makes such differences."
        )
    if effective < _FEWEST_EFFECTIVE_SAMPLES:
        sentences.append(
            f"The encoder is a poor proposal of the marginal log-likelihood ({effective:.1f} effective samples a "
            "cell), which is therefore too low."
        )
    if n_without:
        have = "cells have" if n_without > 1 else "cell has"
        sentences.append(f"{n_without} {have} no likelihood, as none of the modelled genes is counted there.")
    return [text for text in sentences if text]


def _describe_likelihood(model: str, summary: Mapping[str, Any]) -> str:
    elbo, marginal = summary["elbo"], summary["marginal_ll"]
    if elbo["n"] == 0:
        return f"No held-out cell has a likelihood under {model}."
    also = f" and a marginal log-likelihood of {_with_interval(marginal)}" if marginal["n"] else ""
    return (
        f"In {summary['n_folds']}-fold cross-validation {model} gives held-out cells an ELBO of "
        f"{_with_interval(elbo)} nats per cell{also} (95 % intervals over folds, corrected for the training cells that "
        "folds share)."
    )


def describe_curves(model: str, diagnosis: Mapping[str, Any]) -> str:
    """What the curves of all folds show, and what to do; ``diagnosis`` has the names of :class:`.summary.Diagnosis`."""
    course, lowest, last = (diagnosis[name] for name in ("course", "lowest_epoch", "epochs"))
    if course == "too_short":
        return f"{model} was trained for {last} epochs only, too few to see whether it overfits; raise max_epochs."
    validation, train = diagnosis["validation_change"], diagnosis["train_change"]
    if course == "still_improving":
        return (
            f"{model} was still improving when training ended at epoch {last}: the validation ELBO rose by "
            f"{-validation['value']:.1f} nats per cell over the last epochs; raise max_epochs."
        )
    best = f"the validation ELBO of {model} was best at epoch {lowest} of {last}"
    fell = f"{best} and fell by {validation['value']:.1f} nats per cell afterwards"
    meanwhile = ""
    if train["high"] < 0:
        meanwhile = f", while training went on improving by {-train['value']:.1f} nats per cell"
    if course == "levelled_off":
        return sentence(f"{best} and levelled off{meanwhile}: no sign of overfitting in the curves.")
    if course == "stopped_in_time":
        return sentence(f"{fell}{meanwhile}: early stopping prevented overfitting.")
    return (
        f"{model} overfits: {fell}{meanwhile}, and later weights than those of epoch {lowest} are kept; set "
        "training.early_stopping to true."
    )


def describe_gap(model: str, judged: Mapping[str, Any]) -> str:
    """Training against held-out cells; ``judged`` has the names of :class:`.summary.Gap`. Empty without a gap."""
    gap = judged["gap"]
    if gap["n"] == 0:
        return ""
    size = f"{_with_interval(gap)} nats per cell ({100 * judged['gap_share']:.1f} % of the ELBO)"
    better = f"{model} describes cells better by {size} when it has been trained on them"
    if judged["memorises"]:
        return (
            f"{better}: it memorises some of what it sees; more cells narrow this gap, and so do fewer dimensions or "
            "more dropout, but only the held-out ELBO tells whether these make a better model."
        )
    if gap["low"] > 0:
        return f"{better}, which is little."
    return f"{model} describes held-out cells as well as cells it was trained on, within noise: the gap is {size}."


def _describe_batches(model: str, batches: Mapping[str, Any]) -> str:
    left_out = batches["left_out"]
    if not batches["n"]:
        reasons = "; ".join(f"'{name}': {reason}" for name, reason in left_out.items())
        return f"No batch could be held out from {model} ({reasons})."
    cost, of_worst, worst = batches["cost"], batches["worst_cost"], batches["worst"]
    over = f"over {batches['n']} batches" if cost["n"] > 1 else "in one batch"
    share = 100 * cost["value"] / abs(batches["elbo_seen"])
    size = f"{_with_interval(cost)} nats per cell of ELBO ({share:.1f} %) {over}"
    text = f"A batch that {model} has not seen costs {size}"
    if cost["low"] <= 0:
        relevant = of_worst["value"] >= RELEVANT_COST * abs(batches["elbo_seen"])
        text += (
            "; batches differ too much to say what another one would cost"
            if of_worst["low"] > 0 and relevant
            else ", not beyond chance"
        )
    over_cells = f", {_interval(of_worst)} over its cells" if np.isfinite(of_worst["low"]) else ""
    text += f": most in '{worst}' ({of_worst['value']:.1f}{over_cells})"
    if batches["n"] > 1:
        text += f", least in '{batches['least']}' ({batches['least_cost']:.1f})"
    nearest, weight = batches["worst_nearest"], batches["worst_nearest_weight"]
    if weight is not None and weight > 0.5:
        text += f"; cells of '{worst}' are taken for '{nearest}' (weight {weight:.2f})"
    if own := batches["worst_n_of_own_labels"]:
        text += f"; {own} of its {batches['worst_n_cells']} cells have a label of no other batch"
    if left_out:
        text += f"; {len(left_out)} more batch{'es were' if len(left_out) > 1 else ' was'} not held out"
    return text + "."


def _describe_worth(model: str, worth: Mapping[str, Any]) -> str:
    size = f"{_with_interval(worth)} nats per cell against the average over batches"
    if worth["low"] > 0:
        return (
            f"To be told the batch of a held-out cell is worth {size} (at most {worth['most']:.1f}, the logarithm of "
            f"their number): batches differ for {model}."
        )
    return f"To be told the batch of a held-out cell is worth nothing ({size}): batches hardly differ for {model}."


def _with_interval(mean: Mapping[str, float]) -> str:
    """``-512.3 (-518.0 to -506.6)``."""
    return f"{mean['value']:.1f}" + (f" ({_interval(mean)})" if np.isfinite(mean["low"]) else "")


def _interval(mean: Mapping[str, float]) -> str:
    return f"{mean['low']:.1f} to {mean['high']:.1f}"


def headline(contents: Mapping[str, Any], study: Study) -> Headline | None:
    """The held-out likelihood of the first model, and whether it overfits."""
    found = ((model, contents.get(f"{model}.cv_summary")) for model in study.models)
    model, summary = next(((model, each) for model, each in found if each), ("", None))
    if summary is None:
        return None
    text = f"ELBO of {model} on held-out cells: {_with_interval(_numbers(summary['elbo']))} nats per cell"
    if summary["memorises"] or summary["course"] == "overfitted":
        return Headline(f"{text}; it overfits", Trust.FAILS)
    return Headline(text, Trust.HOLDS)


def _numbers(mean: Mapping[str, Any]) -> dict[str, float]:
    """The mean with NaN where a file has no number."""
    return {name: float("nan") if value is None else float(value) for name, value in mean.items()}
