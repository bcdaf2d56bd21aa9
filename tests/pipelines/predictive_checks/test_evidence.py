"""What is added up over blocks of draws: ranks, scores, moments and correlations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scvi_downstream.pipelines.predictive_checks.counting import OverDraws, over_draws
from scvi_downstream.pipelines.predictive_checks.evidence import (
    Ranks,
    _cumulants,
    randomised_pit,
    ranked_probability_score,
)


def added_up(observed: np.ndarray, draws: np.ndarray) -> OverDraws:
    counts = np.concatenate([observed[None], draws]).astype(np.float32)
    return over_draws(counts, np.full(observed.shape[-1], 0.3))


@given(st.floats(0.02, 100), st.integers(3, 40), st.integers(0, 1000))
def test_sums_over_draws_are_numpys(rate: float, n_samples: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    draws = rng.poisson(rng.gamma(0.5, rate, size=(n_samples, 3, 5)))
    observed = rng.poisson(rate, size=(3, 5))
    found, logs, own = added_up(observed, draws), np.log1p(draws), np.log1p(observed)
    spread = (logs - 0.3) ** 2 - 0.3**2
    for power in (1, 2, 3):
        np.testing.assert_allclose(found.counts[power - 1], (draws.astype(float) ** power).sum(axis=0))
        np.testing.assert_allclose(found.spread[power - 1], (spread**power).sum(axis=0), atol=1e-9)
    np.testing.assert_array_equal(found.zeros, (draws == 0).sum(axis=0))
    np.testing.assert_array_equal(found.below, (draws < observed).sum(axis=0))
    np.testing.assert_array_equal(found.ties, (draws == observed).sum(axis=0))
    np.testing.assert_allclose(found.distance, np.abs(logs - own).sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.between, np.abs(logs - np.roll(logs, 1, axis=0)).sum(axis=0), atol=1e-9)
    both = np.concatenate([observed[None], draws])
    for values, of_genes in zip((both, both**2, both > 0), found.of_genes, strict=True):
        np.testing.assert_array_equal(of_genes, values.sum(axis=1))
    for values, of_cells in zip((both, both > 0), found.of_cells, strict=True):
        np.testing.assert_array_equal(of_cells, values.sum(axis=2))


@given(st.integers(3, 60), st.integers(0, 1000))
def test_cumulants_are_scipys(n: int, seed: int) -> None:
    values = np.random.default_rng(seed).gamma(0.5, 3, size=(n, 4))
    found = _cumulants(np.stack([(values**power).sum(axis=0) for power in (1, 2, 3)]), n)
    for order, cumulant in enumerate(found, start=1):
        np.testing.assert_allclose(cumulant, stats.kstat(values, order, axis=0), rtol=1e-6, atol=1e-9)


@pytest.mark.thorough
@given(st.floats(0.02, 30), st.integers(20, 60), st.integers(0, 1000))
def test_the_pit_of_one_more_draw_is_uniform_however_discrete(rate: float, n_samples: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate, size=(n_samples + 1, 40, 50)).astype(np.float32)
    pit = randomised_pit(added_up(counts[0], counts[1:]), n_samples, rng)
    assert ((pit >= 0) & (pit < 1)).all()
    assert stats.kstest(pit.ravel(), "uniform").pvalue > 1e-5


def test_narrow_and_wide_predictions_show() -> None:
    rng = np.random.default_rng(0)
    truth = rng.negative_binomial(2, 2 / 12, size=(100, 100))
    narrow = randomised_pit(added_up(truth, rng.poisson(10, size=(50, 100, 100))), 50, rng)
    draws = rng.negative_binomial(2, 2 / 12, (50, 100, 100))
    wide = randomised_pit(added_up(rng.poisson(10, size=(100, 100)), draws), 50, rng)
    assert 12 * np.square(narrow - 0.5).mean() > 1.5
    assert 12 * np.square(wide - 0.5).mean() < 0.6


def test_the_score_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    draws = rng.poisson(4, size=(3000, 1, 1))
    score, spread = ranked_probability_score(added_up(np.array([[6]]), draws), 3000)
    x = np.arange(60)
    cdf, steps = stats.poisson.cdf(x, 4), np.diff(np.log1p(np.arange(61)))
    assert score.item() == pytest.approx(np.square(cdf - (x >= 6)) @ steps, abs=0.015)
    assert spread.item() == pytest.approx((cdf * (1 - cdf)) @ steps, abs=0.015)


def test_histograms_hold_every_count_once() -> None:
    rng = np.random.default_rng(0)
    ranks = Ranks(np.array([0, 1, 2, 2]), rng)
    for n_cells in (3, 4):
        counts = rng.poisson(1.0, size=(21, n_cells, 4)).astype(np.float32)
        ranks.add(over_draws(counts, np.zeros(4)), 20)
    histogram = np.concatenate(ranks.histograms)
    assert histogram.shape == (7, 3, 40)
    assert (histogram.sum(axis=2) == [1, 1, 2]).all()
    assert np.concatenate(ranks.scores).shape == (7, 3)


def test_blocks_do_not_matter_for_what_was_observed(overdispersed, monkeypatch: pytest.MonkeyPatch) -> None:
    from scvi_downstream.pipelines.predictive_checks import evidence as module

    whole = overdispersed.evidence("nb")
    monkeypatch.setattr(module, "_ENTRIES_AT_ONCE", 40 * 200 * 7)
    parts = overdispersed.evidence("nb")
    assert len(parts.ranks.scores) > len(whole.ranks.scores)
    np.testing.assert_allclose(parts.genes.squares[0], whole.genes.squares[0], rtol=1e-5)
    np.testing.assert_allclose(parts.pairs[0], whole.pairs[0], atol=1e-4)
    np.testing.assert_array_equal(parts.totals[0], whole.totals[0])


def test_correlations_are_numpys(overdispersed) -> None:
    evidence = overdispersed.evidence("nb")
    dense = overdispersed.counts[overdispersed.held_out].toarray()
    logs = np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4)[:, overdispersed.reference.correlated]
    above = np.triu_indices(logs.shape[1], 1)
    np.testing.assert_allclose(evidence.pairs[0], np.corrcoef(logs.T)[above], atol=2e-3)
