"""Scanorama on log-normalised expression, the baseline that stitches batches by mutual nearest neighbours."""

from __future__ import annotations

import random

import numpy as np
from scipy import sparse

_N_NEIGHBORS = 20


def stitch_batches(
    expression: sparse.csr_matrix, batches: np.ndarray, n_components: int, seed: int
) -> np.ndarray:
    """Scanorama's embedding of all batches.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised expression.
    batches
        ``(n_cells,)`` names, at least two different ones.
    n_components
        Dimensions of the embedding; cut to what the data allow.
    seed
        Of the randomised singular vectors and the neighbour trees.

    Returns
    -------
    ``(n_cells, n_components)`` float32.

    References
    ----------
    Hie, Bryson & Berger (2019), doi:10.1038/s41587-019-0113-3.
    """
    import scanorama

    genes = [f"{gene:09d}" for gene in range(expression.shape[1])]  # it sorts genes by name
    cells = [np.flatnonzero(batches == batch) for batch in np.unique(batches)]
    n_components = min(n_components, min(expression.shape) - 1)
    # it seeds the generators of the whole process
    states = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        parts, _ = scanorama.integrate(
            [sparse.csr_matrix(expression[own], dtype=np.float64) for own in cells],
            [genes] * len(cells),
            dimred=n_components,
            knn=min(_N_NEIGHBORS, *(len(own) for own in cells)),
            seed=seed,
            verbose=False,
        )
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])
    embedding = np.empty((expression.shape[0], parts[0].shape[1]), dtype=np.float32)
    embedding[np.concatenate(cells)] = np.concatenate(parts)
    return embedding
