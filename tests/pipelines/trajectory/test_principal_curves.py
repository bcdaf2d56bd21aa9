"""Projection against brute force, smoothing against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_smoothing_spline

from scvi_downstream.pipelines.trajectory.principal_curves import (
    arc_lengths,
    at_arcs,
    project,
    resample,
    smoothing_spline,
    stretched,
)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_dims=st.integers(1, 10), far=st.sampled_from([0.0, 1e4]))
def test_projection_is_the_nearest_point(seed: int, n_dims: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    points, cells = rng.normal(size=(8, n_dims)) + far, rng.normal(size=(20, n_dims)) + far
    found = project(cells, points)
    on_curve = at_arcs(points, found.arc)
    np.testing.assert_allclose(np.sum((cells - on_curve) ** 2, axis=1), found.squared_distance, atol=1e-6)
    dense = resample(points, 0, arc_lengths(points)[-1], 4000)
    best = ((cells[:, None] - dense) ** 2).sum(axis=2).min(axis=1)
    assert (found.squared_distance <= best + 1e-6).all()


def test_projection_is_the_same_in_chunks() -> None:
    rng = np.random.default_rng(0)
    points, cells = rng.normal(size=(30, 4)), rng.normal(size=(9000, 4))
    whole, last = project(cells, points), project(cells[8500:], points)
    np.testing.assert_allclose(whole.arc[8500:], last.arc)


def test_repeated_points_are_no_obstacle() -> None:
    points = np.array([[0.0, 0], [0, 0], [1, 0], [1, 0], [2, 0]])
    found = project(np.array([[0.5, 1.0], [1.5, -1.0], [5.0, 0.0]]), points)
    np.testing.assert_allclose(found.arc, [0.5, 1.5, 2.0])
    np.testing.assert_allclose(found.squared_distance, [1, 1, 9])


def test_stretching_lengthens_both_ends() -> None:
    np.testing.assert_allclose(stretched(np.array([[0.0], [1], [3]]), 2)[:, 0], [-2, 1, 7])


@pytest.mark.parametrize("n", [30, 400])
@pytest.mark.parametrize("df", [3.0, 5.0, 8.0])
def test_smoothing_spline_is_that_of_scipy(n: int, df: float) -> None:
    rng = np.random.default_rng(n)
    x = np.sort(rng.uniform(-3, 9, n))
    y = np.column_stack([np.sin(x), 0.1 * x**2]) + rng.normal(0, 0.3, (n, 2))
    weights = rng.uniform(0.2, 1, n)
    grid = np.linspace(x[0], x[-1], 50)
    fit, lam = smoothing_spline(x, y, weights, grid, df)
    for k in range(2):
        reference = make_smoothing_spline(x, y[:, k], w=weights, lam=lam)(grid)
        np.testing.assert_allclose(fit[:, k], reference, atol=0.01 * np.ptp(reference))


@pytest.mark.parametrize("df", [3.0, 5.0, 8.0])
def test_degrees_of_freedom_are_the_trace_of_the_smoother(df: float) -> None:
    rng = np.random.default_rng(1)
    x, weights = np.sort(rng.uniform(0, 1, 80)), rng.uniform(0.5, 2, 80)
    smoother, _ = smoothing_spline(x, np.eye(80), weights, x, df)
    assert np.trace(smoother) == pytest.approx(df, abs=1e-3)


def test_weightless_observations_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 1, 60), rng.normal(size=(60, 1))
    weights = np.ones(60)
    weights[:20] = 0
    grid = np.linspace(0.2, 0.8, 10)
    y[:20] = 1e6
    np.testing.assert_allclose(
        smoothing_spline(x, y, weights, grid, 5)[0],
        smoothing_spline(x[20:], y[20:], weights[20:], grid, 5)[0],
    )


def test_few_distinct_positions_give_a_straight_line() -> None:
    x = np.array([0.0, 0, 1, 1, 2])
    fit, lam = smoothing_spline(x, 3 * x[:, None] + 1, np.ones(5), np.array([0.5, 1.5]), 5)
    np.testing.assert_allclose(fit[:, 0], [2.5, 5.5])
    assert lam == np.inf
