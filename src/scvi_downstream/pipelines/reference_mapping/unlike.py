"""Which query cells are unlike anything in the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize_counts
from scvi_downstream.graphs.label_transfer import without_self
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.scoring.resampling import sample_cells
from scvi_downstream.statistics.testing import benjamini_hochberg, conformal_p

# Directions in which deviations are compared, and similar cells over which noise averages out.
N_COMPONENTS, N_SIMILAR = 20, 10
N_CONCENTRATIONS = 2  # Shifts hardly move after two concentration steps.
# Cells that shift and directions are fitted on, and that calibrate in all: enough for both, whatever a reference holds.
MOST_FITTED, MOST_CALIBRATION = 5000, 20_000
# A batch of fewer cells has no typical deviation of its own.
LEAST_IN_BATCH = 20
ROWS_AT_ONCE = 4096
SMALL = "several"
BATCH_COLUMNS = ("origin", "batch", "n_cells", "shift", "median_deviation")


@dataclass(frozen=True)
class MappedCells:
    """Cells of the reference or of the query in the joint latent space.

    ``counts`` are ``(n_cells, n_genes)`` raw counts of the genes that reference and query share, ``latent`` is
    ``(n_cells, n_latent)``, and ``batch`` the name of each cell's batch.
    """

    counts: sparse.csr_matrix
    latent: np.ndarray
    batch: np.ndarray


def find_unlike(
    reference: MappedCells,
    query: MappedCells,
    *,
    labels: pd.Categorical | None,
    n_neighbors: int,
    fdr: float,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Conformal test of every query cell against reference cells of left-out batches.

    The score is :func:`shared_deviation`, divided by its median absolute value in the cell's
    batch, so that batches of another technology, in which all cells deviate more, are not flagged as a whole.
    Every batch of the reference in turn plays the query, its neighbours sought in the other batches, and
    gives the scores that the p-values rest on; with one batch alone a cell's neighbours are the other cells
    of that batch.

    Parameters
    ----------
    reference, query
        Cells with the same genes and latent dimensions.
    labels
        Of the reference; cells whose label no other batch has are no example of a known cell in a new batch
        and are left out of the calibration.
    n_neighbors
        Reference cells that a cell is compared with.
    fdr, seed
        Of the cells flagged, by Benjamini and Hochberg; of the halves that counts are thinned into, and of samples.

    Returns
    -------
    One row a query cell: ``deviation``, ``p``, ``p_adjusted``, ``unlike``, and ``distance``, the mean
    latent distance to the nearest reference cells. One row a batch of the reference, left out in turn, and of
    the query: ``origin``, ``batch``, ``n_cells``, ``shift``, the squared size of what all its cells share
    and is taken for technical, and ``median_deviation``, by which scores were divided.

    Notes
    -----
    The p-values are valid, and the false discovery rate is kept, when known query cells deviate in their
    batch as known cells of a left-out reference batch do in theirs (Bates et al., 2023, doi:10.1214/22-AOS2244). That
    is not guaranteed under a batch shift: a technology that changes some types more than others breaks it. A batch
    most of whose cells are unlike the reference has their deviation for its shift, so that its few known
    cells may be flagged instead; ``shift`` is then larger than in batches of the reference.
    """
    rng = np.random.default_rng(seed)
    expression = log_normalize_counts(reference.counts)
    queried = list(_batches(query.batch))
    left_out = list(_calibration_cells(reference, labels, rng))
    progress = Progress("Comparing cells with the reference", len(queried) + len(left_out))
    batches: list[tuple[str, str, int, float, float]] = []

    def measure(origin: str, own: MappedCells, cells: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
        deviation, shift = shared_deviation(own.counts[cells], neighbors, expression, rng)
        scale = float(np.median(np.abs(deviation))) or 1.0
        names = np.unique(own.batch[cells])
        name = str(names[0]) if len(names) == 1 else SMALL
        batches.append((origin, name, len(cells), shift, scale))
        progress.advance()
        return deviation / scale

    known = []
    for cells, others in left_out:
        neighbors, _ = nearest(reference.latent, reference.latent[cells], n_neighbors, others, own=cells)
        known.append(measure("reference", reference, cells, neighbors))
    deviation, distance = np.empty(len(query.latent)), np.empty(len(query.latent))
    for cells in queried:
        neighbors, distances = nearest(reference.latent, query.latent[cells], n_neighbors)
        deviation[cells] = measure("query", query, cells, neighbors)
        distance[cells] = distances.mean(axis=1)
    p = conformal_p(np.concatenate(known), deviation)
    adjusted = benjamini_hochberg(p)
    scores = {"deviation": deviation, "p": p, "p_adjusted": adjusted, "unlike": adjusted <= fdr}
    return pd.DataFrame(scores | {"distance": distance}), pd.DataFrame(batches, columns=list(BATCH_COLUMNS))


def nearest(
    latent: np.ndarray,
    wanted: np.ndarray,
    k: int,
    among: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in ``latent`` of the ``k`` cells nearest to each of ``wanted``, and their distances, both ``(m, k)``.

    ``among`` are positions of the cells that may be neighbours (``None``: all), ``own`` those of the wanted cells
    when these are of the reference: none is its own neighbour.
    """
    from sklearn.neighbors import NearestNeighbors

    candidates = np.arange(len(latent)) if among is None else among
    spare = int(own is not None)
    k = max(1, min(k, len(candidates) - spare))
    search = NearestNeighbors(n_neighbors=k + spare, algorithm="brute").fit(latent[candidates])
    distances, found = search.kneighbors(wanted)
    positions = candidates[found]
    return (positions, distances) if own is None else without_self(positions, distances, own)


def _batches(batch: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of the cells of each batch; batches of few cells together."""
    _, codes, sizes = np.unique(batch, return_inverse=True, return_counts=True)
    small = sizes[codes] < LEAST_IN_BATCH
    if small.any():
        yield np.flatnonzero(small)
    for code in np.flatnonzero(sizes >= LEAST_IN_BATCH):
        yield np.flatnonzero(codes == code)


def _calibration_cells(
    reference: MappedCells, labels: pd.Categorical | None, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cells of each batch, and the cells of the other batches, among which their neighbours are sought."""
    everywhere = np.arange(len(reference.batch))
    groups = [cells for cells in _batches(reference.batch) if len(cells) >= LEAST_IN_BATCH]
    if len(np.unique(reference.batch)) < 2 or not groups:
        yield sample_cells(everywhere, MOST_CALIBRATION, rng), everywhere
        return
    for cells in groups:
        others = np.setdiff1d(everywhere, cells, assume_unique=True)
        examples = cells
        if labels is not None:
            codes = labels.codes
            elsewhere = np.isin(codes[cells], np.unique(codes[others])) | (codes[cells] < 0)
            examples = cells[elsewhere] if elsewhere.sum() >= LEAST_IN_BATCH else cells
        if len(others):
            yield sample_cells(examples, max(LEAST_IN_BATCH, MOST_CALIBRATION // len(groups)), rng), others


def shared_deviation(
    counts: sparse.csr_matrix, neighbors: np.ndarray, reference: sparse.csr_matrix, rng: np.random.Generator
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
        ``(n_reference, n_genes)`` log-normalised expression, of :func:`.expression.log_normalize_counts`.
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
        shared = _multiply_with_similar((first - shifts[0]) @ directions, (second - shifts[1]) @ directions)
        typical = shared <= np.median(shared)
        shifts = first[typical].mean(axis=0), second[typical].mean(axis=0)
    directions = _directions(first - shifts[0])
    parts = np.split(np.arange(n_cells), range(ROWS_AT_ONCE, n_cells, ROWS_AT_ONCE))
    projected = [
        np.concatenate([(_deviations(half, neighbors, reference, own) - shift) @ directions for own in parts])
        for half, shift in zip(halves, shifts, strict=True)
    ]
    return _multiply_with_similar(*projected), float(shifts[0] @ shifts[1])


def thin(counts: sparse.csr_matrix, rng: np.random.Generator) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Every molecule in one of two halves by the toss of a coin."""
    first, second = counts.copy(), counts.copy()
    first.data = rng.binomial(counts.data.astype(np.int64), 0.5).astype(np.float32)
    second.data = counts.data - first.data
    return first, second


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


def _multiply_with_similar(first: np.ndarray, second: np.ndarray) -> np.ndarray:
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
