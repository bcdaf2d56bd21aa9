"""Principal component regression: the share of an embedding's variance that the batch explains."""

from __future__ import annotations

import numpy as np

from scvi_downstream.metrics.weighted import ratio


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
