"""Ranks against scipy, the Pareto front against brute force."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from scvi_downstream.pipelines.comparison.leaderboard import pareto_front, rank_models

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
    assert pareto_front(rows[:, 0], rows[:, 1]).tolist() == expected


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
