"""Batch silhouettes inside each label in matrix products; compiling for the size of each label took 10 s."""

from __future__ import annotations

import numpy as np

from scvi_downstream.metrics.batch_silhouette import mean_over_labels

_ROWS_AT_ONCE = 2048


def bras(latent: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> float:
    """Batch removal adapted silhouette, as :func:`scib_metrics.bras` with its defaults.

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
    Rautenstrauch & Ohler (2025), doi:10.1038/s41587-025-02743-4.
    """
    return mean_over_labels(latent, labels, batches, _silhouettes)


def _silhouettes(latent: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """(b - a) / max(a, b) of mean cosine distances: a to the own batch, b to all other batches."""
    lengths = np.linalg.norm(latent, axis=1, keepdims=True)
    directions = (latent / np.where(lengths > 0, lengths, 1)).astype(np.float64)
    _, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    membership = np.eye(len(sizes))[codes]
    widths = np.zeros(len(latent))
    for start in range(0, len(latent), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        distances = np.clip(1 - directions[rows] @ directions.T, 0, 2)
        by_batch = distances @ membership
        own = np.take_along_axis(by_batch, codes[rows, None], axis=1)[:, 0]
        n_own = sizes[codes[rows]]
        within = own / np.maximum(n_own - 1, 1)
        between = (by_batch.sum(axis=1) - own) / (len(latent) - n_own)
        largest = np.maximum(within, between)
        widths[rows] = np.where(
            (n_own > 1) & (largest > 0), (between - within) / np.where(largest > 0, largest, 1), 0
        )
    return widths
