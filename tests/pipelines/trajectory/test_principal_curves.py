"""Projection against brute force, smoothing against scipy, and curves that are drawn together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_smoothing_spline

from scvi_downstream.pipelines.trajectory.principal_curves import (
    arc_lengths,
    at_arcs,
    nested_groups,
    project,
    project_onto_edges,
    resample,
    share_of_average,
    smoothing_spline,
    stretched,
    with_ties,
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


def test_places_on_a_corner() -> None:
    nodes = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0]])
    edges = np.array([[0, 1], [2, 1]])
    points = np.array([[1.0, 0.5], [-3.0, 0.0], [5.0, 1.5], [4.5, 9.0]])
    edge, along = project_onto_edges(nodes, edges, points)
    assert edge.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(along, [0.25, 0, 0.25, 0])


@given(seed=st.integers(0, 1000), n_dims=st.integers(1, 12), far=st.sampled_from([0.0, 1e4]))
@settings(max_examples=30, deadline=None)
def test_no_place_on_a_fine_grid_of_edges_is_nearer(seed: int, n_dims: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    nodes = far + rng.normal(size=(8, n_dims))
    edges = np.column_stack([np.arange(1, 8), [rng.integers(0, i) for i in range(1, 8)]])
    points = far + rng.normal(size=(20, n_dims)) * 2
    edge, along = project_onto_edges(nodes, edges, points)
    first, second = nodes[edges[edge, 0]], nodes[edges[edge, 1]]
    found = np.linalg.norm(points - first - along[:, None] * (second - first), axis=1)
    steps = np.linspace(0, 1, 51)[:, None, None]
    grid = (nodes[edges[:, 0]] * (1 - steps) + nodes[edges[:, 1]] * steps).reshape(-1, n_dims)
    best = np.linalg.norm(points[:, None] - grid, axis=2).min(axis=1)
    assert (found <= best + 1e-6).all()
    assert ((along >= 0) & (along <= 1)).all()


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


def test_what_only_rounding_tells_apart_is_the_same() -> None:
    values = np.array([[3.0, 1.0, 1.0 + 1e-13], [3.0 - 1e-13, 2.0, 1.0 - 1e-13]])
    ties = with_ties(values, 1e-10)
    np.testing.assert_allclose(ties, values, rtol=1e-12)
    assert len(np.unique(ties)) == 3
    assert len({ties[0, 1], ties[0, 2], ties[1, 2]}) == 1
    np.testing.assert_array_equal(with_ties(np.arange(5.0), 0.5), np.arange(5.0))


@pytest.mark.parametrize("at", [0.0, 3.0, 9.0])
def test_cells_at_one_point_but_for_rounding_are_fitted_as_at_one_point(at: float) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(0, 9, 60), np.full(20, at), [0.0, 9.0]])
    y, grid = np.sin(x)[:, None] + rng.normal(0, 0.3, (82, 1)), np.linspace(0, 9, 50)
    moved = np.where(x == at, x + rng.uniform(-1e-13, 1e-13, 82), x)
    fits = [smoothing_spline(each, y, np.ones(82), grid, 5)[0] for each in (x, moved)]
    np.testing.assert_allclose(fits[1], fits[0], atol=1e-9)


def test_groups_are_nested() -> None:
    sharing = [frozenset({0, 1, 2}), frozenset({0, 1, 2}), frozenset({0, 1}), frozenset({2}), frozenset({0})]
    first, second = nested_groups(sharing)
    assert first.members == (0, 1)
    assert second.members == (2, 3)


def test_share_of_the_average_falls_from_one_to_zero() -> None:
    share = share_of_average(np.linspace(0, 10, 50), np.linspace(0, 4, 200))
    assert share[0] == pytest.approx(1, abs=1e-3)
    assert (np.diff(share) <= 0).all()
    assert (share[25:] == 0).all()
