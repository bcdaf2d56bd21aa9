"""The batch told by a cell's neighbours; relabelling costs no new search, so its null is cheap."""

from __future__ import annotations

import numpy as np

from scvi_downstream.metrics.auc import count_auc


def neighbor_auc(neighbors: np.ndarray, arranged: np.ndarray) -> np.ndarray:
    """Macro one-vs-rest AUC of the share of a cell's neighbours in each batch, for every arrangement.

    Parameters
    ----------
    neighbors
        ``(n_cells, k)`` positions of the nearest other cells.
    arranged
        ``(n_arrangements, n_cells)`` batch codes from 0; every code occurs.

    Returns
    -------
    ``(n_arrangements,)`` AUCs.
    """
    n_cells, k = neighbors.shape
    n_batches = int(arranged.max()) + 1
    rows = np.arange(n_cells)[:, None] * n_batches
    areas = np.empty(len(arranged))
    for position, batches in enumerate(arranged):
        counts = np.bincount((rows + batches[neighbors]).ravel(), minlength=n_cells * n_batches)
        areas[position] = count_auc(counts.reshape(n_cells, n_batches), batches, k)
    return areas
