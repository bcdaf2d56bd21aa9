"""Whether the cells of a label form one piece of the neighbours graph."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scvi_downstream.metrics.weighted import ratio

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
        tied = there & alike & drawn[:, None] & (np.cumsum(there, axis=1) <= k)
        starts = np.concatenate([[0], np.cumsum(tied.sum(axis=1))])
        graph = sparse.csr_matrix((np.ones(starts[-1]), near[tied], starts), shape=(len(labels), len(labels)))
        piece = connected_components(graph, connection="strong")[1]
        largest = np.zeros(int(labels.max()) + 1)
        np.maximum.at(largest, labels, np.bincount(piece, counts)[piece])
        scores.append(ratio(largest, np.bincount(labels, counts)).mean())
    return np.array(scores)
