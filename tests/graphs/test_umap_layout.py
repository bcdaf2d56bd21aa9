"""The layout against umap-learn's, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.manifold import trustworthiness

from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.graphs.umap_layout import _forces, _look_up, _start, fit_curve, lay_out

DEFAULTS = {"min_dist": 0.5, "spread": 1.0, "n_epochs": None}


def graph_of(points: np.ndarray) -> NeighborsGraph:
    names = pd.RangeIndex(len(points)).astype(str)
    return neighbors_graph(names, points, n_neighbors=15, n_search=30, exact_up_to=10_000, seed=0)


def branches(n_cells: int) -> np.ndarray:
    """Three branches of a tree, noisy in 10 dimensions."""
    generator = np.random.default_rng(0)
    along, branch = generator.uniform(size=n_cells), np.arange(n_cells) % 3
    return 6 * along[:, None] * np.eye(3, 10)[branch] + 0.5 * generator.normal(size=(n_cells, 10))


@pytest.mark.slow
@pytest.mark.parametrize("n_dims", [2, 3])
def test_neighbours_are_kept_as_well_as_by_umap_learn(n_dims: int) -> None:
    from umap.umap_ import find_ab_params, simplicial_set_embedding

    points = branches(600)
    graph = graph_of(points).connectivities
    a, b = find_ab_params(1.0, 0.5)
    rest = {
        "metric": "euclidean",
        "metric_kwds": {},
        "densmap": False,
        "densmap_kwds": {},
        "output_dens": False,
    }
    ours, theirs = [], []
    for seed in range(3):
        ours.append(lay_out(graph, points, n_dims, seed=seed, **DEFAULTS))
        reference, _ = simplicial_set_embedding(
            points, graph.tocoo(copy=True), n_dims, initial_alpha=1.0, a=a, b=b, gamma=1.0, negative_sample_rate=5,
            n_epochs=None, init="spectral", random_state=np.random.RandomState(seed), **rest,
        )  # fmt: skip
        theirs.append(reference)
    kept = [[trustworthiness(points, each, n_neighbors=15) for each in found] for found in (ours, theirs)]
    assert np.mean(kept[0]) > np.mean(kept[1]) - 0.01
    widths = [np.mean([np.ptp(each, axis=0).mean() for each in found]) for found in (ours, theirs)]
    assert widths[0] == pytest.approx(widths[1], rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "min_dist"), [(1.0, 0.5), (1.0, 0.1), (2.5, 0.0)])
def test_the_curve_is_umap_learns(spread: float, min_dist: float) -> None:
    from umap.umap_ import find_ab_params

    np.testing.assert_allclose(fit_curve(spread, min_dist), find_ab_params(spread, min_dist), rtol=1e-6)


@given(squared=st.floats(2.0**-24, 2.0**24, width=32), b=st.floats(0.5, 1.8), a=st.floats(0.05, 3.0))
@settings(deadline=None)
def test_forces_are_the_gradients_of_umaps_loss(squared: float, b: float, a: float) -> None:
    pull, push = _forces(a, b)
    shared = 1 + a * squared**b
    expected = -2 * a * b * squared ** (b - 1) / shared, 2 * b / ((1e-3 + squared) * shared)
    found = [_look_up.py_func(table, np.float32(squared)) for table in (pull, push)]
    np.testing.assert_allclose(found, expected, rtol=3e-4)


def test_groups_without_edges_between_them_stay_apart() -> None:
    points = np.repeat(np.eye(3, 6) * 20, 60, axis=0) + np.random.default_rng(0).normal(size=(180, 6))
    layout = lay_out(graph_of(points).connectivities, points, 2, seed=0, **DEFAULTS)
    middles = layout.reshape(3, 60, 2).mean(axis=1)
    spreads = layout.reshape(3, 60, 2).std(axis=1).max()
    assert min(np.linalg.norm(middles[i] - middles[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 3 * spreads


def test_the_start_is_the_graphs_slowest_vectors() -> None:
    points = branches(300)
    graph = graph_of(points).connectivities.astype(np.float64)
    found = _start(graph, points, 2)
    root = sparse.diags_array(1 / np.sqrt(graph.sum(axis=0).A1))
    values, vectors = np.linalg.eigh((root @ graph @ root).toarray())
    assert values[-2] - values[-4] > 1e-3
    np.testing.assert_allclose(np.abs(np.linalg.det(found.T @ vectors[:, [-2, -3]])), 1, atol=1e-3)


@pytest.mark.parametrize("n_dims", [2, 3])
def test_the_seed_alone_decides(n_dims: int) -> None:
    points = branches(120)
    graph = graph_of(points).connectivities
    before = graph.copy()
    first, again, other = (lay_out(graph, points, n_dims, seed=seed, **DEFAULTS) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (120, n_dims)
    assert not np.array_equal(first, other)
    assert (before != graph).nnz == 0
