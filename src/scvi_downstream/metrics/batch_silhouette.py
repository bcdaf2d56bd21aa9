"""Silhouettes of batches inside each label; compiling for the size of each label took 12 s."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


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
    from sklearn.metrics import silhouette_samples

    return mean_over_labels(latent, labels, batches, silhouette_samples)


def mean_over_labels(
    latent: np.ndarray,
    labels: np.ndarray,
    batches: np.ndarray,
    silhouettes: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> float:
    """Mean over labels of 1 − the mean absolute silhouette of batches among the label's own cells.

    Labels of one batch, or with as many batches as cells, are left out; NaN when none is left.

    Parameters
    ----------
    latent, labels, batches
        As in :func:`batch_asw`.
    silhouettes
        From coordinates and batches of the label's `n` cells to ``(n,)`` widths in [-1, 1].
    """
    scores = []
    for label in np.unique(labels):
        own = labels == label
        if 1 < len(np.unique(batches[own])) < own.sum():
            scores.append(1 - np.abs(silhouettes(latent[own], batches[own])).mean())
    return float(np.mean(scores)) if scores else float("nan")
