"""One type a cell from the methods' probabilities, calibrated, with what speaks for and against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.annotation.label_split import GIVEN, HELD_OUT
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.report import summarize_transfer, summarize_without_transfer
from scvi_downstream.pipelines.annotation.scores import (
    CONSENSUS,
    FEWEST_TO_CALIBRATE,
    PREFIX,
    SUSPECT_FROM,
    no_scores,
    score_methods,
)
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.statistics.testing import benjamini_hochberg

# Share of a uniform distribution that is mixed in, so that a neighbour's 0 is not taken for impossible.
SMOOTHING = 1e-3
COLDEST, HOTTEST = 0.05, 20.0  # Temperatures beyond these leave probabilities of 0 and 1, or all alike.


@dataclass(frozen=True)
class Consensus:
    """What the methods say together.

    ``probabilities`` are method, and ``consensus``, → `n_cells` × types, calibrated where ``calibrated``; ``scores``,
    ``by_type``, ``confusion`` and ``reliability`` the results of :func:`.score_methods` on held-out cells.
    """

    probabilities: dict[str, pd.DataFrame]
    scores: dict[str, dict[str, Any]]
    by_type: pd.DataFrame
    confusion: pd.DataFrame
    reliability: pd.DataFrame
    calibrated: bool


def agree_on_cell_types(
    label_split: pd.DataFrame,
    transfer_scanvi: pd.DataFrame,
    transfer_neighbors: pd.DataFrame,
    transfer_clusters: pd.DataFrame,
    label_distances: pd.DataFrame,
    annotation: AnnotationOptions,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """One type a cell, and how good the methods and their consensus are on held-out cells.

    Parameters
    ----------
    label_split
        Label and role of `n_cells` cells.
    transfer_scanvi, transfer_neighbors, transfer_clusters
        `n_cells` × types, probabilities; without columns where a method was not used.
    label_distances
        ``p`` of the cells' distances to labelled ones.
    annotation, seed
        As for :func:`find_consensus`; thresholds of :func:`cell_type_table`.

    Returns
    -------
    Table of :func:`cell_type_table`; scores and sentences; scores by type, confusion and calibration, by ``method``.
    """
    methods = {"scanvi": transfer_scanvi, "knn": transfer_neighbors, "clusters": transfer_clusters}
    tables = {name: table for name, table in methods.items() if table.shape[1]}
    if not tables:
        columns = {
            "predicted": pd.Categorical([UNKNOWN] * len(label_split)),
            "probability": float("nan"),
            "role": label_split["role"].cat.remove_unused_categories(),
        }
        unknown = pd.DataFrame(columns, index=label_split.index).add_prefix(PREFIX)
        return unknown, summarize_without_transfer(label_split), *no_scores()[1:]
    found = find_consensus(label_split, tables, annotation, seed)
    unlike_p = unlike_p_values(tables.values(), label_distances["p"], label_split["role"])
    cell_types = cell_type_table(label_split, found, unlike_p, annotation)
    scores = summarize_transfer(label_split, found, cell_types, label_distances["p"], annotation)
    return cell_types, scores, found.by_type, found.confusion, found.reliability


def find_consensus(
    label_split: pd.DataFrame, tables: dict[str, pd.DataFrame], options: AnnotationOptions, seed: int
) -> Consensus:
    """Mean of the methods' probabilities (method → `n_cells` × types), calibrated before and after.

    ``label_split`` holds label and role of the cells; of the options, ``calibrate``, ``calibration_bins`` and
    ``min_probability`` are used; the seed is that of halves and bootstrap.
    """
    types = next(iter(tables.values())).columns
    held_out = np.flatnonzero(label_split["role"] == HELD_OUT)
    truth = types.get_indexer(label_split["label"].astype(str).iloc[held_out])
    calibrated = options.calibrate and len(held_out) >= FEWEST_TO_CALIBRATE
    halves = halves_of(truth, seed)
    raw, probabilities, temperatures = dict(tables), dict(tables), {}
    if calibrated:
        for method, table in tables.items():
            probabilities[method], temperatures[method] = calibrate(table, held_out, truth, halves)
    mean = np.mean([table.to_numpy() for table in probabilities.values()], axis=0)
    raw[CONSENSUS] = probabilities[CONSENSUS] = pd.DataFrame(mean, index=label_split.index, columns=types)
    if calibrated:
        probabilities[CONSENSUS], temperatures[CONSENSUS] = calibrate_mean(
            list(tables.values()), held_out, truth, halves
        )
    n_given = label_split.loc[label_split["role"] == GIVEN, "label"].astype(str).value_counts()
    scored = no_scores()
    if len(held_out):
        scored = score_methods(raw, probabilities, held_out, truth, n_given, options, seed)
    for method, temperature in temperatures.items():
        scored[0][method]["temperature"] = temperature
    return Consensus(probabilities, *scored, calibrated)


def cell_type_table(
    label_split: pd.DataFrame, found: Consensus, unlike_p: pd.Series, options: AnnotationOptions
) -> pd.DataFrame:
    """What is known of each cell's type, one column a fact, each beginning with ``cell_type_``.

    Below ``min_probability``, and for cells that are unlike the labelled ones at ``unlike_fdr`` (by ``unlike_p``
    of :func:`unlike_p_values`), the predicted type is ``unknown``.

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
        "role": pd.Categorical(label_split["role"].to_numpy()),
        "unlike": unlike,
        "unlike_p": unlike_p.to_numpy(),
        "suspect": held_out & is_called & other & (probability >= SUSPECT_FROM),
    }
    for name, table in methods.items():
        columns[name] = pd.Categorical.from_codes(table.argmax(axis=1), types)
        columns[f"{name}_probability"] = table.max(axis=1)
    return pd.DataFrame(columns, index=label_split.index).add_prefix(PREFIX)


def unlike_labelled(p: pd.Series, roles: pd.Series, fdr: float) -> pd.Series:
    """Whether a cell is unlike the labelled ones, at a false discovery rate within its role."""
    adjusted = p.groupby(roles, observed=True).transform(lambda values: benjamini_hochberg(values.to_numpy()))
    return (adjusted <= fdr).rename("unlike")


def unlike_p_values(tables: Iterable[pd.DataFrame], distance_p: pd.Series, roles: pd.Series) -> pd.Series:
    """Whether distance or certainty is out of the ordinary: the smaller p-value, times two (Bonferroni).

    ``tables`` are `n_cells` × types of each method, uncalibrated; ``distance_p`` is of :func:`.distance_p_values`.
    """
    certainty = np.mean([table.to_numpy() for table in tables], axis=0).max(axis=1)
    smaller = np.fmin(certainty_p_values(certainty, roles), distance_p.to_numpy())
    return pd.Series(np.minimum(2 * smaller, 1), index=roles.index, name="unlike_p")


def certainty_p_values(certainty: np.ndarray, roles: pd.Series) -> np.ndarray:
    """Conformal p-values of each cell's highest probability among those of held-out cells, missing for given cells.

    Under the hypothesis that a cell is of the types that are transferred, it is as uncertain as a held-out cell in
    a share p of cases. Held-out cells are compared with the other ones. ``certainty`` is the ``(n_cells,)``
    highest mean probability, uncalibrated: calibration makes cells of known types certain, and others with them.
    """
    held_out = (roles == HELD_OUT).to_numpy()
    known = np.sort(certainty[held_out])
    as_uncertain = np.searchsorted(known, certainty, side="right")
    p = (1 + as_uncertain - held_out) / (len(known) + 1 - held_out)
    return np.where(roles == GIVEN, np.nan, np.minimum(p, 1))


def calibrate(
    probabilities: pd.DataFrame, held_out: np.ndarray, truth: np.ndarray, halves: np.ndarray
) -> tuple[pd.DataFrame, float]:
    """Tempered probabilities: of held-out cells by a temperature that has not seen them, of others by one of all.

    ``held_out`` are positions, ``truth`` the columns of their true types and ``halves`` their halves, each of
    which gets the other's temperature. `n_cells` × types, and the temperature of all held-out cells.
    """
    values = probabilities.to_numpy(dtype=float)
    temperature = fit_temperature(values[held_out], truth)
    tempered = temper(values, temperature)
    for half in (0, 1):
        cells, seen = held_out[halves == half], halves != half
        tempered[cells] = temper(values[cells], fit_temperature(values[held_out[seen]], truth[seen]))
    return pd.DataFrame(tempered, index=probabilities.index, columns=probabilities.columns), temperature


def calibrate_mean(
    tables: Sequence[pd.DataFrame], held_out: np.ndarray, truth: np.ndarray, halves: np.ndarray
) -> tuple[pd.DataFrame, float]:
    """Tempered mean of tempered tables; no temperature of a held-out cell, of either step, has seen its half.

    Arguments and results are as of :func:`calibrate`; the temperature is that of the mean.
    """
    values = [table.to_numpy(dtype=float) for table in tables]

    def fitted_on(seen: np.ndarray) -> tuple[np.ndarray, float]:
        tempered = [temper(table, fit_temperature(table[held_out[seen]], truth[seen])) for table in values]
        mean = np.mean(tempered, axis=0)
        temperature = fit_temperature(mean[held_out[seen]], truth[seen])
        return temper(mean, temperature), temperature

    result, temperature = fitted_on(np.ones(len(held_out), dtype=bool))
    for half in (0, 1):
        cells = held_out[halves == half]
        result[cells] = fitted_on(halves != half)[0][cells]
    first = tables[0]
    return pd.DataFrame(result, index=first.index, columns=first.columns), temperature


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """``p^(1/T)``, normalised: above 1 the probabilities become more alike, below 1 more decided.

    Rows of ``(n, n_types)`` sum to 1. A thousandth of a uniform distribution is mixed in, so that a neighbour's 0
    is not taken for impossible.
    """
    smooth = (1 - SMOOTHING) * probabilities + SMOOTHING / probabilities.shape[1]
    logits = np.log(smooth) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Temperature of the highest likelihood of the true types, with a standard normal prior on its logarithm.

    ``probabilities`` are ``(n, n_types)``, ``truth`` is the ``(n,)`` column of each cell's true type.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        tempered = temper(probabilities, float(np.exp(log_temperature)))
        likelihood = np.log(np.maximum(tempered[rows, truth], np.finfo(float).tiny)).sum()
        return float(log_temperature**2 / 2 - likelihood)

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def halves_of(truth: np.ndarray, seed: int) -> np.ndarray:
    """``(n,)`` 0 or 1: each type is divided as evenly as it can be."""
    shuffled = np.random.default_rng(seed).permutation(len(truth))
    ordered = shuffled[np.argsort(truth[shuffled], kind="stable")]
    halves = np.empty(len(truth), dtype=int)
    halves[ordered] = np.arange(len(truth)) % 2
    return halves
