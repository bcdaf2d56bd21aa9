"""Integration LISI in array operations: the numbers of scib-metrics without compiling."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scvi_downstream.scoring.resampling import count_by_row, ratio

_MOST_TRIES = 50
_TOLERANCE = 1e-5


def median_batches(weights: np.ndarray, indices: np.ndarray, batches: np.ndarray) -> float:
    """Median effective number of batches around a cell, as :func:`scib_metrics.ilisi_knn`.

    Parameters
    ----------
    weights, indices
        ``(n_cells, k)``, of :func:`neighbor_weights` and the neighbours that they belong to.
    batches
        ``(n_cells,)`` codes from 0; every code occurs.

    Returns
    -------
    0 where each neighbourhood holds one batch, 1 where it holds all in equal parts.

    References
    ----------
    Korsunsky et al. (2019), doi:10.1038/s41592-019-0619-0; Luecken et al. (2022),
    doi:10.1038/s41592-021-01336-8.
    """
    n_batches = int(batches.max()) + 1
    return float((np.median(effective_groups(weights, indices, batches)) - 1) / (n_batches - 1))


def effective_groups(weights: np.ndarray, indices: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Inverse Simpson index of the groups around each cell: ``(n_cells,)``, from 1 to the number of groups.

    ``weights`` and ``indices`` are as for :func:`median_batches`, ``groups`` ``(n_cells,)`` codes from 0.
    """
    simpson = np.square(_shares(weights, indices, groups)).sum(axis=1)
    return ratio(np.ones(len(indices)), simpson)


def effective_groups_influence(
    weights: np.ndarray, indices: np.ndarray, groups: np.ndarray
) -> sparse.csr_array:
    """Derivative of each cell's :func:`effective_groups` by how often each neighbour counts.

    Takes what :func:`effective_groups` takes; ``(n_cells, n_cells)``, a row for each cell; rows add to 0.
    """
    shares = _shares(weights, indices, groups)
    simpson = np.square(shares).sum(axis=1, keepdims=True)
    beyond = np.take_along_axis(shares, groups[indices], axis=1) - simpson
    slopes = -2 * weights * beyond * np.square(ratio(np.ones_like(simpson), simpson))
    n_cells, k = indices.shape
    return sparse.csr_array(
        (slopes.ravel(), indices.ravel(), np.arange(0, n_cells * k + 1, k)), shape=(n_cells, n_cells)
    )


def _shares(weights: np.ndarray, indices: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return count_by_row(groups[indices], int(groups.max()) + 1, weights)


def neighbor_weights(indices: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Gaussian-like weights of the neighbours with a perplexity of a third of their number, the cell's own 0.

    Parameters
    ----------
    indices, distances
        ``(n_cells, k)`` nearest neighbours, each cell itself included.

    Returns
    -------
    ``(n_cells, k)``; rows add to one.

    References
    ----------
    van der Maaten & Hinton (2008), https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    distances = distances.astype(np.float64)
    others = indices != np.arange(len(indices))[:, None]
    target = np.log(indices.shape[1] // 3)
    precision = np.ones((len(indices), 1))
    low, high = np.full_like(precision, -np.inf), np.full_like(precision, np.inf)
    for _ in range(_MOST_TRIES):
        weights, excess = _weigh(distances, others, precision, target)
        flat = excess > 0
        if (np.abs(excess) < _TOLERANCE).all():
            break
        low, high = np.where(flat, precision, low), np.where(flat, high, precision)
        halved = np.where(np.isinf(low), precision / 2, (low + high) / 2)
        moved = np.where(flat & np.isinf(high), precision * 2, halved)
        precision = np.where(np.abs(excess) < _TOLERANCE, precision, moved)
    return weights


def _weigh(
    distances: np.ndarray, others: np.ndarray, precision: np.ndarray, target: float
) -> tuple[np.ndarray, np.ndarray]:
    kernel = np.where(others, np.exp(-distances * precision), 0)
    total = kernel.sum(axis=1, keepdims=True)
    spread = np.where(total > 0, total, 1)
    weights = kernel / spread
    entropy = np.log(spread) + precision * (distances * weights).sum(axis=1, keepdims=True)
    return weights, entropy - target


def macro_auc(logits: np.ndarray, arranged: np.ndarray) -> np.ndarray:
    """Macro one-vs-rest AUC of softmax probabilities.

    Parameters
    ----------
    logits
        ``(n_classes, n_arrangements, n_cells)`` linear predictors.
    arranged
        ``(n_arrangements, n_cells)`` class codes.

    Returns
    -------
    ``(n_arrangements,)``; NaN where a class is empty.

    References
    ----------
    Fawcett (2006), doi:10.1016/j.patrec.2005.10.010.
    """
    areas = np.empty(logits.shape[:2])
    for row, batches in enumerate(arranged):
        for code, odds in enumerate(_log_odds(logits[:, row].astype(np.float64))):
            inside, outside = odds[batches == code], np.sort(odds[batches != code])
            if len(inside) and len(outside):
                below, up_to = (np.searchsorted(outside, np.sort(inside), side) for side in ("left", "right"))
                areas[code, row] = (below.mean() + up_to.mean()) / (2 * len(outside))
            else:
                areas[code, row] = np.nan
    return areas.mean(axis=0)


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """Of each class against the rest: ordered as the probabilities, but never rounded to 0 or 1."""
    below = logits - logits.max(axis=0)
    relative = np.exp(below)
    first = np.arange(len(logits))[:, None] == logits.argmax(axis=0)
    # all but the first, which rounding would lose beside it
    beaten = np.where(first, 0, relative).sum(axis=0)
    others = np.where(first, beaten, beaten + 1 - relative)
    return below - np.log(np.maximum(others, np.finfo(np.float64).tiny))


def count_auc(counts: np.ndarray, classes: np.ndarray, most: int) -> float:
    """Macro one-vs-rest AUC of whole numbers, ties at half.

    Parameters
    ----------
    counts
        ``(n_cells, n_classes)``, from 0 to ``most``.
    classes
        ``(n_cells,)`` codes; every code occurs.
    most
        The largest count there can be.
    """
    n_classes, width = counts.shape[1], most + 1
    columns = np.arange(n_classes) * width
    everyone = np.bincount((counts + columns).ravel(), minlength=n_classes * width).reshape(-1, width)
    own = counts[np.arange(len(classes)), classes] + classes * width
    inside = np.bincount(own, minlength=n_classes * width).reshape(-1, width)
    outside = everyone - inside
    below = np.cumsum(outside, axis=1) - outside / 2
    return float(((inside * below).sum(axis=1) / (inside.sum(axis=1) * outside.sum(axis=1))).mean())


_REACH = 3


def graph_connectivity(indices: np.ndarray, labels: np.ndarray, weights: np.ndarray, k: int) -> np.ndarray:
    """Mean over labels of the largest piece's share, as :func:`scib_metrics.graph_connectivity`.

    Each cell is tied to its nearest ``k`` among the cells that count, and a label falls into the strongly connected
    pieces of its own cells. Cells that count several times are one of the ``k``: as several they would leave fewer
    others, and graphs of resamples would fall apart more than those of samples.

    Parameters
    ----------
    indices
        ``(n_cells, n_neighbors)`` nearest neighbours, each cell itself included; those from ``3 * k`` on are not used.
    labels
        ``(n_cells,)`` codes from 0.
    weights
        ``(n_draws, n_cells)``.
    k
        Neighbours in the graph, the cell itself included.

    Returns
    -------
    ``(n_draws,)`` in (0, 1]; NaN where a label has no weight.

    References
    ----------
    Luecken et al. (2022), doi:10.1038/s41592-021-01336-8.
    """
    near = indices[:, : _REACH * k]
    alike = labels[near] == labels[:, None]
    scores = []
    for counts in weights:
        drawn = counts > 0
        there = drawn[near]
        tied = there & alike & drawn[:, None] & (np.cumsum(there, axis=1, dtype=np.int16) <= k)
        starts = np.concatenate([[0], np.cumsum(tied.sum(axis=1))])
        graph = sparse.csr_matrix((np.ones(starts[-1]), near[tied], starts), shape=(len(labels), len(labels)))
        piece = connected_components(graph, connection="strong")[1]
        largest = np.zeros(int(labels.max()) + 1)
        np.maximum.at(largest, labels, np.bincount(piece, counts)[piece])
        scores.append(ratio(largest, np.bincount(labels, counts)).mean())
    return np.array(scores)


def explained_by_batch(points: np.ndarray, batches: np.ndarray) -> float:
    """R² of the batch, summed over dimensions, as :func:`scib_metrics.utils.principal_component_regression`.

    Weighting each principal component's R² by its variance is the sum of squares between batches over the
    total, which no rotation changes: no components need be computed.

    Parameters
    ----------
    points
        ``(n_cells, n_dims)``.
    batches
        ``(n_cells,)`` codes from 0; every code occurs.

    Returns
    -------
    In [0, 1], not adjusted for the number of batches; NaN for points without variance.

    References
    ----------
    Büttner et al. (2019), doi:10.1038/s41592-018-0254-1.
    """
    return float(explained_in_resamples(points, batches, np.ones((1, len(points))))[0])


def explained_in_resamples(points: np.ndarray, batches: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """:func:`explained_by_batch` under each row of ``(n_draws, n_cells)`` weights: ``(n_draws,)``."""
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    between = np.zeros(len(weights))
    summed = np.zeros((len(weights), centred.shape[1]))
    for batch in range(int(batches.max()) + 1):
        own = np.flatnonzero(batches == batch)
        sums, sizes = weights[:, own] @ centred[own], weights[:, own].sum(axis=1)
        between += np.square(sums).sum(axis=1) / np.maximum(sizes, 1)
        summed += sums
    of_mean = ratio(np.square(summed).sum(axis=1), weights.sum(axis=1))
    total = weights @ np.square(centred).sum(axis=1) - of_mean
    return ratio(between - of_mean, np.where(total > 0, total, 0))


def pcr_comparison(
    before: np.ndarray, after: np.ndarray, batches: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Share of the batch's part that integration has removed, as :func:`scib_metrics.pcr_comparison`.

    Parameters
    ----------
    before, after
        ``(n_cells, n_dims)`` embeddings without and with integration; the dimensions may differ in number.
    batches
        ``(n_cells,)`` codes from 0; every code occurs.
    weights
        ``(n_draws, n_cells)``.

    Returns
    -------
    ``(n_draws,)`` in [0, 1], 0 where the part has grown; NaN where there was none before.
    """
    explained = explained_in_resamples(before, batches, weights)
    return np.maximum(ratio(explained - explained_in_resamples(after, batches, weights), explained), 0)
