"""How far cells of one batch deviate together from the reference cells that they were mapped among."""

from __future__ import annotations

import numpy as np
from scipy import sparse

TARGET_SUM = 1e4
N_COMPONENTS = 20
N_SIMILAR = 10
N_CONCENTRATIONS = 2
MOST_FITTED = 5000
ROWS_AT_ONCE = 4096


def shared_deviation(
    counts: sparse.csr_matrix,
    neighbors: np.ndarray,
    reference: sparse.csr_matrix,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """Squared size of the deviation that each cell shares with the cells most similar to it.

    The encoder places every cell among cells that it knows, also one of a type that it has never seen, so
    that distances in the latent space tell little. The counts do: the deviation of a cell is its
    log-normalised expression less that of its nearest reference cells, less what is typical of its batch.
    Typical is the mean over the half of the cells that deviate least, which is found in a few steps
    (Rousseeuw & Van Driessen, 2006), so that up to about half of a batch may be unlike the reference.
    Counts are thinned into two halves with independent noise. One half says which directions deviate and
    which cells are alike, the other half measures: the product of a cell's deviation with the mean one of its
    similar cells has no part of noise in its expectation, however few counts the cells have.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` raw counts of the cells of one batch.
    neighbors
        ``(n_cells, k)`` positions of each cell's nearest cells in ``reference``.
    reference
        ``(n_reference, n_genes)`` log-normalised expression, of :func:`log_normalize_counts`.
    rng
        Draws the halves and the cells that shift and directions are fitted on.

    Returns
    -------
    ``(n_cells,)``, around 0 for cells that are as in the reference; squared size of what was taken for typical.

    References
    ----------
    Thinning: Neufeld et al. (2024), doi:10.1093/biostatistics/kxac047; concentration steps: Rousseeuw & Van
    Driessen (2006), doi:10.1007/s10618-005-0024-4.
    """
    halves = thin(counts, rng)
    n_cells = counts.shape[0]
    fitted = np.sort(rng.choice(n_cells, min(n_cells, MOST_FITTED), replace=False))
    first, second = (_deviations(half, neighbors, reference, fitted) for half in halves)
    shifts = np.median(first, axis=0), np.median(second, axis=0)
    for _ in range(N_CONCENTRATIONS):
        directions = _directions(first - shifts[0])
        deviation = _products((first - shifts[0]) @ directions, (second - shifts[1]) @ directions)
        typical = deviation <= np.median(deviation)
        shifts = first[typical].mean(axis=0), second[typical].mean(axis=0)
    directions = _directions(first - shifts[0])
    chunks = [
        np.arange(start, min(start + ROWS_AT_ONCE, n_cells)) for start in range(0, n_cells, ROWS_AT_ONCE)
    ]
    projected = [
        np.concatenate(
            [(_deviations(half, neighbors, reference, rows) - shift) @ directions for rows in chunks]
        )
        for half, shift in zip(halves, shifts, strict=True)
    ]
    return _products(*projected), float(shifts[0] @ shifts[1])


def thin(counts: sparse.csr_matrix, rng: np.random.Generator) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Every molecule in one of two halves by the toss of a coin."""
    first, second = counts.copy(), counts.copy()
    first.data = rng.binomial(counts.data.astype(np.int64), 0.5).astype(np.float32)
    second.data = counts.data - first.data
    return first, second


def log_normalize_counts(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """``log(1 + 10,000 x / total)``, totals over the genes given; cells without counts stay empty."""
    totals = np.asarray(counts.sum(axis=1)).ravel()
    factors = np.divide(TARGET_SUM, totals, out=np.zeros(len(totals)), where=totals > 0)
    normalized = sparse.csr_matrix(counts, dtype=np.float32, copy=True)
    normalized.data = np.log1p(normalized.data * np.repeat(factors, np.diff(counts.indptr))).astype(
        np.float32
    )
    return normalized


def _deviations(
    half: sparse.csr_matrix, neighbors: np.ndarray, reference: sparse.csr_matrix, rows: np.ndarray
) -> np.ndarray:
    """Expression of chosen cells less the mean of their reference cells, ``(n_rows, n_genes)`` float32."""
    k = neighbors.shape[1]
    mean = sparse.csr_matrix(
        (np.full(len(rows) * k, 1 / k, np.float32), neighbors[rows].ravel(), np.arange(len(rows) + 1) * k),
        shape=(len(rows), reference.shape[0]),
    )
    return (log_normalize_counts(half[rows]) - mean @ reference).toarray()


def _directions(deviations: np.ndarray) -> np.ndarray:
    """Orthonormal directions of the largest deviations from 0, ``(n_genes, n_components)``."""
    from sklearn.utils.extmath import randomized_svd

    return randomized_svd(deviations, min(N_COMPONENTS, *deviations.shape), random_state=0)[2].T


def _products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Each cell's ``second`` times the mean one of the other cells whose ``first`` is most similar."""
    from sklearn.neighbors import NearestNeighbors

    k = min(N_SIMILAR, len(first) - 1)
    if k < 1:
        return np.zeros(len(first))
    similar = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(first).kneighbors(return_distance=False)
    products = np.empty(len(first))
    for start in range(0, len(first), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        products[rows] = np.einsum("ij,ij->i", second[rows], second[similar[rows]].mean(axis=1))
    return products
