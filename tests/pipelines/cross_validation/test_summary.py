"""What is planted in the likelihoods is found again, in numbers and in words; what is not, is not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import parse_spec
from scvi_downstream.pipelines.cross_validation.report import summarise

from .conftest import N_FOLDS, planted

SPEC = parse_spec({"name": "scvi", "family": "SCVI"})
KEYS = Keys(batch_key="batch", label_key="cell_type")
COSTS = {"plate1": 4.0, "plate2": 6.0, "plate3": 5.0, "droplets": 40.0}


def summary_of(parts: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    return summarise(SPEC, keys=KEYS, **parts)


def said(summary: dict[str, Any], part: str) -> str:
    return next(sentence for sentence in summary["sentences"] if part in sentence)


def test_planted_costs_gap_and_levels_are_found() -> None:
    scores, summary = summary_of(planted(cost=COSTS, gap=20, worth=3))
    folds, batches = (scores[scores["held_out_by"] == by] for by in ("fold", "batch"))
    assert len(folds) == N_FOLDS
    for row in batches.itertuples():
        assert row.cost_low < COSTS[row.held_out] < row.cost_high
        assert row.cost == pytest.approx(COSTS[row.held_out], abs=1.5)
        assert row.cost_marginal == pytest.approx(COSTS[row.held_out], abs=1.5)
    assert summary["elbo"]["low"] < -600 < summary["elbo"]["high"]
    assert summary["gap"]["value"] == pytest.approx(20, abs=1)
    assert summary["memorises"]
    assert summary["worth_of_batch"]["value"] == pytest.approx(3, abs=1)
    assert summary["unseen_batches"]["cost"]["value"] == pytest.approx(np.mean(list(COSTS.values())), abs=1)
    assert summary["unseen_batches"]["worst"] == "droplets"
    assert summary["unseen_batches"]["least"] == "plate1"
    assert summary["seconds"] == pytest.approx(6.0 * (N_FOLDS + len(COSTS)))


def test_the_first_sentence_is_the_held_out_likelihood_and_all_can_be_written() -> None:
    _, summary = summary_of(planted(cost=COSTS))
    json.dumps(summary, allow_nan=False)
    first = summary["sentences"][0]
    assert first.startswith("In 5-fold cross-validation scvi gives held-out cells an ELBO of -")
    assert "marginal log-likelihood of -" in first
    assert "most in 'droplets' (4" in said(summary, "has not seen costs")
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in summary["sentences"])


def test_batches_that_cost_nothing_are_not_said_to() -> None:
    certain = []
    for seed in range(40):
        _, summary = summary_of(planted(cost=dict.fromkeys(COSTS, 0.0), gap=0, worth=0, seed=seed))
        certain.append(summary["unseen_batches"]["cost"]["low"] > 0)
        assert certain[-1] or ", not beyond chance" in said(summary, "has not seen costs")
        assert not summary["memorises"]
        assert summary["course"] == "levelled_off"
    assert np.mean(certain) <= 0.1


def test_one_batch_that_costs_much_is_no_chance_though_the_mean_is_uncertain() -> None:
    parts = planted(cost={"plate1": 1.0, "plate2": 0.0, "plate3": 2.0, "droplets": 60.0})
    parts["batch_trainings"]["trainings"][-1]["likeness"] = {"plate1": 0.97, "plate2": 0.02, "plate3": 0.01}
    _, summary = summary_of(parts)
    assert summary["unseen_batches"]["cost"]["low"] < 0
    sentence = said(summary, "has not seen costs")
    assert "batches differ too much to say what another one would cost" in sentence
    assert "cells of 'droplets' are taken for 'plate1' (weight 0.97)" in sentence


def test_what_the_batch_is_worth_is_said_either_way() -> None:
    assert "is worth 3" in said(summary_of(planted(cost=COSTS, worth=3))[1], "To be told the batch")
    assert "is worth nothing" in said(summary_of(planted(cost=COSTS, worth=-3))[1], "To be told the batch")


def test_a_batch_of_own_labels_is_said_to_be_one() -> None:
    parts = planted(cost=COSTS)
    own = (parts["obs"]["batch"] == "droplets").to_numpy() & (np.arange(len(parts["obs"])) % 3 == 0)
    parts["obs"].loc[own, "cell_type"] = "HEK"
    scores, summary = summary_of(parts)
    assert scores.set_index("held_out").loc["droplets", "n_of_own_labels"] == own.sum()
    assert f"{own.sum()} of its 120 cells have a label of no other batch" in said(
        summary, "has not seen costs"
    )


def test_without_batches_only_folds_are_told() -> None:
    parts = planted(cost=COSTS) | {"batch_cells": None, "batch_trainings": None}
    scores, summary = summary_of(parts)
    assert set(scores["held_out_by"]) == {"fold"}
    assert summary["unseen_batches"] is None
    assert not any("has not seen" in sentence for sentence in summary["sentences"])


def test_batches_that_could_not_be_held_out_are_named_with_the_reason() -> None:
    parts = planted(cost=COSTS)
    parts["batch_cells"] = parts["batch_cells"].iloc[:0]
    parts["batch_trainings"] = {"trainings": [], "left_out": {"lane": "it is the only batch"}}
    scores, summary = summary_of(parts)
    assert summary["unseen_batches"]["n"] == 0
    assert "No batch could be held out from scvi ('lane': it is the only batch)." in summary["sentences"]
    assert len(scores) == N_FOLDS


def test_cells_without_a_likelihood_are_counted_and_left_out() -> None:
    parts = planted(cost=COSTS)
    parts["fold_cells"][0].iloc[0, parts["fold_cells"][0].columns.get_loc("elbo")] = np.nan
    _, summary = summary_of(parts)
    assert summary["n_cells_without_likelihood"] == 1
    assert np.isfinite(summary["elbo"]["value"])
    assert "1 cell has no likelihood" in said(summary, "no likelihood")


def test_models_without_a_marginal_likelihood_have_none() -> None:
    parts = planted(cost=COSTS)
    for table in [*parts["fold_cells"], parts["batch_cells"]]:
        table[[name for name in table if "marginal" in name or "effective" in name]] = np.nan
    scores, summary = summary_of(parts)
    assert summary["marginal_ll"]["value"] is None
    assert "marginal" not in summary["sentences"][0]
    assert scores["marginal_ll"].isna().all()
    json.dumps(summary, allow_nan=False)
