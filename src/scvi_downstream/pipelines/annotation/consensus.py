"""One type a cell from the methods' probabilities, with what speaks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.annotation.label_split import GIVEN, HELD_OUT
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.scores import (
    BY_TYPE_COLUMNS,
    CALIBRATION_COLUMNS,
    CONFUSION_COLUMNS,
    FEWEST_TO_CALIBRATE,
    calibrate,
    calibrate_mean,
    halves_of,
    score_methods,
)
from scvi_downstream.pipelines.annotation.transfer import unlike_labelled
from scvi_downstream.runtime.options import UNKNOWN

CONSENSUS = "consensus"
SUSPECT_FROM = 0.9
PREFIX = "cell_type_"


@dataclass(frozen=True)
class Consensus:
    """What the methods say together.

    Attributes
    ----------
    raw, probabilities
        Method, and ``consensus``, → `n_cells` × types, before and after calibration.
    scores
        Method → scores on held-out cells.
    by_type, confusion, calibration
        Tables of :func:`.score_methods`.
    held_out
        Positions of the held-out cells.
    calibrated
        Whether probabilities were calibrated.
    """

    raw: dict[str, pd.DataFrame]
    probabilities: dict[str, pd.DataFrame]
    scores: dict[str, dict[str, Any]]
    by_type: pd.DataFrame
    confusion: pd.DataFrame
    calibration: pd.DataFrame
    held_out: np.ndarray
    calibrated: bool


def find_consensus(
    label_split: pd.DataFrame, tables: dict[str, pd.DataFrame], options: AnnotationOptions, seed: int
) -> Consensus:
    """Mean of the methods' probabilities, calibrated before and after.

    Parameters
    ----------
    label_split
        Label and role of `n_cells` cells.
    tables
        Method → `n_cells` × types.
    options
        ``calibrate``, ``calibration_bins``, ``min_probability``.
    seed
        Of halves and bootstrap.
    """
    types = next(iter(tables.values())).columns
    held_out = np.flatnonzero(label_split["role"] == HELD_OUT)
    truth = types.get_indexer(label_split["label"].astype(str).iloc[held_out])
    calibrated = options.calibrate and len(held_out) >= FEWEST_TO_CALIBRATE
    halves = halves_of(truth, seed)
    raw, probabilities, temperatures = dict(tables), dict(tables), {}
    for method, table in tables.items():
        if calibrated:
            probabilities[method], temperatures[method] = calibrate(table, held_out, truth, halves)
    mean = np.mean([table.to_numpy() for table in probabilities.values()], axis=0)
    raw[CONSENSUS] = probabilities[CONSENSUS] = pd.DataFrame(mean, index=label_split.index, columns=types)
    if calibrated:
        probabilities[CONSENSUS], temperatures[CONSENSUS] = calibrate_mean(
            list(tables.values()), held_out, truth, halves
        )
    scores: dict[str, dict[str, Any]] = {}
    by_type, confusion, reliability = (
        pd.DataFrame(columns=list(columns))
        for columns in (BY_TYPE_COLUMNS, CONFUSION_COLUMNS, CALIBRATION_COLUMNS)
    )
    if len(held_out):
        given = label_split.loc[label_split["role"] == GIVEN, "label"].astype(str).value_counts()
        scores, by_type, confusion, reliability = score_methods(
            raw,
            probabilities,
            held_out,
            truth,
            given,
            min_probability=options.min_probability,
            n_bins=options.calibration_bins,
            seed=seed,
        )
        for method, temperature in temperatures.items():
            scores[method]["temperature"] = temperature
    return Consensus(raw, probabilities, scores, by_type, confusion, reliability, held_out, calibrated)


def cell_type_table(
    label_split: pd.DataFrame, found: Consensus, unlike_p: pd.Series, options: AnnotationOptions
) -> pd.DataFrame:
    """What is known of each cell's type, one column a fact, each beginning with ``cell_type_``.

    Parameters
    ----------
    label_split
        Label and role of `n_cells` cells.
    found
        Probabilities of the methods and the consensus.
    unlike_p
        Of :func:`.unlike_p_values`.
    options
        Below ``min_probability``, and for cells that are unlike the labelled ones at ``unlike_fdr``, the
        predicted type is ``unknown``.

    Returns
    -------
    ``predicted``, ``probability`` (of the consensus' best type, called or not), ``agreement`` (share of
    methods with the same best type), ``entropy`` (nats), ``role``, ``unlike`` and its ``unlike_p``,
    ``suspect`` (a held-out cell called as another type than its label with a probability of at least 0.9), and
    best type and its probability by each method.
    """
    consensus = found.probabilities[CONSENSUS]
    values = consensus.to_numpy()
    best, probability = values.argmax(axis=1), values.max(axis=1)
    methods = {name: table.to_numpy() for name, table in found.probabilities.items() if name != CONSENSUS}
    votes = [table.argmax(axis=1) == best for table in methods.values()]
    unlike = unlike_labelled(unlike_p, label_split["role"], options.unlike_fdr).to_numpy()
    is_called = (probability >= options.min_probability) & ~unlike
    types = list(consensus.columns)
    predicted = pd.Categorical.from_codes(np.where(is_called, best, len(types)), [*types, UNKNOWN])
    other = np.array(types, dtype=object)[best] != label_split["label"].astype(str).to_numpy()
    held_out = (label_split["role"] == HELD_OUT).to_numpy()
    columns: dict[str, Any] = {
        "predicted": predicted.remove_unused_categories(),
        "probability": probability,
        "agreement": np.mean(votes, axis=0),
        "entropy": -np.sum(values * np.log(np.maximum(values, np.finfo(float).tiny)), axis=1),
        "role": label_split["role"].cat.remove_unused_categories().to_numpy(),
        "unlike": unlike,
        "unlike_p": unlike_p.to_numpy(),
        "suspect": held_out & is_called & other & (probability >= SUSPECT_FROM),
    }
    for name, table in methods.items():
        columns[name] = pd.Categorical.from_codes(table.argmax(axis=1), types)
        columns[f"{name}_probability"] = table.max(axis=1)
    columns["role"] = pd.Categorical(columns["role"])
    named = {PREFIX + name: column for name, column in columns.items()}
    return pd.DataFrame(named, index=label_split.index)
