"""What is added up over blocks of draws: ranks, scores, moments and correlations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scvi_downstream.pipelines.predictive_checks.evidence import (
    Ranks,
    randomised_pit,
    ranked_probability_score,
)


@pytest.mark.thorough
@given(st.floats(0.02, 30), st.integers(20, 60), st.integers(0, 1000))
def test_the_pit_of_one_more_draw_is_uniform_however_discrete(rate: float, n_samples: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate, size=(n_samples + 1, 40, 50)).astype(np.float32)
    pit = randomised_pit(counts[0], counts[1:], rng)
    assert ((pit >= 0) & (pit < 1)).all()
    assert stats.kstest(pit.ravel(), "uniform").pvalue > 1e-5


def test_narrow_and_wide_predictions_show() -> None:
    rng = np.random.default_rng(0)
    truth = rng.negative_binomial(2, 2 / 12, size=(100, 100))
    narrow = randomised_pit(truth, rng.poisson(10, size=(50, 100, 100)), rng)
    wide = randomised_pit(
        rng.poisson(10, size=(100, 100)), rng.negative_binomial(2, 2 / 12, (50, 100, 100)), rng
    )
    assert 12 * np.square(narrow - 0.5).mean() > 1.5
    assert 12 * np.square(wide - 0.5).mean() < 0.6


def test_the_score_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    draws = rng.poisson(4, size=(3000, 1, 1)).astype(np.float64)
    score, spread = ranked_probability_score(np.array([[6.0]]), draws)
    x = np.arange(60)
    cdf = stats.poisson.cdf(x, 4)
    assert score.item() == pytest.approx(np.square(cdf - (x >= 6)).sum(), abs=0.06)
    assert spread.item() == pytest.approx((cdf * (1 - cdf)).sum(), abs=0.06)


def test_histograms_hold_every_count_once() -> None:
    rng = np.random.default_rng(0)
    ranks = Ranks(np.array([0, 1, 2, 2]), rng)
    for n_cells in (3, 4):
        counts = rng.poisson(1.0, size=(21, n_cells, 4)).astype(np.float32)
        ranks.add(counts, np.log1p(counts))
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
    np.testing.assert_allclose(parts.correlations.pairs()[0], whole.correlations.pairs()[0], atol=1e-4)
    np.testing.assert_array_equal(parts.totals[0], whole.totals[0])


def test_correlations_are_numpys(overdispersed) -> None:
    evidence = overdispersed.evidence("nb")
    dense = overdispersed.counts[overdispersed.held_out].toarray()
    logs = np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4)[:, overdispersed.reference.correlated]
    above = np.triu_indices(logs.shape[1], 1)
    np.testing.assert_allclose(evidence.correlations.pairs()[0], np.corrcoef(logs.T)[above], atol=2e-3)
