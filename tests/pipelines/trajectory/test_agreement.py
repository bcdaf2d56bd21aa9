from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scvi_downstream.pipelines.trajectory.agreement import agreement_matrix, rank_agreement


@pytest.fixture
def orderings() -> pd.DataFrame:
    random = np.random.default_rng(0)
    time = random.random(300)
    table = pd.DataFrame(
        {
            "dpt": time,
            "slingshot": np.where(np.arange(300) < 200, time + 0.1 * random.normal(size=300), np.nan),
            "backwards": 5 - 3 * time**2,
            "noise": random.random(300),
            "constant": 1.0,
            "few": np.where(np.arange(300) < 5, time, np.nan),
        }
    )
    return table


def test_agreement_is_spearmans_over_shared_cells(orderings: pd.DataFrame) -> None:
    table = rank_agreement(orderings).set_index(["first", "second"])
    assert len(table) == 15
    row = table.loc[("dpt", "slingshot")]
    expected = stats.spearmanr(orderings["dpt"][:200], orderings["slingshot"][:200]).statistic
    assert row["spearman"] == pytest.approx(expected)
    assert row["n"] == 200
    assert row["low"] < row["spearman"] < row["high"] < 1
    said = table["orientation"]
    assert said["dpt", "slingshot"] == "same"
    assert said["dpt", "backwards"] == "opposite"
    assert table.loc[("dpt", "backwards"), "spearman"] == pytest.approx(-1)
    assert said["dpt", "noise"] == "unrelated"
    assert said["dpt", "constant"] == said["dpt", "few"] == "unknown"
    assert np.isnan(table.loc[("dpt", "few"), "spearman"])
    assert table.loc[("dpt", "few"), "n"] == 5


def test_matrix_holds_the_table(orderings: pd.DataFrame) -> None:
    table = rank_agreement(orderings)
    matrix = agreement_matrix(table, list(orderings.columns))
    assert list(matrix.columns) == list(matrix.index) == list(orderings.columns)
    np.testing.assert_array_equal(matrix.to_numpy(), matrix.to_numpy().T)
    np.testing.assert_array_equal(np.diag(matrix), 1)
    known = orderings[["dpt", "slingshot", "backwards", "noise"]]
    np.testing.assert_allclose(matrix.loc[known.columns, known.columns], known.corr(method="spearman"))
    assert agreement_matrix(table).shape == (6, 6)


def test_intervals_hold_the_truth() -> None:
    """95 % of samples of a normal pair, whose rank correlation is known, hold it."""
    random = np.random.default_rng(1)
    rho = 0.6
    truth = 6 / np.pi * np.arcsin(rho / 2)
    held = []
    for _ in range(400):
        first, second = random.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 80).T
        row = rank_agreement(pd.DataFrame({"a": first, "b": second})).iloc[0]
        held.append(row["low"] <= truth <= row["high"])
    assert 0.92 <= np.mean(held) <= 0.98


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.1, 5))
def test_only_ranks_matter(seed: int, power: float) -> None:
    random = np.random.default_rng(seed)
    first, second = random.random(40), random.random(40)
    plain = rank_agreement(pd.DataFrame({"a": first, "b": second})).iloc[0]
    bent = rank_agreement(pd.DataFrame({"a": first**power, "b": -second})).iloc[0]
    assert bent["spearman"] == pytest.approx(-plain["spearman"], abs=1e-9)


def test_one_ordering_agrees_with_nobody(orderings: pd.DataFrame) -> None:
    assert rank_agreement(orderings[["dpt"]]).empty
    assert agreement_matrix(rank_agreement(orderings[["dpt"]]), ["dpt"]).loc["dpt", "dpt"] == 1
