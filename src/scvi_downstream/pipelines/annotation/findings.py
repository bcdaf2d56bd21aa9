"""The transfer in numbers and sentences."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.parameters import UNKNOWN, AnnotationOptions

from .calibration import FEWEST_TO_CALIBRATE
from .consensus import CONSENSUS, PREFIX, SUSPECT_FROM, Consensus
from .label_split import GIVEN, HELD_OUT, LEFT_OUT, why_not_transferable
from .scores import BY_TYPE_COLUMNS, CALIBRATION_COLUMNS, CONFUSION_COLUMNS

METHOD_NAMES = {"scanvi": "scANVI", "knn": "nearest neighbours", "clusters": "cluster majority"}
FEW_TYPES = 3


def summarize_transfer(
    label_split: pd.DataFrame,
    found: Consensus,
    cell_types: pd.DataFrame,
    p: pd.Series,
    options: AnnotationOptions,
) -> dict[str, Any]:
    """Counts, scores by method, and up to four sentences, the most important first.

    Parameters
    ----------
    label_split
        Label and role of `n_cells` cells.
    found
        The consensus and its scores.
    cell_types
        Of :func:`.cell_type_table`.
    p
        P-values of being farther from labelled cells than these are from one another.
    options
        Thresholds.
    """
    roles = label_split["role"]
    held = label_split["label"].astype(str)[roles == HELD_OUT]
    numbers: dict[str, Any] = {
        "n_given": int((roles == GIVEN).sum()),
        "n_held_out": len(held),
        "n_unknown": int((roles == UNKNOWN).sum()),
        "n_left_out": int((roles == LEFT_OUT).sum()),
        "n_types": found.probabilities[CONSENSUS].shape[1],
        "calibrated": found.calibrated,
        **found.scores,
    }
    if len(held):
        numbers["accuracy_of_the_largest_type"] = float(held.value_counts(normalize=True).iloc[0])
        numbers["held_out_far"] = float((p[roles == HELD_OUT] <= 0.05).mean())
        numbers["n_suspect"] = int(cell_types[f"{PREFIX}suspect"].sum())
    unknown = cell_types[roles == UNKNOWN]
    if len(unknown):
        numbers["unknown_called"] = float((unknown[f"{PREFIX}predicted"].astype(str) != UNKNOWN).mean())
        numbers["n_unknown_unlike"] = int(unknown[f"{PREFIX}unlike"].sum())
    sentences = [
        _accuracy(numbers, options),
        _methods(numbers, found),
        _unknown(numbers, options),
        _remarks(numbers, label_split, found, options),
    ]
    return numbers | {"sentences": [text for text in sentences if text]}


def without_transfer(
    label_split: pd.DataFrame,
) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Every cell ``unknown``, no scores, and why: no label can be transferred."""
    roles = label_split["role"]
    cell_types = pd.DataFrame(
        {
            f"{PREFIX}predicted": pd.Categorical([UNKNOWN] * len(label_split)),
            f"{PREFIX}probability": float("nan"),
            f"{PREFIX}role": roles.cat.remove_unused_categories(),
        },
        index=label_split.index,
    )
    reason = why_not_transferable(label_split)
    numbers = {"n_given": int((roles == GIVEN).sum()), "n_unknown": int((roles == UNKNOWN).sum())}
    empty = (
        pd.DataFrame(columns=list(names))
        for names in (BY_TYPE_COLUMNS, CONFUSION_COLUMNS, CALIBRATION_COLUMNS)
    )
    return cell_types, numbers | {"sentences": [f"No label was transferred: {reason}."]}, *empty


def _accuracy(numbers: dict[str, Any], options: AnnotationOptions) -> str:
    if CONSENSUS not in numbers:
        return (
            f"No labelled cell could be held out of {numbers['n_given']:,}, so how good the predicted types "
            "are is not known."
        )
    score = numbers[CONSENSUS]
    called = (
        f"at a probability of {options.min_probability:g} it calls {score['coverage']:.1%} of them, "
        f"{score['accuracy_called']:.1%} correctly"
        if score["coverage"]
        else f"none of them reaches a probability of {options.min_probability:g}"
    )
    return (
        f"The consensus gives {score['accuracy']:.1%} of {numbers['n_held_out']:,} held-out cells of "
        f"{numbers['n_types']} types their label (95% interval {score['accuracy_low']:.1%} to "
        f"{score['accuracy_high']:.1%}, macro F1 {score['macro_f1']:.2f}); {called}, and its probabilities are "
        f"off by {score['ece']:.3f} on average (expected calibration error; exact ones would show "
        f"{score['ece_if_exact']:.3f} on as many cells). The held-out cells are of the same samples and batches as the "
        "labelled ones; of cells from elsewhere expect less."
    )


def _methods(numbers: dict[str, Any], found: Consensus) -> str:
    if not found.scores:
        return ""
    each = ", ".join(
        f"{METHOD_NAMES[name]} {score['accuracy']:.1%}"
        for name, score in found.scores.items()
        if name != CONSENSUS
    )
    own = found.by_type[found.by_type["method"] == CONSENSUS].sort_values("f1", kind="stable")
    weak = own[own["f1"] < 0.8].head(FEW_TYPES)
    hard = ", ".join(f"{row.type} {row.f1:.2f} ({row.n_held_out} cells)" for row in weak.itertuples())
    return (
        f"Alone, the methods are right in: {each}; always naming the largest type would be in "
        f"{numbers['accuracy_of_the_largest_type']:.1%}" + (f"; lowest F1: {hard}." if hard else ".")
    )


def _unknown(numbers: dict[str, Any], options: AnnotationOptions) -> str:
    if not numbers["n_unknown"]:
        return ""
    n_unlike = numbers["n_unknown_unlike"]
    called = (
        f"Of {numbers['n_unknown']:,} cells without a label {numbers['unknown_called']:.1%} got a type and the "
        "others stay unknown"
    )
    if not n_unlike:
        return (
            f"{called}; none is unlike the labelled cells, but a type without labels that lies near another one "
            "is easily named like that."
        )
    return (
        f"{called}, {n_unlike:,} of them because they are farther from the labelled cells, or less certainly of "
        f"any of their types, than chance allows (false discovery rate {options.unlike_fdr:g}): they may be of a "
        "type that has no label."
    )


def _remarks(
    numbers: dict[str, Any], label_split: pd.DataFrame, found: Consensus, options: AnnotationOptions
) -> str:
    remarks = []
    if options.calibrate and not found.calibrated:
        remarks.append(
            f"the probabilities are not calibrated, for which {FEWEST_TO_CALIBRATE} held-out cells are needed"
        )
    if "clusters" not in found.probabilities:
        remarks.append(
            "the majority of clusters is left out, since the primary model was trained on the held-out labels "
            "and its clusters are no test of them"
        )
    if numbers["n_left_out"]:
        names = label_split.loc[label_split["role"] == LEFT_OUT, "label"].astype(str).unique()
        remarks.append(
            f"{len(names)} types with fewer than {options.min_cells_per_type} labelled cells are not transferred"
            f" ({', '.join(names[:5])})"
        )
    if numbers.get("n_suspect"):
        remarks.append(
            f"{numbers['n_suspect']:,} held-out cells are called as another type than their label with a "
            f"probability of at least {SUSPECT_FROM:g} (cell_type_suspect): look at their labels"
        )
    text = "; ".join(remarks)
    return f"{text[0].upper()}{text[1:]}." if text else ""
