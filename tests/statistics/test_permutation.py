import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.statistics.testing import compare_with_null, exchangeable_share, permute_within


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60))
def test_every_stratum_keeps_its_batches(cells):
    batches, strata = np.array(cells).T
    arranged = permute_within(batches, strata, 5, seed=1)
    assert (arranged[0] == batches).all()
    for row in arranged:
        for stratum in np.unique(strata):
            own = strata == stratum
            assert sorted(row[own]) == sorted(batches[own])


def test_permutations_differ_and_follow_the_seed():
    batches, strata = np.arange(40) % 4, np.zeros(40, dtype=int)
    first, again = (permute_within(batches, strata, 3, seed=2) for _ in range(2))
    assert (first == again).all()
    assert len({tuple(row) for row in first}) == 4


def test_a_label_of_one_batch_is_not_exchangeable():
    assert exchangeable_share(np.array([0, 1, 2, 2]), np.array([0, 0, 1, 1])) == 0.5


def test_p_counts_the_observed_one():
    test = compare_with_null(np.array([0.9, *np.linspace(0.4, 0.6, 99)]))
    assert test.p == pytest.approx(0.01)
    assert (test.null_mean, test.permutations) == (pytest.approx(0.5), 99)
    assert test.null_low < test.null_mean < test.null_high
    assert compare_with_null(np.full(40, 0.7)).p == 1.0
    assert np.isnan(compare_with_null(np.array([0.9, np.nan, 0.5])).p)
