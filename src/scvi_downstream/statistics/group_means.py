"""Log fold changes of the mean expression of groups of cells, batches removed, and how uncertain they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scvi_downstream.statistics.comparisons import REST, Comparison

VALUES_AT_ONCE, GENES_AT_ONCE = 2_000_000, 500
"""Strata times genes of one sum, some 300 MB of working memory, and most genes, whose counts are copied."""
_ROUNDS = 20  # after which proportional fitting moves the factors of overlapping batches by less than 1e-3
_HALF = 0.5  # counts that a group is given of every gene, so that no group has infinitely less of it
_PRIOR_DF = 10
"""Degrees of freedom of the variance that a gene's dispersion suggests: as many as the smallest groups have cells."""
_HIGHEST_Z = 37.0  # the normal deviate whose p-value still is a number

type Sides = tuple[int, list[int], list[int]]


@dataclass(frozen=True, eq=False)
class _Strata:
    """Sums over the cells of each part and batch: ``(n_parts, n_batches, 1)``, those of counts with a column a gene.

    With counts `y` and totals `l` of the cells: ``n`` cells, ``depth`` Σl, ``depth2`` Σl², ``inverse`` Σ1/l, ``y`` Σy,
    ``y2`` Σy², ``yl`` Σyl, ``share`` Σy/l, ``share2`` Σ(y/l)².
    """

    n: np.ndarray
    depth: np.ndarray
    depth2: np.ndarray
    inverse: np.ndarray
    y: np.ndarray
    y2: np.ndarray
    yl: np.ndarray
    share: np.ndarray
    share2: np.ndarray


@dataclass(frozen=True, eq=False)
class _Parts:
    """What groups are put together from, by part: sums over its batches, to be divided by cells or their square.

    ``n`` ``(n_parts, n_batches)`` cells and ``df`` of each stratum; the others ``(n_parts, n_genes)``: ``mean`` of the
    shares, their ``variance`` as observed and as ``expected`` of the gene, and ``of_one``, the variance per unit of
    mean that counting alone gives. ``factor_variance`` ``(n_batches, n_genes)`` is of the batches' log factors.
    """

    n: np.ndarray
    df: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    expected: np.ndarray
    of_one: np.ndarray
    factor_variance: np.ndarray


@dataclass(frozen=True, eq=False)
class _Side:
    """One group: by gene its mean share, the variance of that, and the variance per unit of mean of counting alone.

    ``by_batch`` are the shares of its cells, ``df`` the degrees of freedom of the variances.
    """

    mean: np.ndarray
    variance: np.ndarray
    of_one: np.ndarray
    by_batch: np.ndarray
    df: float

    def relative_variance(self, offset: np.ndarray) -> np.ndarray:
        """Of the mean with an offset added, at least that of counting."""
        mean = self.mean + offset
        return np.maximum(self.variance, mean * self.of_one) / mean**2


def compare_means(
    counts: sparse.csr_matrix, totals: np.ndarray, comparisons: list[Comparison], batches: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log2 ratio of two groups' mean share of the counts, and its standard error, with cells as units.

    A batch multiplies a gene's share by a factor, the same in every group; factors are fitted to the sums by group and
    batch (Poisson, proportional fitting) and divided out. What batches and groups do not tell apart stays with the
    groups. Within a group and batch the mean is the sum of counts over the sum of totals, or the mean of the cells'
    shares, whichever varies less for the gene; a group's mean weighs its cells alike, deep or shallow. Variances are
    those of the cells, drawn towards what the gene's dispersion over all groups lets expect.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` raw counts.
    totals
        ``(n_cells,)`` counts of each cell over all genes, those not compared included. Cells without any do not enter.
    comparisons
        Pairs of groups of these cells.
    batches
        ``(n_cells,)`` codes from 0.

    Returns
    -------
    Two arrays ``(n_comparisons, n_genes)``. The error is the normal equivalent: effect over error has the p-value
    that its t-statistic (Welch's) has.

    References
    ----------
    Bishop, Fienberg & Holland (1975), Discrete Multivariate Analysis, ch. 3 (proportional fitting); Welch (1947),
    doi:10.1093/biomet/34.1-2.28.
    """
    effects, errors = np.zeros((2, len(comparisons), counts.shape[1]))
    by_gene, n_batches = counts.tocsc(), int(batches.max()) + 1
    for parts, compared in _partitions(comparisons):
        cells = np.flatnonzero((parts >= 0) & (totals > 0))
        shape = (int(parts.max()) + 1, n_batches)
        strata = np.ravel_multi_index((parts[cells], batches[cells]), shape)
        width = min(max(VALUES_AT_ONCE // (shape[0] * shape[1]), 1), GENES_AT_ONCE)
        for start in range(0, counts.shape[1], width):
            genes = slice(start, start + width)
            sums = _sum_strata(by_gene[:, genes].tocsr()[cells], totals[cells], strata, shape)
            summed = _sum_parts(sums)
            for place, first, second in compared:
                effects[place, genes], errors[place, genes] = _contrast(summed, first, second)
    return effects, errors


def normal_equivalent(effect: np.ndarray, half_p: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The errors by which normal effects have the two-sided p-values of which ``half_p`` are the halves.

    Where an effect is too close to zero for its p-value to tell, it is ``error``.
    """
    from scipy.stats import norm

    z = np.minimum(norm.isf(np.maximum(half_p, 1e-300)), _HIGHEST_Z)
    return np.divide(np.abs(effect), z, out=np.array(error, dtype=np.float64), where=z > 1e-3)


def _partitions(comparisons: list[Comparison]) -> Iterator[tuple[np.ndarray, list[Sides]]]:
    """Divisions of cells into parts, -1 for those left out, and comparisons by their place and the parts of both sides.

    Groups of one grouping that are compared with the rest divide it, cells of no such group being one part more.
    """
    against_rest: dict[str, list[int]] = {}
    for place, comparison in enumerate(comparisons):
        if comparison.group2 == REST and comparison.within is None:
            against_rest.setdefault(comparison.grouping, []).append(place)
        else:
            yield np.where(comparison.cells1, 0, np.where(comparison.cells2, 1, -1)), [(place, [0], [1])]
    for places in against_rest.values():
        one = comparisons[places[0]]
        parts = np.where(one.cells1 | one.cells2, len(places), -1)
        for part, place in enumerate(places):
            parts[comparisons[place].cells1] = part
        every = range(int(parts.max()) + 1)
        yield (
            parts,
            [(place, [part], [each for each in every if each != part]) for part, place in enumerate(places)],
        )


def _sum_strata(
    counts: sparse.csr_matrix, totals: np.ndarray, strata: np.ndarray, shape: tuple[int, int]
) -> _Strata:
    n_strata, n_cells = shape[0] * shape[1], len(strata)

    def add_up(matrix: sparse.csr_matrix, power: int) -> np.ndarray:
        weights = totals.astype(np.float64) ** power, (strata, np.arange(n_cells))
        summed = sparse.csr_matrix(weights, shape=(n_strata, n_cells)) @ matrix
        return summed.toarray().reshape(*shape, -1)

    def over_cells(values: np.ndarray) -> np.ndarray:
        return np.bincount(strata, values, n_strata).reshape(*shape, 1)

    counts = counts.astype(np.float64)
    squares = counts.multiply(counts).tocsr()
    return _Strata(
        n=over_cells(np.ones(n_cells)),
        depth=over_cells(totals),
        depth2=over_cells(totals.astype(np.float64) ** 2),
        inverse=over_cells(1 / totals),
        y=add_up(counts, 0),
        y2=add_up(squares, 0),
        yl=add_up(counts, 1),
        share=add_up(counts, -1),
        share2=add_up(squares, -2),
    )


def _sum_parts(sums: _Strata) -> _Parts:
    n, some = sums.n, np.maximum(sums.n, 1)
    depth = np.maximum(sums.depth, 1e-9)
    of_depth, of_cells = sums.y / depth, sums.share / some
    # n² times the variance of the mean, for each of the two means
    more = np.where(n > 1, some / np.maximum(some - 1, 1), 0)
    squares = np.maximum(sums.y2 - 2 * of_depth * sums.yl + of_depth**2 * sums.depth2, 0) * more
    varied_depth = squares * (n / depth) ** 2
    varied_cells = np.maximum(sums.share2 - n * of_cells**2, 0) * more
    by_depth = varied_depth.sum(axis=(0, 1)) < varied_cells.sum(axis=(0, 1))
    mean = np.where(by_depth, of_depth, of_cells)
    of_one = np.where(by_depth, n**2 / depth, sums.inverse)
    # variance of a count: mean + dispersion * mean²
    several = n > 1
    beyond_counting = ((squares - of_depth * sums.depth) * several).sum(axis=(0, 1))
    squared_means = (of_depth**2 * sums.depth2 * several).sum(axis=(0, 1))
    dispersion = np.maximum(beyond_counting, 0) / np.maximum(squared_means, 1e-300)
    weighed = np.where(by_depth, (n / depth) ** 2 * sums.depth2, n)
    expected = of_one * mean + dispersion * mean**2 * weighed
    factors = _batch_factors(sums)
    observed = np.where(by_depth, varied_depth, varied_cells)
    # relative variance of a stratum's mean, half a count added to it
    half = _HALF * of_one / some
    relative = (np.maximum(observed, expected) + half * of_one) / np.where(n > 0, (n * mean + half) ** 2, 1)
    precision = np.where(n > 0, 1 / np.maximum(relative, 1e-12), 0).sum(axis=0)
    return _Parts(
        n=n[:, :, 0],
        df=np.maximum(n - 1, 0)[:, :, 0],
        mean=(n * mean / factors).sum(axis=1),
        variance=(observed / factors**2).sum(axis=1),
        expected=(expected / factors**2).sum(axis=1),
        of_one=(of_one / factors).sum(axis=1),
        factor_variance=1 / np.maximum(precision, 1e-12),
    )


def _batch_factors(sums: _Strata) -> np.ndarray:
    """``(n_batches, n_genes)`` factors, their geometric mean by depth 1; half a count keeps unseen genes at 1."""
    of_batch, of_part = sums.y.sum(axis=0), sums.y.sum(axis=1)
    depth = sums.depth[:, :, 0]
    weights = depth.sum(axis=0) / depth.sum()
    factors = np.ones_like(of_batch)
    for _ in range(_ROUNDS if len(factors) > 1 else 0):
        rates = of_part / (depth @ factors)
        factors = (of_batch + _HALF) / (depth.T @ rates + _HALF)
        factors /= np.exp(weights @ np.log(factors))
    return factors


def _side(parts: _Parts, chosen: list[int]) -> _Side:
    """One group, put together from its parts."""
    n, df = parts.n[chosen].sum(), parts.df[chosen].sum()
    totals = (parts.variance, parts.expected, parts.of_one)
    observed, expected, of_one = (total[chosen].sum(axis=0) / n**2 for total in totals)
    return _Side(
        mean=parts.mean[chosen].sum(axis=0) / n,
        variance=(_PRIOR_DF * expected + df * observed) / (_PRIOR_DF + df),
        of_one=of_one,
        by_batch=parts.n[chosen].sum(axis=0) / n,
        df=_PRIOR_DF + df,
    )


def _contrast(parts: _Parts, first: list[int], second: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Effect and error of the parts of one group against those of another."""
    from scipy.stats import t

    one, other = _side(parts, first), _side(parts, second)
    offset = _HALF * np.maximum(one.of_one, other.of_one)
    variance_one, variance_other = one.relative_variance(offset), other.relative_variance(offset)
    of_batches = (one.by_batch - other.by_batch) ** 2 @ parts.factor_variance
    effect = np.log2((one.mean + offset) / (other.mean + offset))
    error = np.sqrt(variance_one + variance_other + of_batches) / np.log(2)
    welch = (variance_one + variance_other) ** 2 / (variance_one**2 / one.df + variance_other**2 / other.df)
    return effect, normal_equivalent(effect, t.sf(np.abs(effect / error), welch), error)
