from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scvi_downstream.pipelines.trajectory.gpcca import crisp_memberships, leading_schur


@pytest.fixture
def blocks() -> sparse.csr_matrix:
    """A walk in three blocks of 40 cells, of which one step in 50 leaves."""
    chances = np.random.default_rng(0).random((120, 120)) * 0.01
    for i in range(3):
        chances[40 * i : 40 * (i + 1), 40 * i : 40 * (i + 1)] += 1
    return sparse.csr_matrix(chances / chances.sum(axis=1, keepdims=True))


def test_schur_vectors_are_orthogonal_and_invariant(blocks: sparse.csr_matrix) -> None:
    vectors, matrix, eigenvalues = leading_schur(blocks, 6, seed=0)
    kept = len(eigenvalues)
    np.testing.assert_allclose(vectors.T @ vectors / 120, np.eye(kept), atol=1e-8)
    np.testing.assert_allclose(blocks @ vectors, vectors @ matrix, atol=1e-8)
    dense = np.linalg.eigvals(blocks.toarray())
    np.testing.assert_allclose(eigenvalues.real, np.sort(dense.real)[::-1][:kept], atol=1e-8)


def test_blocks_are_states_and_the_walk_between_them_is_theirs(blocks: sparse.csr_matrix) -> None:
    vectors, matrix, _ = leading_schur(blocks, 3, seed=0)
    memberships, between = crisp_memberships(vectors[:, :3], matrix[:3, :3])
    np.testing.assert_allclose(memberships.sum(axis=1), 1)
    assert memberships.min() >= 0
    state = memberships.argmax(axis=1)
    assert {tuple(np.bincount(state[40 * i : 40 * (i + 1)], minlength=3)) for i in range(3)} == {
        (40, 0, 0), (0, 40, 0), (0, 0, 40),
    }  # fmt: skip
    assert memberships.max(axis=1).min() > 0.9
    np.testing.assert_allclose(blocks @ memberships, memberships @ between, atol=1e-8)
    leaving = np.array([1 - blocks[state == i][:, state == i].sum(axis=1).mean() for i in range(3)])
    np.testing.assert_allclose(1 - np.diag(between), leaving, rtol=0.1)
