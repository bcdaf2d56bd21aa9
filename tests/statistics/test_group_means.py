"""Effects and errors of groups' means against truth, scipy and planted batches."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scvi_downstream.statistics.comparisons import Comparison, one_vs_rest
from scvi_downstream.statistics.group_means import compare_means, normal_equivalent

N_GENES = 400


def _counts(rng, log_means, theta=3.0, depth_sd=0.4):
    """Gamma-Poisson counts of ``(n_cells, n_genes)`` log shares, and the shares."""
    shares = np.exp(log_means)
    shares /= shares.sum(axis=1, keepdims=True)
    depth = 2000 * rng.lognormal(0, depth_sd, len(shares))
    rates = rng.gamma(theta, shares * depth[:, None] / theta)
    return sparse.csr_matrix(rng.poisson(rates).astype(np.float32)), shares


def _groups(types):
    return list(one_vs_rest("labels", pd.Series(types.astype(str), dtype="category")))


def _totals(counts):
    return np.asarray(counts.sum(axis=1)).ravel()


def _pair(first):
    return Comparison("pairs", "a vs b", "a", "b", first, ~first)


@pytest.mark.parametrize(("n_cells", "n_first"), [(300, 150), (300, 12), (60, 30)])
def test_p_values_of_random_halves_are_uniform_enough(n_cells, n_first):
    rng = np.random.default_rng(n_first)
    small = []
    for _ in range(6):
        counts, _ = _counts(rng, np.tile(rng.normal(0, 1.3, N_GENES), (n_cells, 1)))
        first = np.arange(n_cells) < n_first
        effects, errors = compare_means(counts, _totals(counts), [_pair(first)], np.zeros(n_cells, dtype=int))
        small.append((2 * stats.norm.sf(np.abs(effects / errors)) < 0.05).mean())
    assert 0.02 < np.mean(small) < 0.07


def test_effects_are_those_of_the_true_means_within_their_errors():
    rng = np.random.default_rng(0)
    types = rng.integers(4, size=1200)
    log_means = rng.normal(0, 1.3, N_GENES) + rng.normal(0, 0.7, (4, N_GENES))[types]
    counts, shares = _counts(rng, log_means)
    groups = _groups(types)
    effects, errors = compare_means(counts, _totals(counts), groups, np.zeros(1200, dtype=int))
    for group, effect, error in zip(groups, effects, errors, strict=True):
        truth = np.log2(shares[group.cells1].mean(axis=0) / shares[group.cells2].mean(axis=0))
        assert 0.8 < np.std((effect - truth) / error) < 1.15


def test_the_error_is_welchs_where_every_cell_is_as_deep():
    rng = np.random.default_rng(1)
    rates = rng.gamma(2.0, 10.0, (400, 5))
    counts = rng.poisson(rates)
    filler = 10_000 - counts.sum(axis=1, keepdims=True)
    matrix = sparse.csr_matrix(np.hstack([counts, filler]).astype(np.float32))
    first = np.arange(400) < 200
    effects, errors = compare_means(matrix, _totals(matrix), [_pair(first)], np.zeros(400, dtype=int))
    for gene in range(5):
        means = counts[first, gene].mean(), counts[~first, gene].mean()
        parts = [
            counts[side, gene].var(ddof=1) / 200 / mean**2
            for side, mean in zip((first, ~first), means, strict=True)
        ]
        assert effects[0, gene] == pytest.approx(np.log2(means[0] / means[1]), abs=0.01)
        assert errors[0, gene] == pytest.approx(np.sqrt(sum(parts)) / np.log(2), rel=0.1)


def test_batches_are_divided_out_where_groups_are_spread_over_them_unevenly():
    rng = np.random.default_rng(2)
    types = rng.integers(3, size=1500)
    batches = np.where(rng.random(1500) < 0.6, types, rng.integers(3, size=1500))
    log_means = rng.normal(0, 1, N_GENES) + rng.normal(0, 0.4, (3, N_GENES))[types]
    _, shares = _counts(rng, log_means)
    shifted, _ = _counts(rng, log_means + rng.normal(0, 0.6, (3, N_GENES))[batches])
    groups = _groups(types)
    truth = np.array([np.log2(shares[g.cells1].mean(axis=0) / shares[g.cells2].mean(axis=0)) for g in groups])
    removed, errors = compare_means(shifted, _totals(shifted), groups, batches)
    kept, _ = compare_means(shifted, _totals(shifted), groups, np.zeros(1500, dtype=int))
    assert np.abs(removed - truth).mean() < 0.5 * np.abs(kept - truth).mean()
    assert 0.8 < np.std((removed - truth) / errors) < 1.3


def test_what_batches_and_groups_do_not_tell_apart_stays_with_the_groups():
    rng = np.random.default_rng(3)
    first = np.arange(400) < 200
    counts, _ = _counts(rng, rng.normal(0, 1, N_GENES) + np.outer(first, rng.normal(0, 1, N_GENES)))
    confounded, _ = compare_means(counts, _totals(counts), [_pair(first)], first.astype(int))
    without, _ = compare_means(counts, _totals(counts), [_pair(first)], np.zeros(400, dtype=int))
    np.testing.assert_allclose(confounded, without, atol=0.05)


def test_a_depth_that_differs_between_types_is_no_change():
    rng = np.random.default_rng(4)
    types = rng.integers(3, size=1500)
    counts, _ = _counts(rng, np.tile(rng.normal(0, 1.3, N_GENES), (1500, 1)))
    thinned = counts.toarray()
    thinned[types == 0] = rng.binomial(thinned[types == 0].astype(int), 0.25)
    counts = sparse.csr_matrix(thinned)
    effects, errors = compare_means(counts, _totals(counts), _groups(types), np.zeros(1500, dtype=int))
    assert (2 * stats.norm.sf(np.abs(effects / errors)) < 0.05).mean() < 0.08


def test_genes_in_chunks_cells_in_any_order_and_empty_cells_change_nothing(monkeypatch):
    rng = np.random.default_rng(5)
    counts, _ = _counts(rng, np.tile(rng.normal(0, 1, N_GENES), (90, 1)))
    types, batches = rng.integers(3, size=90), rng.integers(2, size=90)
    given = _groups(types)
    expected = compare_means(counts, _totals(counts), given, batches)
    monkeypatch.setattr("scvi_downstream.statistics.group_means.VALUES_AT_ONCE", 100)
    order = rng.permutation(91)
    with_empty = sparse.vstack([counts, sparse.csr_matrix((1, N_GENES), dtype=np.float32)]).tocsr()[order]
    types, batches = np.append(types, 0)[order], np.append(batches, 0)[order]
    found = compare_means(with_empty, _totals(with_empty), _groups(types), batches)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-9)


def test_normal_equivalents_keep_p_values():
    effect, t = np.array([1.0, -2.0, 0.0, 5.0]), np.array([2.5, -1.0, 0.0, 90.0])
    half_p = stats.t.sf(np.abs(t), 7)
    error = normal_equivalent(effect, half_p, np.full(4, 0.3))
    np.testing.assert_allclose(stats.norm.sf(np.abs(effect / error))[[0, 1, 3]], half_p[[0, 1, 3]], rtol=1e-6)
    assert error[2] == 0.3
    assert np.isfinite(normal_equivalent(np.ones(1), np.zeros(1), np.ones(1))).all()
