import numpy as np
import pytest

from scvi_downstream.scoring.mixing import explained_by_batch, explained_in_resamples, pcr_comparison


def test_is_the_explained_variance_of_a_regression_on_the_batch():
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(0)
    batches = np.arange(150) % 3
    points = rng.normal(size=(150, 6)) * np.arange(1, 7) + batches[:, None]
    fitted = LinearRegression().fit(np.eye(3)[batches], points).predict(np.eye(3)[batches])
    residual = np.square(points - fitted).sum() / np.square(points - points.mean(axis=0)).sum()
    assert explained_by_batch(points, batches) == pytest.approx(1 - residual, abs=1e-12)


def test_constant_points_have_no_share():
    assert np.isnan(explained_by_batch(np.ones((10, 2)), np.arange(10) % 2))


def test_weights_count_cells_as_repeating_them_does():
    rng = np.random.default_rng(3)
    batches = np.arange(60) % 3
    points = rng.normal(size=(60, 4)) + batches[:, None]
    weights = np.stack([np.ones(60), *rng.multinomial(60, np.full(60, 1 / 60), size=5)])
    for draw, found in zip(weights, explained_in_resamples(points, batches, weights), strict=True):
        repeated = np.repeat(np.arange(60), draw.astype(int))
        assert found == pytest.approx(explained_by_batch(points[repeated], batches[repeated]), abs=1e-12)


def test_comparison_is_the_share_removed_and_0_where_it_has_grown():
    rng = np.random.default_rng(4)
    batches = np.arange(200) % 2
    clean = rng.normal(size=(200, 3))
    shifted = clean + 5 * batches[:, None]
    assert pcr_comparison(shifted, clean, batches, np.ones((1, 200)))[0] > 0.9
    assert pcr_comparison(clean, shifted, batches, np.ones((1, 200)))[0] == 0
