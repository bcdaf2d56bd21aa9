"""The one cell that distances along a trajectory are measured from."""

from __future__ import annotations

import numpy as np

from scvi_downstream.errors import InputError
from scvi_downstream.neighbors import NeighborsGraph


def root_cell(start_cells: np.ndarray, coordinates: np.ndarray, neighbors: NeighborsGraph) -> int:
    """One start cell to measure distances from: the outermost one.

    Pseudotime is a distance from the root. From a root inside the start cells, those on its outer side would come
    after it, folded onto the ones that lead on; so not their medoid, but the cell at their far end is the root: the
    one farthest from all cells that are not start cells. Distances are averaged over neighbourhoods, and start cells
    with hardly any start cell around them (wrong labels, outliers) are passed over, for a stray cell at the other end
    of the data would be farther still.

    Parameters
    ----------
    start_cells
        Positions of the start cells, at least one.
    coordinates
        ``(n_cells, n_dims)``, best in diffusion distance (:func:`.diffusion.diffusion_coordinates`); rows of cells that
        cannot be reached from the start are NaN.
    neighbors
        kNN graph of the same cells.

    Returns
    -------
    Position of the root among the ``n_cells`` cells.

    Raises
    ------
    InputError
        No start cell has coordinates.
    """
    from scipy.spatial.distance import cdist

    starts = np.asarray(start_cells)
    starts = starts[np.isfinite(coordinates[starts]).all(axis=1)]
    if not len(starts):
        raise InputError(
            "none of the start cells is connected to other cells; choose another trajectory start"
        )
    is_start = np.zeros(len(coordinates), dtype=bool)
    is_start[starts] = True
    around = neighbors.indices[starts, : neighbors.n_neighbors]
    support = is_start[around].mean(axis=1)
    supported = starts[support >= np.median(support) / 2]
    others = np.flatnonzero(np.isfinite(coordinates).all(axis=1) & ~is_start)
    if not len(others):
        others = starts
    # Evenly spread cells stand for all: the mean over 2,000 is exact to a few per cent of the spread.
    others = others[np.linspace(0, len(others) - 1, min(len(others), 2000)).astype(np.int64)]
    near = neighbors.indices[supported, : neighbors.n_neighbors]
    needed, inverse = np.unique(near, return_inverse=True)
    remoteness = np.full(len(needed), np.nan)
    finite = np.isfinite(coordinates[needed]).all(axis=1)
    remoteness[finite] = cdist(coordinates[needed[finite]], coordinates[others]).mean(axis=1)
    return int(supported[np.nanmean(remoteness[inverse.reshape(near.shape)], axis=1).argmax()])
