"""Groups of neighbouring cells that stand for them where all cells are too many."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph


def group_neighbors(transitions: sparse.csr_matrix, n_groups: int, seed: int) -> np.ndarray:
    """Groups of neighbouring cells: each cell goes with the seed cell that is nearest over the graph.

    Parameters
    ----------
    transitions
        ``(n_cells, n_cells)`` weights of a connected graph.
    n_groups
        Number of seed cells, drawn at random.
    seed
        Of the draw.

    Returns
    -------
    ``(n_cells,)`` group of each cell.
    """
    n_cells = transitions.shape[0]
    seeds = np.sort(np.random.default_rng(seed).choice(n_cells, n_groups, replace=False))
    lengths = transitions.maximum(transitions.T).tocsr()
    lengths.data = 1 - np.log(np.clip(lengths.data, 1e-12, 1))
    *_, nearest = csgraph.dijkstra(
        lengths, directed=False, indices=seeds, min_only=True, return_predecessors=True
    )
    return np.searchsorted(seeds, nearest)


def lump(transitions: sparse.csr_matrix, groups: np.ndarray) -> sparse.csr_matrix:
    """The walk between groups, from a random cell of each."""
    n_cells, n_groups = len(groups), int(groups.max()) + 1
    membership = sparse.csr_matrix((np.ones(n_cells), (np.arange(n_cells), groups)), (n_cells, n_groups))
    sizes = np.bincount(groups, minlength=n_groups)
    return sparse.csr_matrix(sparse.diags(1 / sizes) @ (membership.T @ transitions @ membership))


def group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Means of the cells' values by group."""
    return np.bincount(groups, weights=values) / np.bincount(groups)
