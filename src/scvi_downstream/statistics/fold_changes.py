"""Fold changes between paired draws of two groups, a gene after the other in the processor's cache; sums of counts."""

from __future__ import annotations

import math

import numpy as np

from scvi_downstream.models.count_kernels import log32
from scvi_downstream.runtime.compiled import compiled

CHANGE_COLUMNS = ("up", "down", "higher", "lfc_mean", "lfc_median", "lfc_std", "lfc_lower", "lfc_upper")
_N_BUCKETS = 1024
_FEW = 16  # as many are sorted by insertion
_LEAST_WIDTH = np.float32(1e-30)  # by less nothing can be divided
_TO_LOG2 = 1 / math.log(2)


@compiled
def describe_changes(
    shares: np.ndarray, first: np.ndarray, second: np.ndarray, pseudocounts: np.ndarray, offsets: np.ndarray,
    folds: np.ndarray, n_outside: int, result: np.ndarray,
) -> None:  # fmt: skip
    """Of each gene, how the log2 fold change of pairs of draws is distributed, in each of several comparisons.

    Parameters
    ----------
    shares
        Positive float32 ``(n_genes, n_draws)``.
    first, second
        ``(n_comparisons, n_pairs)`` positions of draws: pair `i` is of ``first[:, i]`` over ``second[:, i]``.
    pseudocounts
        ``(n_comparisons,)``, added to shares where they are compared.
    offsets
        Likewise, positive, added to shares where fold changes are described.
    folds
        Likewise: the ratio from which on a share is higher, at least 1.
    n_outside
        How many pairs the narrowest interval leaves out, at least 1.
    result
        float64 ``(n_comparisons, n_genes, 8)``, filled with ``CHANGE_COLUMNS``: shares of pairs with a ratio of at
        least ``folds``, of less than its inverse, and above 1 without a pseudocount; mean, median and standard
        deviation of the log2 ratios, and the ends of the narrowest interval, scvi-tools' highest-density one. From the
        mean on they are NaN where a share is.
    """
    n = first.shape[1]
    # arrays of their own: loops over rows of one array are not taken as vectors
    x, y = np.empty(n, np.float32), np.empty(n, np.float32)
    change, ordered, bucket = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.uint32)
    ends = np.empty(_N_BUCKETS + 1, np.uint32)
    for gene in range(len(shares)):
        row = shares[gene]
        for which in range(len(first)):
            for i in range(n):
                x[i] = row[first[which, i]]
                y[i] = row[second[which, i]]
            more, tiny = np.float32(pseudocounts[which]), np.float32(offsets[which])
            _describe(
                x,
                y,
                more,
                tiny,
                np.float32(folds[which]),
                n_outside,
                change,
                bucket,
                ends,
                ordered,
                result[which, gene],
            )


@compiled
def _describe(
    x: np.ndarray, y: np.ndarray, more: np.float32, tiny: np.float32, fold: np.float32, n_outside: int,
    change: np.ndarray, bucket: np.ndarray, ends: np.ndarray, ordered: np.ndarray, result: np.ndarray,
) -> None:  # fmt: skip
    n = len(x)
    up, down, higher, total = 0, 0, 0, 0.0
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for i in range(n):
        a, b = x[i] + more, y[i] + more
        up += a >= fold * b
        down += fold * a < b
        higher += x[i] > y[i]
    for i in range(n):
        change[i] = log32(x[i] + tiny) - log32(y[i] + tiny)
    for i in range(n):
        total += change[i]
    for i in range(n):
        c = change[i]
        low = c if c < low else low
        high = c if c > high else high
    result[0], result[1], result[2] = up / n, down / n, higher / n
    if math.isnan(total):  # of a model that diverged
        result[3:] = np.nan
        return
    mean = total / n
    square = 0.0
    for i in range(n):
        square += (change[i] - mean) ** 2
    # into buckets of equal width: only those that hold a rank which is asked for are then sorted
    per_width = np.float32(_N_BUCKETS - 1) / (high - low) if high - low > _LEAST_WIDTH else np.float32(0)
    for i in range(n):
        bucket[i] = np.uint32((change[i] - low) * per_width)
    ends[:] = 0
    for i in range(n):
        ends[bucket[i] + 1] += 1
    for k in range(_N_BUCKETS):
        ends[k + 1] += ends[k]
    for i in range(n):
        k = bucket[i]
        ordered[ends[k]] = change[i]
        ends[k] += 1
    _sort_ranks(ordered, ends, 0, n_outside - 1)
    _sort_ranks(ordered, ends, (n - 1) // 2, n // 2)
    _sort_ranks(ordered, ends, n - n_outside, n - 1)
    best, inside = 0, n - n_outside
    for i in range(n_outside):
        if ordered[i + inside] - ordered[i] < ordered[best + inside] - ordered[best]:
            best = i
    result[3] = mean * _TO_LOG2
    result[4] = (np.float64(ordered[(n - 1) // 2]) + ordered[n // 2]) / 2 * _TO_LOG2
    result[5] = math.sqrt(square / n) * _TO_LOG2
    result[6] = ordered[best] * _TO_LOG2
    result[7] = ordered[best + inside] * _TO_LOG2


@compiled
def _sort_ranks(ordered: np.ndarray, ends: np.ndarray, first: int, last: int) -> None:
    """Sort each of the buckets, which end at ``ends``, that hold ranks from first to last."""
    start = 0
    for stop in ends:
        if start > last:
            return
        if stop > first and stop - start > _FEW:
            ordered[start:stop].sort()
        elif stop > first:
            for i in range(start + 1, stop):
                value, k = ordered[i], i
                while k > start and ordered[k - 1] > value:
                    ordered[k] = ordered[k - 1]
                    k -= 1
                ordered[k] = value
        start = stop


@compiled
def add_rows(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    rows: np.ndarray,
    factors: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add rows of a CSR matrix to ``sums``, ``(n_columns, 3)``: times a factor each, as ones, and as they are."""
    for row in rows:
        factor = factors[row]
        for k in range(indptr[row], indptr[row + 1]):
            of_column, value = sums[indices[k]], np.float64(data[k])
            of_column[0] += value * factor
            of_column[1] += value != 0
            of_column[2] += value
