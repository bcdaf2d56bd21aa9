"""Silhouettes in matrix products, and how each cell moves their mean through the distances of all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scvi_downstream.scoring.resampling import cells_by_label, mean_over_groups

# Distances of so many cells to as many are computed and summed while they are in the processor's cache.
_CELLS_AT_ONCE = 256
type Distances = Callable[[slice, slice], np.ndarray]
"""Of some cells to some others: ``(n_cells, n_others)``, the same the other way round."""


@dataclass(frozen=True)
class Silhouettes:
    """Silhouettes of ``n_cells`` cells in ``n_groups`` groups, and what they change by when cells count more or less.

    Attributes
    ----------
    widths
        ``(n_cells,)`` in [-1, 1]; 0 in a group of one cell.
    slopes
        ``(n_cells, n_groups)`` derivative of a cell's width by the weight of another cell, for each unit of distance
        that this one lies beyond ``means``.
    means
        ``(n_cells, n_groups)`` mean distances that the width is made of.
    groups
        ``(n_cells,)`` codes from 0.
    distances
        Between the cells.
    """

    widths: np.ndarray
    slopes: np.ndarray
    means: np.ndarray
    groups: np.ndarray
    distances: Distances

    def influence(self, shares: np.ndarray) -> np.ndarray:
        """Derivative of sums of widths by each cell's weight in the mean distances: adds to 0.

        ``shares`` is ``(n_cells, n_sums)``, what a cell's width counts in each sum, and so is the result.
        """
        n_cells, n_groups = self.slopes.shape
        pulls = shares[:, :, None] * self.slopes[:, None, :]
        expected = pulls * self.means[:, None, :]
        reached = _sums(self.distances, pulls.reshape(n_cells, -1)).reshape(n_cells, -1, n_groups)
        # a cell is not among the others that its own mean distance is taken over, which is 0 in `reached`
        moved = reached - expected.sum(axis=0) + expected
        return np.take_along_axis(moved, self.groups[:, None, None], axis=2)[:, :, 0]


def against_nearest(distances: Distances, groups: np.ndarray) -> Silhouettes:
    """Silhouettes against the nearest other group, as :func:`sklearn.metrics.silhouette_samples`.

    Parameters
    ----------
    distances
        Of :func:`euclidean` or :func:`cosine`.
    groups
        ``(n_cells,)`` codes from 0; at least two, and every one occurs.

    References
    ----------
    Rousseeuw (1987), doi:10.1016/0377-0427(87)90125-7.
    """
    rows, sizes = np.arange(len(groups)), np.bincount(groups)
    sums = _sums(distances, np.eye(len(sizes))[groups])
    within = sums[rows, groups] / np.maximum(sizes[groups] - 1, 1)
    others = sums / sizes
    others[rows, groups] = np.inf
    nearest = others.argmin(axis=1)
    between = others[rows, nearest]
    widths, by_within, by_between = _widths(within, between, sizes[groups])
    slopes, means = np.zeros_like(sums), np.zeros_like(sums)
    slopes[rows, groups] = by_within / np.maximum(sizes[groups] - 1, 1)
    slopes[rows, nearest] = by_between / sizes[nearest]
    means[rows, groups], means[rows, nearest] = within, between
    return Silhouettes(widths, slopes, means, groups, distances)


def against_others(distances: Distances, groups: np.ndarray) -> Silhouettes:
    """Silhouettes against all cells of other groups together, as BRAS takes them.

    The parameters are those of :func:`against_nearest`.

    References
    ----------
    Rautenstrauch & Ohler (2025), doi:10.1038/s41587-025-02743-4.
    """
    rows, sizes = np.arange(len(groups)), np.bincount(groups)
    sums = _sums(distances, np.eye(len(sizes))[groups])
    own, n_own = sums[rows, groups], sizes[groups]
    n_in_group, n_outside = np.maximum(n_own - 1, 1), len(groups) - n_own
    within, between = own / n_in_group, (sums.sum(axis=1) - own) / n_outside
    widths, by_within, by_between = _widths(within, between, n_own)
    slopes = np.repeat((by_between / n_outside)[:, None], len(sizes), axis=1)
    means = np.repeat(between[:, None], len(sizes), axis=1)
    slopes[rows, groups], means[rows, groups] = by_within / n_in_group, within
    return Silhouettes(widths, slopes, means, groups, distances)


def euclidean(points: np.ndarray) -> Distances:
    """Euclidean distances between the rows of ``(n_cells, n_dims)`` points."""
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    squares, ones = np.square(centred).sum(axis=1, keepdims=True), np.ones((len(points), 1))
    # |x|² - 2xy + |y|² in one product
    left, right = np.hstack([-2 * centred, squares, ones]), np.hstack([centred, ones, squares]).T.copy()

    def distances(cells: slice, others: slice) -> np.ndarray:
        squared = left[cells] @ right[:, others]
        if cells == others:
            np.fill_diagonal(squared, 0)
        return np.sqrt(np.maximum(squared, 0, out=squared), out=squared)

    return distances


def cosine(points: np.ndarray) -> Distances:
    """1 − the cosine between the rows of ``(n_cells, n_dims)`` points; the origin is at 1 from all."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    directions = (points / np.where(lengths > 0, lengths, 1)).astype(np.float64)
    return lambda cells, others: np.clip(1 - directions[cells] @ directions[others].T, 0, 2)


def _widths(
    within: np.ndarray, between: np.ndarray, n_own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(b - a) / max(a, b) and its derivatives by a and by b."""
    largest = np.maximum(within, between)
    usable = (n_own > 1) & (largest > 0)
    divisor = np.where(usable, largest, 1)
    nearer = within < between
    widths = np.where(usable, (between - within) / divisor, 0)
    by_within = np.where(usable, np.where(nearer, -1 / divisor, -between / divisor**2), 0)
    by_between = np.where(usable, np.where(nearer, within / divisor**2, 1 / divisor), 0)
    return widths, by_within, by_between


def _sums(distances: Distances, columns: np.ndarray) -> np.ndarray:
    """``distances @ columns``, each distance computed once."""
    sums = np.zeros(columns.shape)
    starts = range(0, len(columns), _CELLS_AT_ONCE)
    blocks = [slice(start, start + _CELLS_AT_ONCE) for start in starts]
    for position, cells in enumerate(blocks):
        for others in blocks[position:]:
            block = distances(cells, others)
            sums[cells] += block @ columns[others]
            if others != cells:
                sums[others] += block.T @ columns[cells]
    return sums


def batch_asw(latent: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> float:
    """Average silhouette width of batches, as :func:`scib_metrics.silhouette_batch` with its defaults.

    Labels of one batch, or with as many batches as cells, are left out.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)``.
    labels, batches
        ``(n_cells,)``.

    Returns
    -------
    In [0, 1], higher is better mixed; NaN when no label can be scored.

    References
    ----------
    Luecken et al. (2022), doi:10.1038/s41592-021-01336-8.
    """
    scores = []
    for own in _scored_labels(labels, batches):
        codes = np.unique(batches[own], return_inverse=True)[1]
        scores.append(1 - np.abs(against_nearest(euclidean(latent[own]), codes).widths).mean())
    return float(np.mean(scores)) if scores else float("nan")


def _scored_labels(labels: np.ndarray, batches: np.ndarray) -> list[np.ndarray]:
    """Positions of the cells of each label that has several batches, and fewer batches than cells."""
    return [own for own in cells_by_label(labels) if 1 < len(np.unique(batches[own])) < len(own)]


@dataclass(frozen=True)
class BatchMixing:
    """1 − the absolute silhouette of each cell's batch among the cells of its label.

    ``by_label`` are positions of a label's cells and their values, for each label that can be scored; ``influence``
    is the ``(n_cells,)`` derivative of BRAS by each cell's weight in the distances of the others, and adds to 0.
    """

    by_label: list[tuple[np.ndarray, np.ndarray]]
    influence: np.ndarray

    def bras(self, weights: np.ndarray) -> np.ndarray:
        """BRAS under each row of ``(n_draws, n_cells)`` weights: ``(n_draws,)``, to first order."""
        return np.clip(mean_over_groups(self.by_label, weights) + weights @ self.influence, 0, 1)


def batch_mixing(latent: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> BatchMixing:
    """Silhouettes of batches within labels; the parameters are those of :func:`bras`."""
    scored = _scored_labels(labels, batches)
    by_label, influence = [], np.zeros(len(latent))
    for own in scored:
        silhouettes = against_others(cosine(latent[own]), np.unique(batches[own], return_inverse=True)[1])
        by_label.append((own, 1 - np.abs(silhouettes.widths)))
        shares = -np.sign(silhouettes.widths) / (len(own) * len(scored))
        influence[own] = silhouettes.influence(shares[:, None])[:, 0]
    return BatchMixing(by_label, influence)


def bras(latent: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> float:
    """Batch removal adapted silhouette, as :func:`scib_metrics.bras` with its defaults; otherwise as :func:`batch_asw`.

    References
    ----------
    Rautenstrauch & Ohler (2025), doi:10.1038/s41587-025-02743-4.
    """
    return float(batch_mixing(latent, labels, batches).bras(np.ones((1, len(latent))))[0])
