"""Resamples keep the sizes of batches, lose no stratum and are the same for every embedding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.scoring import resampling
from scvi_downstream.scoring.resampling import affordable_draws, draw_weights, strata_of


def drawn(batches: np.ndarray, strata: np.ndarray, n_draws: int, seed: int = 0) -> np.ndarray:
    return np.concatenate(list(draw_weights(batches, strata, n_draws, seed)))


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 4), st.integers(1, 5))
def test_batches_keep_their_sizes_and_no_stratum_vanishes(
    seed: int, n_cells: int, n_batches: int, n_labels: int
) -> None:
    rng = np.random.default_rng(seed)
    batches = np.unique(rng.integers(n_batches, size=n_cells), return_inverse=True)[1]
    strata = strata_of(rng.integers(n_labels, size=n_cells), batches)
    weights = drawn(batches, strata, 20, seed)
    assert weights.shape == (20, n_cells)
    assert (weights == np.round(weights)).all()
    for stratum in range(strata.max() + 1):
        assert (weights[:, strata == stratum].sum(axis=1) >= 1).all()
    for batch in range(batches.max() + 1):
        put_back = weights[:, batches == batch].sum(axis=1) - (batches == batch).sum()
        assert (put_back >= 0).all()
        assert (put_back < len(np.unique(strata[batches == batch]))).all()


def test_every_cell_is_drawn_once_on_average_with_the_variance_of_a_bootstrap() -> None:
    batches = np.repeat([0, 1], [30, 50])
    weights = drawn(batches, batches, 4000)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(weights.var(axis=0)[batches == 0], 1 - 1 / 30, atol=0.15)
    assert np.corrcoef(weights[:, 0], weights[:, 1])[0, 1] == pytest.approx(-1 / 29, abs=0.05)


def test_a_draw_depends_on_its_number_and_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = np.arange(40) % 3
    strata = strata_of(np.arange(40) % 5, batches)
    many = drawn(batches, strata, 12)
    np.testing.assert_array_equal(many[:5], drawn(batches, strata, 5))
    monkeypatch.setattr(resampling, "_ENTRIES_AT_ONCE", 100)
    assert [len(part) for part in draw_weights(batches, strata, 5, 0)] == [2, 2, 1]
    np.testing.assert_array_equal(many, drawn(batches, strata, 12))
    assert (many != drawn(batches, strata, 12, seed=1)).any()
    assert drawn(batches, strata, 1).shape == (1, 40)
    assert list(draw_weights(batches, strata, 0, 0)) == []


@given(st.integers(0, 1000), st.integers(1, 10**7))
def test_many_cells_are_resampled_less_often_but_thirty_times(wanted: int, n_cells: int) -> None:
    n_draws = affordable_draws(wanted, n_cells)
    assert min(wanted, 30) <= n_draws <= wanted
    assert n_draws >= affordable_draws(wanted, n_cells + 1000)
    assert n_draws * n_cells <= 600_000 or n_draws in (30, wanted)
    assert affordable_draws(200, 3000) == 200
