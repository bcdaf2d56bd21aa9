"""GPCCA: fuzzy metastable states of a Markov chain, from its leading Schur vectors."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def leading_schur(
    transitions: sparse.csr_matrix, n_components: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading part of the real Schur decomposition of ``(n_cells, n_cells)`` transitions, by the sparse eigensolver.

    Decomposing the dense matrix would take O(n³) time and O(n²) memory. The leading eigenvectors, real and imaginary
    parts of complex pairs side by side, orthonormalised in order, are leading Schur vectors as well.

    Returns
    -------
    Vectors ``(n_cells, m)``, orthogonal with mean square 1, the first constant; matrix ``(m, m)``; eigenvalues
    ``(m,)``, largest real part first. ``m`` is ``n_components``, or one more where that would part a complex pair.
    """
    from scipy.sparse.linalg import eigs

    n_cells = transitions.shape[0]
    first = np.random.default_rng(seed).random(n_cells)
    k, ncv = min(n_components + 1, n_cells - 2), min(n_cells, max(4 * n_components, 60))
    values, vectors = eigs(transitions, k=k, which="LR", v0=first, ncv=ncv, tol=1e-10, maxiter=10_000)
    order = np.lexsort((-values.imag, -np.round(values.real, 12)))
    values, vectors = values[order], vectors[:, order]
    kept = n_components + int(values.imag[n_components - 1] > 0)
    kept = min(kept, len(values) - int(values.imag[-1] > 0))
    values, vectors = values[:kept], vectors[:, :kept]
    basis = np.where(values.imag[None, :] < 0, -vectors.imag, vectors.real)
    basis[:, 0] = 1.0
    orthonormal, upper = np.linalg.qr(basis)
    orthonormal *= np.where(np.diag(upper) < 0, -1.0, 1.0)
    orthonormal[:, 0] = 1 / np.sqrt(n_cells)
    matrix = orthonormal.T @ (transitions @ orthonormal)
    return orthonormal * np.sqrt(n_cells), matrix, values


def crisp_memberships(vectors: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Memberships in as many states as there are Schur vectors, as crisp as can be.

    Memberships are a linear map of the vectors, ``vectors @ rotation``, that is nowhere negative and sums to 1. Of
    these maps the one is sought, from the inner simplex on by Nelder and Mead's search, under which states overlap
    least.

    Parameters
    ----------
    vectors
        ``(n_cells, n_states)`` of :func:`leading_schur`.
    matrix
        ``(n_states, n_states)``, of the same.

    Returns
    -------
    Memberships ``(n_cells, n_states)`` in [0, 1], rows sum to 1; and the walk between the states,
    ``(n_states, n_states)``, rows sum to 1: coarse-grained, it may have slightly negative entries.

    References
    ----------
    Inner simplex: Deuflhard & Weber (2005), doi:10.1016/j.laa.2004.10.026. Crispness: Röblitz & Weber (2013),
    doi:10.1007/s11634-013-0134-6. Schur vectors: Reuter et al. (2018), doi:10.1021/acs.jctc.8b00079.
    """
    from scipy.optimize import fmin

    n_states = vectors.shape[1]
    start = np.linalg.inv(vectors[_inner_simplex(vectors)])

    def overlap(free: np.ndarray) -> float:
        rotation = _feasible(free.reshape(n_states - 1, n_states - 1), vectors)
        return n_states - float((np.square(rotation).sum(axis=0) / rotation[0]).sum())

    best = fmin(overlap, start[1:, 1:].ravel(), disp=False)
    rotation = _feasible(best.reshape(n_states - 1, n_states - 1), vectors)
    return np.clip(vectors @ rotation, 0, 1), np.linalg.solve(rotation, matrix @ rotation)


def _inner_simplex(vectors: np.ndarray) -> list[int]:
    """Positions of the cells that span the largest simplex, found one by one: the farthest from those found."""
    corners = [int(np.square(vectors).sum(axis=1).argmax())]
    left = vectors - vectors[corners[0]]
    for _ in range(1, vectors.shape[1]):
        distance = np.square(left).sum(axis=1)
        corners.append(int(distance.argmax()))
        axis = left[corners[-1]] / np.sqrt(distance.max())
        left = left - np.outer(left @ axis, axis)
    return corners


def _feasible(free: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The rotation with this lower right part whose memberships sum to 1 and reach down to 0."""
    lower = np.column_stack([-free.sum(axis=1), free])
    rotation = np.vstack([-(vectors[:, 1:] @ lower).min(axis=0), lower])
    return rotation / rotation[0].sum()
