"""Whether the cells of a label form one piece of the neighbours graph."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scvi_downstream.metrics.weighted import ratio


def pieces_of_labels(indices: np.ndarray, distances: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Strongly connected pieces that each label's own neighbours graph falls into.

    Parameters
    ----------
    indices, distances
        ``(n_cells, k)`` nearest neighbours, each cell itself included.
    labels
        ``(n_cells,)``.

    Returns
    -------
    For each label ``(2, n_own)``: positions of its cells, and the number of each one's piece.
    """
    n_cells, k = indices.shape
    starts = np.arange(0, n_cells * k + 1, k)
    graph = sparse.csr_matrix((distances.ravel(), indices.ravel(), starts), shape=(n_cells, n_cells))
    pieces = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        pieces.append(np.stack([own, connected_components(graph[own][:, own], connection="strong")[1]]))
    return pieces


def graph_connectivity(pieces: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Mean over labels of the largest piece's share, as :func:`scib_metrics.graph_connectivity`.

    Parameters
    ----------
    pieces
        Of :func:`pieces_of_labels`.
    weights
        ``(n_draws, n_cells)``.

    Returns
    -------
    ``(n_draws,)`` in (0, 1]; NaN where a label has no weight.

    References
    ----------
    Luecken et al. (2022), doi:10.1038/s41592-021-01336-8.
    """
    shares = []
    for own, piece in pieces:
        members = sparse.csr_array(
            (np.ones(len(own)), piece, np.arange(len(own) + 1)), shape=(len(own), int(piece.max()) + 1)
        )
        mine = weights[:, own]
        shares.append(ratio(np.asarray(mine @ members).max(axis=1), mine.sum(axis=1)))
    return np.mean(shares, axis=0)
