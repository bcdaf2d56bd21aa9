from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.pipelines.trajectory.diffusion import diffusion_coordinates, diffusion_pseudotime
from scvi_downstream.pipelines.trajectory.fates import directed_walk
from scvi_downstream.pipelines.trajectory.terminal_states import (
    give_decomposition,
    leading_schur,
    macrostates,
    quiet_cellrank,
)

from .conftest import Plant, Planted


def walk_of(cells: Planted) -> tuple[sparse.csr_matrix, Any]:
    """CellRank's walk along diffusion pseudotime, and the cells it is of."""
    graph = neighbors_graph(
        cells.clusters.index, cells.latent, n_neighbors=15, n_search=30, exact_up_to=5000, seed=0
    )
    everything = np.ones(len(cells.time), dtype=bool)
    pseudotime = diffusion_pseudotime(diffusion_coordinates(graph, everything), cells.root_cell)
    return directed_walk(graph, everything, pseudotime["dpt_pseudotime"].to_numpy())


@pytest.mark.thorough
def test_macrostates_are_those_of_the_dense_decomposition(planted: Plant) -> None:
    from cellrank.estimators import GPCCA
    from cellrank.kernels import PrecomputedKernel

    transitions, cells = walk_of(planted("three_way"))
    reference = GPCCA(PrecomputedKernel(transitions, adata=cells))
    reference.compute_schur(12, method="brandts", verbose=False)
    reference.compute_macrostates(4)
    vectors, matrix, eigenvalues = leading_schur(transitions, 12, seed=0)
    np.testing.assert_allclose(eigenvalues[:8].real, reference.eigendecomposition["D"][:8].real, atol=1e-8)
    np.testing.assert_allclose(vectors.T @ vectors / 600, np.eye(vectors.shape[1]), atol=1e-8)
    np.testing.assert_allclose(transitions @ vectors, vectors @ matrix, atol=1e-6)
    found, stability = macrostates(transitions, vectors, matrix, eigenvalues, 4)
    assigned = reference.macrostates
    expected = [np.flatnonzero(assigned == name) for name in assigned.cat.categories]
    assert sorted(map(tuple, found)) == sorted(map(tuple, expected))
    np.testing.assert_allclose(np.sort(stability), np.sort(np.diag(reference.coarse_T)), atol=1e-6)


@pytest.fixture
def decomposed() -> tuple[Any, ...]:
    """CellRank's estimator of a small random walk, the walk, and its Schur decomposition."""
    from anndata import AnnData
    from cellrank.estimators import GPCCA
    from cellrank.kernels import PrecomputedKernel

    chances = np.random.default_rng(0).random((80, 80))
    chances += chances.T  # a reversible walk has no complex eigenvalues
    transitions = sparse.csr_matrix(chances / chances.sum(axis=1, keepdims=True))
    cells = AnnData(np.zeros((80, 0), dtype=np.float32))
    return GPCCA(PrecomputedKernel(transitions, adata=cells)), transitions, *leading_schur(transitions, 4, 0)


def test_cellrank_goes_on_from_the_given_decomposition(decomposed: tuple[Any, ...]) -> None:
    """As long as CellRank and pyGPCCA keep it where ``give_decomposition`` puts it."""
    estimator, transitions, vectors, matrix, eigenvalues = decomposed
    give_decomposition(estimator, transitions, vectors, matrix, eigenvalues)
    with quiet_cellrank():
        estimator.compute_macrostates(2, n_cells=5)
    assert estimator._gpcca._p_X is vectors  # not decomposed again
    assert estimator._gpcca._p_R is matrix
    assert estimator.macrostates.cat.categories.size == 2


@pytest.mark.parametrize("name", ["_p_X", "_p_R", "_p_eigenvalues", "_gpcca"])
def test_a_library_that_keeps_it_elsewhere_is_named(
    decomposed: tuple[Any, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pygpcca

    class Renamed(pygpcca.GPCCA):
        def __init__(self, *given: Any, **settings: Any) -> None:
            super().__init__(*given, **settings)
            self.__dict__.pop(name, None)

    estimator, *given = decomposed
    if name == "_gpcca":
        estimator = type("Renamed", (), {})()
    monkeypatch.setattr(pygpcca, "GPCCA", Renamed)
    with pytest.raises(RuntimeError, match=rf"GPCCA\.{name} is no longer there in pygpcca \d.*cellrank \d"):
        give_decomposition(estimator, *given)
