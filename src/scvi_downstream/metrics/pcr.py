"""Principal component regression: the share of an embedding's variance that the batch explains."""

from __future__ import annotations

import numpy as np


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
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    total = np.square(centred).sum()
    sums = np.zeros((int(batches.max()) + 1, centred.shape[1]))
    np.add.at(sums, batches, centred)
    between = (np.square(sums) / np.bincount(batches)[:, None]).sum()
    return float(between / total) if total > 0 else float("nan")
