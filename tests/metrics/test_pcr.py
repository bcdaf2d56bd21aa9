import numpy as np
import pytest

from scvi_downstream.metrics.pcr import explained_by_batch


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
