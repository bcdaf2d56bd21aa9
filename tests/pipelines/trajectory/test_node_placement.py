"""Nodes of known edges."""

from __future__ import annotations

import numpy as np
import pytest

from scvi_downstream.pipelines.trajectory.principal_graph import extend_tips, place_nodes, project_onto_edges

CHAIN = np.column_stack([np.arange(9), np.arange(1, 10)])


def on_a_line(n_cells: int = 500, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """``(n_cells, 3)`` along the first axis from 0 to 10, and how far each is."""
    rng = np.random.default_rng(0)
    time = rng.uniform(0, 10, n_cells)
    cells = rng.normal(0, noise, (n_cells, 3))
    cells[:, 0] += time
    return cells, time


def knot() -> np.ndarray:
    """Ten nodes, all close to the middle of the line."""
    nodes = np.zeros((10, 3))
    nodes[:, 0] = np.linspace(4.5, 5.5, 10)
    return nodes


def test_a_knot_spreads_along_the_cells() -> None:
    cells, _ = on_a_line()
    placed = place_nodes(knot(), CHAIN, cells, scale=0.2, pull=5)
    assert (np.diff(placed[:, 0]) > 0).all()
    assert np.ptp(placed[:, 0]) > 7
    assert np.abs(placed[:, 1:]).max() < 0.3


def test_without_pull_and_with_a_tiny_scale_nodes_are_means_of_their_own_cells() -> None:
    cells, _ = on_a_line()
    nodes = knot() * [1.8, 1, 1] - [4, 0, 0]
    placed = place_nodes(nodes, CHAIN, cells, scale=1e-3, pull=1e-9)
    nearest = np.linalg.norm(cells[:, None] - placed, axis=2).argmin(axis=1)
    means = np.array([cells[nearest == node].mean(axis=0) for node in range(10)])
    np.testing.assert_allclose(placed, means, atol=0.02)  # Lloyd's fixed point


def test_cells_beyond_tips_come_into_order() -> None:
    cells, time = on_a_line()
    before = project_onto_edges(knot(), CHAIN, cells)
    nodes, edges = extend_tips(knot(), CHAIN, cells)
    assert nodes.shape == (12, 3)
    np.testing.assert_array_equal(edges[-2:], [[0, 10], [9, 11]])
    assert sorted(nodes[-2:, 0].round()) == [0, 10]
    edge, along = project_onto_edges(nodes, edges, cells)
    at = nodes[edges[edge, 0], 0] * (1 - along) + nodes[edges[edge, 1], 0] * along
    assert np.corrcoef(at, time)[0, 1] > 0.98
    clipped = [np.isin(place, (0, 1)).mean() for place in (before[1], along)]
    assert clipped[0] > 0.8
    assert clipped[1] < 0.1


def test_tips_without_cells_beyond_them_stay() -> None:
    nodes = np.zeros((10, 3))
    nodes[:, 0] = np.linspace(-50, 60, 10)
    assert extend_tips(nodes, CHAIN, on_a_line()[0])[0] is nodes


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_placement_does_not_depend_on_units(factor: float) -> None:
    cells, _ = on_a_line()
    once = extend_tips(place_nodes(knot(), CHAIN, cells, scale=0.2, pull=5), CHAIN, cells)[0]
    scaled = place_nodes(knot() * factor, CHAIN, cells * factor, scale=0.2 * factor, pull=5)
    np.testing.assert_allclose(extend_tips(scaled, CHAIN, cells * factor)[0], once * factor, rtol=1e-6)
