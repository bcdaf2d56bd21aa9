"""Scores against scipy and noise; whole comparisons of simulated donors find what is planted, and nothing else."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse, stats

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.pipelines.prediction import scores
from scvi_downstream.pipelines.prediction.comparison import (
    Blocks,
    Decoded,
    Group,
    TrainingMeans,
    change_p_value,
    halved_weights,
    log_mean,
    measured,
    measured_again,
    predict,
    shares_of,
    whole_weights,
)
from scvi_downstream.pipelines.prediction.design import Decoder, block_names, find_groups, hold_out
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.prediction.report import summarize_prediction
from scvi_downstream.pipelines.prediction.scores import Tables, compare_groups
from scvi_downstream.runtime.errors import InputError

from .conftest import KEYS, N_RESPONDERS, OPTIONS, Knowing, Truth, simulate

N_GENES = 200


def group(*, seed: int = 0, n: int = 40, change: np.ndarray | None = None) -> Group:
    """Poisson cells of one block; the target's rates are changed by ``exp(change)``."""
    rng = np.random.default_rng(seed)
    base = rng.lognormal(0, 1, N_GENES)
    after = base * np.exp(np.zeros(N_GENES) if change is None else change)
    before, after = base / base.sum(), after / after.sum()
    cells = [shares_of(rng.poisson(500 * np.tile(mean, (n, 1)))) for mean in (before, before, after)]
    blocks = Blocks(*[np.zeros(n, dtype=int)] * 3, n=1)
    decoded = Decoded(np.tile(before, (1, n, 1)), np.tile(after, (1, n, 1)))
    training = TrainingMeans(target=log_mean(after))
    return Group(*cells, blocks=blocks, training=training, decoded={"scvi": decoded})


def halves(cells: Group, n: int = 10):
    return halved_weights(
        cells.blocks, np.ones((n, 1)), np.random.default_rng(0), resampled=np.zeros(n, dtype=bool)
    )


def test_scores_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    cells = group(change=np.where(np.arange(N_GENES) < 20, 1.0, 0.0))
    pair = halves(cells, 3)
    found = scores.score_halves(cells, pair, 15)
    truth, given, again = (
        measured(cells, pair[1]),
        predict(cells, pair[0])["scvi"],
        measured_again(cells, pair[0]),
    )
    rows = {"delta_pearson": [], "spearman": [], "rmse_top": [], "r2_top": []}
    for row in range(6):
        top = np.argsort(-np.abs(again.change[row]), kind="stable")[:15]
        x, y = given.expression[row], truth.expression[row]
        rows["delta_pearson"].append(stats.pearsonr(given.change[row], truth.change[row])[0])
        rows["spearman"].append(stats.spearmanr(x, y)[0])
        rows["rmse_top"].append(np.sqrt(np.mean((x[top] - y[top]) ** 2)))
        rows["r2_top"].append(1 - np.sum((x[top] - y[top]) ** 2) / np.sum((y[top] - y[top].mean()) ** 2))
    for name, values in rows.items():
        np.testing.assert_allclose(found["scvi"][name], np.reshape(values, (3, 2)).mean(axis=1), rtol=1e-9)
    x, y = rng.normal(size=(2, 3, 50))
    np.testing.assert_allclose(
        scores.pearson(x, y), [stats.pearsonr(*pair)[0] for pair in zip(x, y, strict=True)]
    )
    assert np.isnan(scores.pearson(np.ones((1, 5)), np.arange(5)[None])).all()


def test_noise_of_the_source_is_not_taken_for_a_change() -> None:
    """A fixed prediction less a noisy source correlates with a target less the same source; ours does not."""
    naive, ours = [], []
    for seed in range(12):
        cells = group(seed=seed)
        whole = whole_weights(cells.blocks)
        again = measured_again(cells, whole).change[0]
        naive.append(np.corrcoef(predict(cells, whole)["target_mean"].change[0], again)[0, 1])
        ours.append(scores.score_halves(cells, halves(cells), 20)["target_mean"]["delta_pearson"].mean())
    assert np.mean(naive) > 0.5
    assert abs(np.mean(ours)) < 3 * np.std(ours) / np.sqrt(len(ours)) + 0.02


def test_predictions_do_not_look_at_the_target_or_the_reference() -> None:
    cells, other = group(), group(seed=1, change=np.full(N_GENES, 1.0))
    changed = Group(cells.source, other.reference, other.target, cells.blocks, cells.training, cells.decoded)
    whole = whole_weights(cells.blocks)
    before, after = predict(cells, whole), predict(changed, whole)
    for name in before:
        np.testing.assert_array_equal(before[name].expression, after[name].expression)
        np.testing.assert_array_equal(before[name].change, after[name].change)


def test_right_signs() -> None:
    predicted = np.array([[1.0, -1, 2, 0], [1, 1, 1, 1]])
    change = np.array([2.0, 1, -1, 5])
    responders = np.array([True, True, False, True])
    np.testing.assert_allclose(scores.right_signs(predicted, change, responders), [1 / 3, 1])
    assert np.isnan(scores.right_signs(np.zeros((1, 4)), change, responders)).all()
    assert np.isnan(scores.right_signs(predicted, change, np.zeros(4, dtype=bool))).all()


def test_intervals_lie_about_the_estimate_and_within_bounds() -> None:
    rng = np.random.default_rng(0)
    replicates = rng.normal(0.5, 0.1, 4000)
    value, low, high = scores.interval("delta_pearson", np.array([0.6, 0.8]), replicates)
    assert value == pytest.approx(0.7)
    assert (low, high) == pytest.approx((0.7 - 0.196, 0.7 + 0.196), abs=0.01)
    assert scores.interval("delta_pearson", np.array([0.95]), replicates)[2] == 1.0
    assert scores.interval("rmse", np.array([0.1]), replicates)[1] == 0.0
    assert np.isnan(scores.interval("rmse", np.array([np.nan]), replicates)).all()
    assert scores.better_by("rmse", np.array([1.0]), np.array([3.0])) == 2
    assert scores.better_by("delta_pearson", np.array([1.0]), np.array([3.0])) == -2


def test_shares_add_up_to_one_and_empty_cells_stay_zero() -> None:
    counts = sparse.csr_matrix(np.array([[1, 3, 0], [0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(shares_of(counts).toarray(), [[0.25, 0.75, 0], [0, 0, 0]])
    assert counts.toarray().sum() == 4


def compared(
    counts: AnnData, decoder: Decoder, keys: Replicates = KEYS, options: PredictionOptions = OPTIONS
) -> tuple[Tables, dict, pd.DataFrame]:
    split, design = hold_out(counts, keys, options, 0)
    genes = pd.DataFrame({"gene": counts.var_names, "symbol": counts.var_names})
    groups = find_groups(counts, split, design, {"scvi": decoder}, keys, options, 0)
    tables = compare_groups(groups, len(block_names(split)), genes, options, 0)
    training = {"scvi": {"seconds": 1.0}}
    summary = summarize_prediction(design, tables.scores, tables.differences, tables.groups, **training)
    return tables, summary, split


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
    assert overall(tables, "scvi", "sign") > 0.9  # of twenty called genes one is called by chance
    # types respond differently, which one shift for all misses
    assert overall(tables, "mean_shift", "rmse_top") < overall(tables, "pooled_shift", "rmse_top")
    responders = tables.expression.groupby("gene", observed=True)["responds"].all()
    found_genes, planted = set(responders.index[responders]), {f"g{i}" for i in range(N_RESPONDERS)}
    assert planted <= found_genes
    assert len(found_genes - planted) <= 3
    assert "better than no change" in summary["sentences"][1]
    # what knows how types differ is delivered
    assert found["predictor"] == "scvi"
    assert tables.scores["value"].notna().all()
    bounded = tables.scores[tables.scores["score"].isin(["pearson", "spearman", "delta_pearson"])]
    assert (bounded["ci_lower"] <= bounded["value"]).all()
    assert (bounded["value"] <= bounded["ci_upper"]).all()


def test_a_prediction_the_wrong_way_round_is_worse_than_no_change(responding: tuple[AnnData, Truth]) -> None:
    counts, truth = responding
    tables, summary, _ = compared(counts, Knowing(counts, truth, wrong=True))
    assert summary["targets"]["stim"]["verdict"] == "worse than no change"
    assert "larger" in summary["sentences"][1]
    # the mean shift is right, so it is what is delivered and named
    assert summary["targets"]["stim"]["predictor"] == "mean_shift"
    assert "is predicted from 'ctrl' by the mean shift of the training cells" in summary["sentences"][0]
    assert (tables.expression["predictor"] == "mean_shift").all()
    for end in ("", "_lower", "_upper", "_change"):
        np.testing.assert_array_equal(
            tables.expression[f"predicted{end}"], tables.expression[f"mean_shift{end}"]
        )
    # two types, each chosen for by the other alone, are worth a little less than the best of both
    assert 0.5 < overall(tables, "chosen", "explained") <= overall(tables, "mean_shift", "explained")
    assert overall(tables, "scvi", "explained") < 0 == overall(tables, "no_change", "explained")
    # a perfect prediction explains what two halves share
    assert overall(tables, "measured_half", "explained") > overall(tables, "mean_shift", "explained") - 0.05
    assert overall(tables, "scvi", "delta_pearson") < -0.5
    assert overall(tables, "scvi", "sign") < 0.1


def test_conditions_that_do_not_differ_leave_nothing_to_predict(unresponsive: tuple[AnnData, Truth]) -> None:
    counts, truth = unresponsive
    tables, summary, _ = compared(counts, Knowing(counts, truth))
    assert summary["targets"]["stim"]["verdict"] == "nothing to predict"
    assert "nothing to predict" in summary["sentences"][0]
    for method in ("measured_half", "mean_shift", "target_mean"):
        assert abs(overall(tables, method, "delta_pearson")) < 0.25
    assert tables.groups["n_responders"].sum() <= 2
    assert (tables.groups["predictor"] == "no_change").all()
    assert not tables.expression["predicted_change"].any()
    assert overall(tables, "mean_shift", "explained") < 0
    assert abs(overall(tables, "measured_half", "explained")) < 0.25


def test_the_predictor_surely_explains_some_change_in_the_given_groups() -> None:
    def group_scores(**explained: float) -> scores.Scores:
        noise = np.random.default_rng(0).normal(0, 0.05, 120)
        found = {"no_change": {"explained": np.zeros(120), "rmse": np.ones(120)}}
        for name, value in explained.items():
            found[name] = {"explained": value + noise, "rmse": np.full(120, 1 - value)}
        return found

    one, other = group_scores(scvi=0.9, mean_shift=0.3), group_scores(scvi=0.2, mean_shift=0.5)
    among = {"no_change", "scvi", "mean_shift"}
    assert scores.choose_predictor([one, other], among) == scores.choose_predictor([one], among) == "scvi"
    assert scores.choose_predictor([other], among) == "mean_shift"
    assert scores.choose_predictor([one], {"no_change", "mean_shift"}) == "mean_shift"
    weak = group_scores(scvi=0.05, mean_shift=-0.3)  # not told apart from none, and less than none
    assert scores.choose_predictor([weak], among) == "no_change"
    # a change in the right direction does not help where the expression is further off than the source
    other["mean_shift"]["rmse"] += 1
    assert scores.choose_predictor([other], among) == "scvi"


@pytest.mark.thorough
def test_p_values_of_random_conditions_are_not_small() -> None:
    found = []
    for seed in range(15):
        counts, truth = simulate(response=0.0, seed=seed)
        split, design = hold_out(counts, KEYS, OPTIONS, seed)
        groups = find_groups(counts, split, design, {"scvi": Knowing(counts, truth)}, KEYS, OPTIONS, seed)
        found += [change_p_value(group, seed) for group in groups]
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
    assert {"scvi", "scvi_unchanged", "no_change", "mean_shift", "measured_half", "chosen"} == set(
        tables.scores["method"]
    )
    # A responds less than B, whose shift is all that its own cells tell
    assert (tables.expression["predictor"] == "scvi").all()
    assert "a little too high" in summary["sentences"][0]
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
