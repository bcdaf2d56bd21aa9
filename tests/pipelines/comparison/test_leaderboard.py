"""One row a model, the best first, with intervals; ranks against scipy, the front against brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.stats import rankdata

from scvi_downstream.pipelines.comparison.leaderboard import build_leaderboard, rank_models
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.scoring.criteria import pareto_front
from scvi_downstream.study.defaults import defaults_of

SCVI = {"model": "scvi", "family": "SCVI", "scib_total": 0.70, "elbo_test": -700.0, "seconds": 40.0}
LDVAE = {"model": "ldvae", "family": "LinearSCVI", "scib_total": 0.69, "elbo_test": -800.0, "seconds": 20.0}
PCA = {"model": "pca", "family": "PCA", "scib_total": 0.75, "seconds": 0.2}
FAILED = {"model": "scvi_latent90", "family": "SCVI", "trial_of": "scvi", "failed": "the loss became NaN"}
NOTHING = pd.DataFrame()


def without(record, *names):
    return {name: value for name, value in record.items() if name not in names}


def board_of(*records, models=None, **evidence):
    scores = {f"{record['model']}__scores": record for record in records}
    return build_leaderboard(defaults_of(ComparisonOptions), models, **scores, **evidence)


def cells(values, share="test", **others):
    index = pd.Index([f"{share}{i}" for i in range(len(values))], name="cell")
    columns = {"share": share, "elbo": values, "reconstruction_error": 1.0, "marginal_ll": np.nan} | others
    return pd.DataFrame(columns, index=index)


def test_best_first_with_nan_where_a_metric_does_not_exist():
    board = board_of(LDVAE, PCA, SCVI)
    assert list(board.index) == ["pca", "scvi", "ldvae"]
    assert board.index.name == "model"
    assert np.isnan(board.loc["pca", "elbo_test"])
    assert list(board.columns[:4]) == ["family", "scib_total", "elbo_test", "seconds"]
    assert board["kind"].to_dict() == {"pca": "baseline", "scvi": "model", "ldvae": "model"}


def test_order_of_columns_does_not_depend_on_the_order_of_records():
    records = [SCVI | {"left_out": "why", "novel": 1.0}, PCA, LDVAE | {"scib_clisi": 0.9}]
    board = board_of(*records)
    pd.testing.assert_frame_equal(board, board_of(*reversed(records)))
    own = ["family", "scib_total", "scib_clisi", "elbo_test", "seconds", "novel"]
    assert list(board.columns[: len(own)]) == own
    assert board.columns[-1] == "left_out"


def test_without_integration_scores_the_held_out_elbo_orders():
    board = board_of(*(without(record, "scib_total") for record in (LDVAE, SCVI, PCA)))
    assert list(board.index) == ["scvi", "ldvae", "pca"]


def test_failed_trials_stand_at_the_bottom_with_their_reason():
    board = board_of(FAILED, SCVI, without(PCA, "scib_total"), scvi_latent90__score_draws=NOTHING)
    assert list(board.index) == ["scvi", "pca", "scvi_latent90"]
    assert board["failed"].dropna().to_dict() == {"scvi_latent90": "the loss became NaN"}
    assert board.loc["scvi_latent90", ["kind", "trial_of"]].to_list() == ["trial", "scvi"]
    assert not board.loc["scvi_latent90", "pareto"]


def test_a_board_of_failures_alone():
    board = board_of(FAILED, scvi_latent90__score_draws=NOTHING, scvi_latent90__cell_likelihood=NOTHING)
    assert list(board.columns) == ["family", "kind", "trial_of", "failed"]


def test_options_that_differ_within_a_family_are_columns():
    models = {
        "scvi": {
            "name": "scvi",
            "family": "SCVI",
            "n_latent": 10,
            "n_layers": 1,
            "n_hidden": 128,
            "training": {"lr": 0.001},
        },
        "scvi_latent90": {
            "name": "scvi_latent90",
            "family": "SCVI",
            "trial_of": "scvi",
            "n_layers": 2,
            "n_hidden": 128,
            "n_latent": 90,
            "training": {"lr": 0.01},
        },
        "ldvae": {
            "name": "ldvae",
            "family": "LinearSCVI",
            "n_layers": 1,
            "n_hidden": 64,
            "training": {"lr": 0.005},
        },
    }
    board = board_of(SCVI | {"n_latent": 10}, FAILED, LDVAE | {"n_latent": 10}, PCA, models=models)
    assert board["n_layers"].to_dict() == pytest.approx(
        {"pca": np.nan, "scvi": 1, "ldvae": 1, "scvi_latent90": 2}, nan_ok=True
    )
    assert board["training.lr"].to_dict() == pytest.approx(
        {"pca": np.nan, "scvi": 0.001, "ldvae": 0.005, "scvi_latent90": 0.01}, nan_ok=True
    )
    assert board.loc["scvi_latent90", "n_latent"] == 90
    assert "n_hidden" not in board


def test_intervals_of_metrics_are_percentiles_of_their_draws():
    draws = pd.DataFrame({"scib_total": np.linspace(0.6, 0.8, 201), "scib_unknown": 0.1})
    board = board_of(SCVI, PCA, scvi__score_draws=draws)
    assert board.loc["scvi", ["scib_total_low", "scib_total_high"]].to_list() == pytest.approx([0.605, 0.795])
    assert board.loc["pca", ["scib_total_low", "scib_total_high"]].isna().all()
    assert "scib_unknown_low" not in board


def test_intervals_of_likelihoods_are_those_of_a_t_test():
    values = np.random.default_rng(0).normal(-700, 50, 60)
    table = pd.concat([cells(values), cells(values - 5, "validation")])
    record = SCVI | {"elbo_test": values.mean(), "elbo_validation": values.mean() - 5}
    board = board_of(record, PCA, scvi__cell_likelihood=table)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert board.loc["scvi", ["elbo_test_low", "elbo_test_high"]].to_list() == pytest.approx(list(expected))
    assert board.loc["scvi", "elbo_validation_low"] == pytest.approx(expected.low - 5)
    assert "marginal_ll_test_low" not in board


def test_behind_best_is_paired():
    values = np.random.default_rng(0).normal(-700, 50, 60)
    gain = np.random.default_rng(1).normal(2, 1, 60)
    records = [
        without(SCVI, "scib_total") | {"elbo_test": values.mean()},
        without(LDVAE, "scib_total") | {"elbo_test": (values - gain).mean()},
    ]
    board = board_of(
        *records, scvi__cell_likelihood=cells(values), ldvae__cell_likelihood=cells(values - gain)
    )
    expected = stats.ttest_rel(values, values - gain).confidence_interval(0.95)
    behind = board.loc["ldvae", ["behind_best_low", "behind_best", "behind_best_high"]].to_list()
    assert behind == pytest.approx([expected.low, gain.mean(), expected.high])
    assert board.loc["scvi", "behind_best"] == 0
    wide = board.loc["ldvae", "elbo_test_high"] - board.loc["ldvae", "elbo_test_low"]
    assert behind[2] - behind[0] < wide / 10


def test_sixty_rows_and_infinite_scores():
    records = [SCVI | {"model": f"m{i}", "scib_total": i / 100} for i in range(60)]
    records[3]["elbo_test"] = -np.inf
    board = board_of(*records)
    assert len(board) == 60
    assert np.isnan(board.loc["m3", "elbo_test"])
    assert board["rank_scib_total"].to_list() == list(range(1, 61))


FEW_VALUES = st.sampled_from([0.0, 0.1, 0.5, 0.9, np.nan])


@settings(deadline=None)
@given(arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=FEW_VALUES))
def test_front_is_what_nothing_dominates(rows):
    def dominates(one, other):
        as_good = one[0] >= other[0] and one[1] <= other[1]
        return as_good and (one[0] > other[0] or one[1] < other[1])

    known = [row for row in rows if np.isfinite(row).all()]
    expected = [
        bool(np.isfinite(row).all()) and not any(dominates(other, row) for other in known) for row in rows
    ]
    assert pareto_front(rows * [1, -1]).tolist() == expected


@pytest.mark.thorough
@settings(deadline=None)
@given(arrays(float, st.tuples(st.integers(1, 12), st.just(3)), elements=FEW_VALUES))
def test_ranks_are_those_of_scipy(rows):
    board = pd.DataFrame(rows, columns=["scib_bio_conservation", "elbo_test", "seconds"])
    ranks = rank_models(board)
    for name, sign in (("scib_bio_conservation", -1), ("elbo_test", -1), ("seconds", 1)):
        if board[name].isna().all():
            assert f"rank_{name}" not in ranks
            continue
        expected = rankdata(sign * board[name], nan_policy="omit")
        np.testing.assert_array_equal(ranks[f"rank_{name}"], expected)


def test_mean_rank_is_of_qualities_and_only_of_rows_that_have_them_all():
    board = pd.DataFrame(
        {
            "scib_total": [0.9, 0.8, 0.7],
            "scib_bio_conservation": [0.9, 0.8, 0.7],
            "elbo_test": [-2.0, -1.0, np.nan],
            "seconds": [9.0, 5.0, 1.0],
        },
        index=["a", "b", "pca"],
    )
    mean_rank = rank_models(board)["mean_rank"]
    assert mean_rank.drop("pca").to_dict() == {"a": 1.5, "b": 1.5}
    assert np.isnan(mean_rank["pca"])


def test_nothing_to_rank():
    assert rank_models(pd.DataFrame({"family": ["SCVI"]})).empty
