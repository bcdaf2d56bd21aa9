"""The shared graph against scikit-learn, scanpy and itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.graphs.neighbors import find_neighbors, fuzzy_union, neighbors_graph
from scvi_downstream.runtime.errors import InputError

N_CELLS = 1200


def latents() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    blob = generator.normal(size=(N_CELLS, 10))
    apart = np.where(np.arange(N_CELLS)[:, None] % 2, 500.0, -500.0)
    return {
        "blob": blob,
        "far from the origin": blob + 1000,
        "two tight groups far apart": 0.1 * blob + apart,
        "the same in 50 dimensions": 0.1 * generator.normal(size=(N_CELLS, 50)) + apart,
        "duplicates": np.repeat(blob[:40], 30, axis=0),
        "ties": generator.integers(0, 3, size=(N_CELLS, 4)).astype(float),
        "one dimension": blob[:, :1],
    }


@pytest.mark.thorough
@pytest.mark.parametrize("name", latents())
def test_exact_search_is_exact(name: str) -> None:
    from sklearn.neighbors import NearestNeighbors

    points = latents()[name].astype(np.float32).astype(np.float64)
    indices, distances = find_neighbors(points, 25, exact=True, seed=0)
    expected, _ = NearestNeighbors(n_neighbors=25, algorithm="kd_tree").fit(points).kneighbors(points)

    assert indices.dtype == np.int32
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(indices[:, 0], np.arange(N_CELLS))
    np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=1e-5)
    true = np.linalg.norm(points[:, None] - points[indices], axis=2)
    np.testing.assert_allclose(distances, true, rtol=1e-4, atol=1e-5)
    assert all(len(set(row)) == 25 for row in indices.tolist())


def test_more_neighbours_than_cells_gives_all_cells() -> None:
    indices, distances = find_neighbors(np.random.default_rng(0).normal(size=(6, 3)), 90, exact=True, seed=0)
    assert distances.shape == (6, 6)
    np.testing.assert_array_equal(np.sort(indices, axis=1), np.tile(np.arange(6), (6, 1)))


def test_nan_is_refused_with_the_likely_reason() -> None:
    with pytest.raises(InputError, match="did not converge"):
        find_neighbors(np.full((5, 2), np.nan), 3, exact=True, seed=0)


def both_unions(points: np.ndarray, k: int) -> tuple[Any, Any]:
    """The fuzzy union of the exact neighbours of points, and umap-learn's."""
    from umap.umap_ import fuzzy_simplicial_set

    indices, distances = find_neighbors(points, k, exact=True, seed=0)
    known = {"metric": "euclidean", "knn_indices": indices, "knn_dists": distances}
    theirs, *_ = fuzzy_simplicial_set(points, indices.shape[1], np.random.RandomState(0), **known)
    return fuzzy_union(indices, distances), theirs


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32 - 1),
    n_cells=st.integers(4, 60),
    copies=st.integers(1, 8),
    k=st.integers(2, 20),
    rounded=st.booleans(),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
@settings(deadline=None, max_examples=50)
def test_the_fuzzy_union_is_umap_learns(
    seed: int, n_cells: int, copies: int, k: int, rounded: bool, scale: float
) -> None:
    """Also of cells that are the same, as many as a cell has neighbours, and of ties."""
    points = np.random.default_rng(seed).normal(size=(n_cells, 3))
    points = scale * np.repeat(
        np.round(points) if rounded else points, [copies] + [1] * (n_cells - 1), axis=0
    )
    ours, expected = both_unions(points, k)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.toarray(), expected.toarray(), atol=1e-6)


@pytest.mark.slow
def test_connectivities_equal_scanpy() -> None:
    import scanpy as sc
    from anndata import AnnData

    latent = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    ours = neighbors_graph(
        pd.Index([f"cell{i}" for i in range(300)]),
        latent,
        n_neighbors=15,
        n_search=40,
        exact_up_to=1000,
        seed=0,
    )
    reference = AnnData(latent)
    sc.pp.neighbors(reference, n_neighbors=15, use_rep="X", transformer="sklearn")
    difference = abs(ours.connectivities - reference.obsp["connectivities"])
    assert difference.max() < 1e-4
    assert ours.connectivities.nnz == reference.obsp["connectivities"].nnz
    assert ours.indices.shape == (300, 40)
    assert ours.n_neighbors == 15
    assert ours.exact


@pytest.mark.slow
def test_approximate_search_at_5000_cells_recalls_the_exact_one_and_repeats() -> None:
    latent = np.random.default_rng(0).normal(size=(5000, 10))
    exact, _ = find_neighbors(latent, 30, exact=True, seed=0)
    graph = neighbors_graph(
        pd.RangeIndex(5000).astype(str), latent, n_neighbors=15, n_search=30, exact_up_to=100, seed=0
    )
    recall = np.mean([len(set(a) & set(b)) / 30 for a, b in zip(exact, graph.indices, strict=True)])
    assert recall > 0.97
    assert not graph.exact
    np.testing.assert_array_equal(graph.indices[:, 0], np.arange(5000))
    assert (np.diff(graph.distances, axis=1) >= 0).all()
    again, _ = find_neighbors(latent, 30, exact=False, seed=0)
    np.testing.assert_array_equal(again, graph.indices)


@pytest.mark.slow
def test_approximate_search_of_duplicates_keeps_each_cell_first() -> None:
    latent = np.repeat(np.random.default_rng(0).normal(size=(30, 4)), 40, axis=0)
    indices, distances = find_neighbors(latent, 15, exact=False, seed=0)
    np.testing.assert_array_equal(indices[:, 0], np.arange(len(latent)))
    assert (distances[:, 0] == 0).all()
    assert (indices >= 0).all()
