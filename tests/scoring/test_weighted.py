"""Weighted means and medians are those of the cells repeated as often as their weights say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.scoring.resampling import mean_over_groups, weighted_median


@given(st.integers(0, 10_000), st.integers(1, 30))
def test_are_those_of_the_repeated_cells(seed: int, n_cells: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=n_cells), 1)
    weights = np.concatenate(
        [np.ones((1, n_cells)), rng.multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=3)]
    )
    repeated = [np.repeat(np.arange(n_cells), draw.astype(int)) for draw in weights]
    np.testing.assert_allclose(
        mean_over_groups([(np.arange(n_cells), values)], weights),
        [values[cells].mean() for cells in repeated],
        atol=1e-12,
    )
    np.testing.assert_array_equal(
        weighted_median(values, weights), [np.median(values[cells]) for cells in repeated]
    )


def test_missing_values_are_left_out_of_medians_and_nothing_has_none() -> None:
    values = np.array([3.0, np.nan, 1.0, 2.0])
    assert weighted_median(values, np.array([[1.0, 5.0, 1.0, 1.0]]))[0] == 2
    assert np.isnan(weighted_median(values, np.array([[0.0, 5.0, 0.0, 0.0]]))[0])


def test_groups_count_alike_whatever_their_size() -> None:
    groups = [(np.array([0]), np.array([1.0])), (np.array([1, 2, 3]), np.array([0.0, 0.0, 0.6]))]
    scores = mean_over_groups(groups, np.array([[1.0, 1, 1, 1], [4, 0, 0, 2]]))
    np.testing.assert_allclose(scores, [0.6, 0.8])
    assert np.isnan(mean_over_groups([], np.ones((1, 3)))[0])
    assert np.isnan(mean_over_groups(groups, np.array([[0.0, 1, 1, 1]]))[0])


def test_a_draw_of_one_cell_is_that_cell() -> None:
    assert weighted_median(np.array([5.0, 7.0]), np.array([[0.0, 2.0]]))[0] == pytest.approx(7)
