"""Whole comparisons of simulated donors: what is planted is found, and nothing else."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.prediction.comparison import change_p_value
from scvi_downstream.pipelines.prediction.design import hold_out
from scvi_downstream.pipelines.prediction.groups import Decoder, block_names, find_groups
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.prediction.report import summarize
from scvi_downstream.pipelines.prediction.scores import Tables, compare_groups
from scvi_downstream.runtime.errors import InputError

from .conftest import KEYS, N_RESPONDERS, OPTIONS, Knowing, Truth, simulate


def compared(
    counts: AnnData, decoder: Decoder, keys: Keys = KEYS, options: PredictionOptions = OPTIONS
) -> tuple[Tables, dict, pd.DataFrame]:
    split, design = hold_out(counts, keys, options, 0)
    genes = pd.DataFrame({"gene": counts.var_names, "symbol": counts.var_names})
    groups = find_groups(counts, split, design, {"scvi": decoder}, options, 0)
    tables = compare_groups(groups, len(block_names(split)), genes, options, 0)
    return tables, summarize(design, tables.scores, tables.differences, tables.groups, {"scvi": 1.0}), split


def overall(tables: Tables, method: str, score: str) -> float:
    rows = tables.scores[tables.scores["group"] == "all groups"].set_index(["method", "score"])
    return float(rows.loc[(method, score), "value"])


def test_a_true_prediction_beats_no_change(responding: tuple[AnnData, Truth]) -> None:
    counts, truth = responding
    tables, summary, _ = compared(counts, Knowing(counts, truth))
    found = summary["targets"]["stim"]
    assert found["verdict"] == found["models"]["scvi"] == "better than no change"
    assert found["n_groups_that_change"] == found["n_groups"] == 2
    assert overall(tables, "scvi", "delta_pearson") > 0.8
    assert overall(tables, "scvi", "rmse_top") < overall(tables, "no_change", "rmse_top") / 2
    assert overall(tables, "scvi", "sign") == 1
    # types respond differently, which one shift for all misses
    assert overall(tables, "mean_shift", "rmse_top") < overall(tables, "pooled_shift", "rmse_top")
    responders = tables.expression.groupby("gene", observed=True)["responds"].all()
    found_genes, planted = set(responders.index[responders]), {f"g{i}" for i in range(N_RESPONDERS)}
    assert planted <= found_genes
    assert len(found_genes - planted) <= 3
    assert "better than no change" in summary["sentences"][0]
    assert tables.scores["value"].notna().all()
    bounded = tables.scores[tables.scores["score"].isin(["pearson", "spearman", "delta_pearson"])]
    assert (bounded["ci_lower"] <= bounded["value"]).all()
    assert (bounded["value"] <= bounded["ci_upper"]).all()


def test_a_prediction_the_wrong_way_round_is_worse_than_no_change(responding: tuple[AnnData, Truth]) -> None:
    counts, truth = responding
    tables, summary, _ = compared(counts, Knowing(counts, truth, wrong=True))
    assert summary["targets"]["stim"]["verdict"] == "worse than no change"
    assert "larger" in summary["sentences"][0]
    assert overall(tables, "scvi", "delta_pearson") < -0.5
    assert overall(tables, "scvi", "sign") == 0


def test_conditions_that_do_not_differ_leave_nothing_to_predict(unresponsive: tuple[AnnData, Truth]) -> None:
    counts, truth = unresponsive
    tables, summary, _ = compared(counts, Knowing(counts, truth))
    assert summary["targets"]["stim"]["verdict"] == "nothing to predict"
    assert "nothing to predict" in summary["sentences"][0]
    for method in ("measured_half", "mean_shift", "target_mean"):
        assert abs(overall(tables, method, "delta_pearson")) < 0.25
    assert tables.groups["n_responders"].sum() <= 2


def test_p_values_of_random_conditions_are_not_small() -> None:
    found = []
    for seed in range(15):
        counts, truth = simulate(response=0.0, seed=seed)
        split, design = hold_out(counts, KEYS, OPTIONS, seed)
        groups = find_groups(counts, split, design, {"scvi": Knowing(counts, truth)}, OPTIONS, seed)
        found += [change_p_value(group.cells, seed) for group in groups]
    assert len(found) == 30
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_training_means_come_from_training_cells_only(responding: tuple[AnnData, Truth]) -> None:
    counts, truth = responding
    first, _, split = compared(counts, Knowing(counts, truth))
    changed = counts.copy()
    unseen = split["role"].isin(["held_out", "reference"]).to_numpy()
    dense = changed.X.toarray()
    dense[unseen] = np.random.default_rng(1).poisson(5, (unseen.sum(), dense.shape[1]))
    changed.X = type(counts.X)(dense)
    second, _, _ = compared(changed, Knowing(counts, truth))
    for method in ("no_change", "mean_shift", "pooled_shift", "target_mean", "scvi"):
        np.testing.assert_allclose(first.expression[method], second.expression[method], atol=1e-12)
    assert not np.allclose(first.expression["measured"], second.expression["measured"])


def test_held_out_types_have_no_training_mean_and_the_shift_of_the_others(
    responding: tuple[AnnData, Truth],
) -> None:
    counts, truth = responding
    keys = KEYS.model_copy(update={"sample_key": None})
    tables, summary, _ = compared(counts, Knowing(counts, truth), keys)
    assert summary["held_out"] == "cell types"
    assert set(tables.groups["group"]) == {"A"}
    assert {"scvi", "scvi_unchanged", "no_change", "mean_shift", "measured_half"} == set(
        tables.scores["method"]
    )
    assert len(tables.by_gene) == 0
    assert "do not speak for other samples" in summary["sentences"][-1]


def test_genes_are_correlated_over_samples_and_types(responding: tuple[AnnData, Truth]) -> None:
    counts, truth = responding
    tables, _, _ = compared(counts, Knowing(counts, truth))
    by_gene = tables.by_gene.set_index("gene")
    assert (by_gene["n_units"] == 6).all()  # 3 held-out donors × 2 types
    assert (by_gene.loc[[f"g{i}" for i in range(N_RESPONDERS)], "pearson_change_scvi"].median()) > 0.6


def test_the_same_seed_gives_the_same_bits(responding: tuple[AnnData, Truth]) -> None:
    counts, truth = responding
    one, other = (compared(counts, Knowing(counts, truth))[0] for _ in range(2))
    for name in ("expression", "scores", "differences", "groups", "by_gene"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))


def test_small_groups_are_left_out_and_none_is_an_error(
    responding: tuple[AnnData, Truth], caplog: pytest.LogCaptureFixture
) -> None:
    counts, truth = responding
    options = OPTIONS.model_copy(update={"min_cells": 1000})
    with caplog.at_level(logging.INFO), pytest.raises(InputError, match=r"lower prediction\.min_cells"):
        compared(counts, Knowing(counts, truth), options=options)
    assert "'A' is left out in 'stim': 90 source and 90 held-out cells" in caplog.text
