"""Cells on the nearest edge."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.pipelines.trajectory.principal_graph import project_onto_edges


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
