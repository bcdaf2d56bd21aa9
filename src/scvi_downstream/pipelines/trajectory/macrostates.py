"""Metastable states of a Markov chain: CellRank's GPCCA on a sparse decomposition."""

from __future__ import annotations

import numpy as np
from scipy import sparse

N_CORE_CELLS = 30
"""Cells with the highest membership that stand for a state, as in CellRank."""
LONG_RUN = 1000
"""Steps after which a walk through one metastable state has forgotten where it began."""


def leading_schur(
    transitions: sparse.csr_matrix, n_components: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading part of the real Schur decomposition, by the sparse eigensolver.

    CellRank without PETSc decomposes the dense matrix: O(n³) time and O(n²) memory. The leading eigenvectors, real and
    imaginary parts of complex pairs side by side, orthonormalised in order, are leading Schur vectors as well.

    Parameters
    ----------
    transitions
        ``(n_cells, n_cells)``, rows sum to 1.
    n_components
        Number of vectors; one more where it would part a complex pair.
    seed
        Of the solver's first vector.

    Returns
    -------
    Vectors ``(n_cells, m)``, orthogonal with mean square 1, the first constant; matrix ``(m, m)``; eigenvalues
    ``(m,)``, largest real part first.
    """
    from scipy.sparse.linalg import eigs

    n_cells = transitions.shape[0]
    first = np.random.default_rng(seed).random(n_cells)
    values, vectors = eigs(
        transitions,
        k=min(n_components + 1, n_cells - 2),
        which="LR",
        v0=first,
        ncv=min(n_cells, max(4 * n_components, 60)),
        tol=1e-10,
        maxiter=10_000,
    )
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


def macrostates(
    transitions: sparse.csr_matrix,
    vectors: np.ndarray,
    matrix: np.ndarray,
    eigenvalues: np.ndarray,
    n_states: int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """CellRank's macrostates on a given Schur decomposition.

    Parameters
    ----------
    transitions
        ``(n_cells, n_cells)``, rows sum to 1.
    vectors, matrix, eigenvalues
        Of :func:`leading_schur`.
    n_states
        Number of macrostates; fewer where GPCCA finds no such partition.

    Returns
    -------
    Positions of the 30 cells that stand for each state, and the states' probabilities to stay.
    """
    import pygpcca
    from anndata import AnnData
    from cellrank.estimators import GPCCA
    from cellrank.kernels import PrecomputedKernel

    n_cells = transitions.shape[0]
    graph = AnnData(X=sparse.csr_matrix((n_cells, 0), dtype=np.float32))
    graph.obs_names = [str(i) for i in range(n_cells)]
    for m in range(n_states, 1, -1):
        if eigenvalues.imag[m - 1] > 0:
            continue  # a complex pair would be parted
        estimator = GPCCA(PrecomputedKernel(transitions, adata=graph))
        decomposed = pygpcca.GPCCA(transitions, z="LR")
        decomposed._p_X, decomposed._p_R, decomposed._p_eigenvalues = vectors, matrix, eigenvalues
        estimator._gpcca = decomposed
        try:
            estimator.compute_macrostates(m, n_cells=min(N_CORE_CELLS, n_cells // (2 * m)))
        except ValueError:
            continue  # GPCCA gave states without cells of their own
        assigned = estimator.macrostates
        cores = [np.flatnonzero((assigned == name).to_numpy()) for name in assigned.cat.categories]
        return cores, np.diag(estimator.coarse_T.to_numpy())
    return _single_state(transitions)


def _single_state(transitions: sparse.csr_matrix) -> tuple[list[np.ndarray], np.ndarray]:
    """The cells where the walk is in the long run."""
    n_cells = transitions.shape[0]
    occupied = np.full(n_cells, 1 / n_cells)
    for _ in range(LONG_RUN):
        occupied = transitions.T @ occupied
    core = np.sort(np.argsort(-occupied, kind="stable")[: min(N_CORE_CELLS, n_cells // 2)])
    return [core], np.ones(1)
