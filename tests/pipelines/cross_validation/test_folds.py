"""Folds are a partition with the composition of the whole, whatever the strata."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.cross_validation.refit import assign_folds, marginal_cells, split_seen
from scvi_downstream.runtime.errors import InputError


@given(
    st.integers(20, 200),
    st.integers(2, 6),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_every_combination_of_categories_is_shared_out_equally(
    n_cells: int, n_folds: int, n_batches: int, n_labels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batches = pd.Series(rng.integers(n_batches, size=n_cells)).astype(str)
    labels = pd.Series(rng.geometric(0.5, size=n_cells).clip(max=n_labels)).astype(str)
    folds = assign_folds([batches, labels], n_cells, n_folds, seed)
    assert set(folds) <= set(range(1, n_folds + 1))
    by_fold = pd.crosstab([batches, labels], folds).reindex(columns=range(1, n_folds + 1), fill_value=0)
    assert (by_fold.max(axis=1) - by_fold.min(axis=1) <= 1).all()
    assert np.array_equal(folds, assign_folds([batches, labels], n_cells, n_folds, seed))


def test_left_over_cells_even_out_batches_labels_and_sizes() -> None:
    rng = np.random.default_rng(1)
    batches = pd.Series(rng.integers(8, size=700)).astype(str)
    labels = pd.Series(rng.choice(10, p=np.arange(1, 11) / 55, size=700)).astype(str)
    folds = assign_folds([batches, labels], 700, 5, 0)
    for column in (batches, labels, pd.Series(["all"] * 700)):
        by_fold = pd.crosstab(column, folds)
        assert (by_fold.max(axis=1) - by_fold.min(axis=1)).max() <= 3


def test_another_seed_gives_other_folds_and_no_strata_are_needed() -> None:
    first, second = (assign_folds([], 101, 4, seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert sorted(np.bincount(first)[1:]) == [25, 25, 25, 26]


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(InputError, match="n_folds is 5, but 9 cells"):
        assign_folds([], 9, 5, 0)


@given(st.integers(20, 500), st.floats(0.5, 0.9), st.floats(0.05, 0.1))
def test_seen_cells_are_training_and_validation_in_the_studys_proportion(
    n_cells: int, train_size: float, validation_size: float
) -> None:
    split = split_seen(n_cells, TrainingOptions(train_size=train_size, validation_size=validation_size), 0)
    together = np.concatenate([split.train, split.validation])
    assert sorted(together) == list(range(n_cells))
    assert len(split.test) == 0
    expected = n_cells * validation_size / (train_size + validation_size)
    assert abs(len(split.validation) - expected) <= 1


def test_marginal_likelihoods_are_of_the_same_share_of_every_batch() -> None:
    obs = pd.DataFrame({"batch": ["a"] * 900 + ["b"] * 100})
    chosen = marginal_cells(obs, Keys(batch_key="batch"), 100, 0)
    assert chosen.sum() == 100
    assert chosen[900:].sum() == 10
    assert marginal_cells(obs, Keys(), 5000, 0).all()
