"""A look at every stored value of a matrix: is it a count?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from scvi_downstream.progress import Progress

CHUNK_VALUES = 2**22
LARGEST_EXACT_COUNT = 2**24
"""Above this, float32 does not hold every integer."""
PROBLEMS = ("NaN", "infinite", "negative", "not an integer", "too large for float32")


@dataclass(frozen=True)
class ValueCheck:
    """What a look at every stored value of a matrix found.

    Attributes
    ----------
    n_values
        Number of stored values.
    n_bad
        Number of values per problem, in the order of ``PROBLEMS``; a value counts once, at its first problem.
    first
        Position among the stored values of the first bad value per problem; -1 where there is none.
    total
        Sum of the finite values.
    """

    n_values: int
    n_bad: tuple[int, ...]
    first: tuple[int, ...]
    total: float

    @property
    def holds_counts(self) -> bool:
        """Whether all values are counts and any of them is above zero."""
        return not any(self.n_bad) and self.total > 0


def check_values(matrix: Any) -> ValueCheck:
    """Look at every stored value, a chunk at a time.

    Parameters
    ----------
    matrix
        CSR, CSC or dense, any numeric type.
    """
    n_bad = np.zeros(len(PROBLEMS), dtype=np.int64)
    first = np.full(len(PROBLEMS), -1, dtype=np.int64)
    total = 0.0
    progress = Progress("checking that every value is a count", _n_values(matrix))
    for start, values in _chunks(matrix):
        for position, bad in enumerate(_problems(values)):
            found = int(np.count_nonzero(bad))
            if found and first[position] < 0:
                first[position] = start + int(np.argmax(bad))
            n_bad[position] += found
        total += float(np.sum(values, where=np.isfinite(values), dtype=np.float64))
        progress.advance(len(values))
    return ValueCheck(_n_values(matrix), tuple(n_bad.tolist()), tuple(first.tolist()), total)


def _n_values(matrix: Any) -> int:
    return len(matrix.data) if sparse.issparse(matrix) else int(matrix.size)


def _chunks(matrix: Any) -> Iterator[tuple[int, np.ndarray]]:
    if sparse.issparse(matrix):
        for start in range(0, len(matrix.data), CHUNK_VALUES):
            yield start, matrix.data[start : start + CHUNK_VALUES]
        return
    n_cells, n_genes = matrix.shape
    rows = max(1, CHUNK_VALUES // max(n_genes, 1))
    for row in range(0, n_cells, rows):
        yield row * n_genes, matrix[row : row + rows].ravel()


def _problems(values: np.ndarray) -> Iterator[np.ndarray]:
    """One mask per entry of ``PROBLEMS``; they do not overlap."""
    if values.dtype.kind == "f":
        missing, infinite = np.isnan(values), np.isinf(values)
        fine = ~(missing | infinite)
        negative = fine & (values < 0)
        fine &= ~negative
        fraction = fine & (values != np.floor(values))
        fine &= ~fraction
    else:
        missing = infinite = fraction = np.zeros(values.shape, dtype=bool)
        negative = values < 0
        fine = ~negative
    yield from (missing, infinite, negative, fraction, fine & (values > LARGEST_EXACT_COUNT))


def locate(matrix: Any, stored: int) -> tuple[float, int, int]:
    """Value, cell and gene of a stored value."""
    if not sparse.issparse(matrix):
        cell, gene = divmod(stored, matrix.shape[1])
        return float(matrix[cell, gene]), cell, gene
    major = int(np.searchsorted(matrix.indptr, stored, side="right")) - 1
    minor = int(matrix.indices[stored])
    cell, gene = (major, minor) if matrix.format == "csr" else (minor, major)
    return float(matrix.data[stored]), cell, gene
