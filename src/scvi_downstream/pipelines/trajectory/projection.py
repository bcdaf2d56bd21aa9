"""Nearest points of cells on a line of many segments, a cell at a time: apart, as Numba takes a while to import."""

from __future__ import annotations

import numpy as np

from scvi_downstream.runtime.compiled import compiled


@compiled
def nearest_segments(
    cells: np.ndarray, starts: np.ndarray, steps: np.ndarray,
    segment: np.ndarray, share: np.ndarray, squared: np.ndarray,
) -> None:  # fmt: skip
    """Write the nearest segment of each cell, the place on it in [0, 1] and the squared distance to it.

    ``cells`` are ``(n_cells, n_dims)``, ``starts`` and ``steps`` ``(n_dims, n_segments)`` first points of the segments
    and ways to their last. The first of equally near segments is taken.
    """
    n_dims, n_segments = starts.shape
    squares, offsets, sizes = np.zeros(n_segments), np.zeros(n_segments), np.zeros(n_segments)
    for d in range(n_dims):
        for s in range(n_segments):
            squares[s] += steps[d, s] * steps[d, s]
            offsets[s] += starts[d, s] * steps[d, s]
            sizes[s] += starts[d, s] * starts[d, s]
    along, gap, places = np.empty(n_segments), np.empty(n_segments), np.empty(n_segments)
    for i in range(len(cells)):
        size = 0.0
        along[:] = -offsets
        gap[:] = sizes
        for d in range(n_dims):
            x = cells[i, d]
            size += x * x
            for s in range(n_segments):
                along[s] += x * steps[d, s]
                gap[s] -= 2 * x * starts[d, s]
        for s in range(n_segments):
            place = along[s] / squares[s] if squares[s] > 0 else 0.0
            place = max(min(place, 1.0), 0.0)
            places[s] = place
            # |x - a - t v|² without the constant |x|²
            gap[s] += place * (place * squares[s] - 2 * along[s])
        nearest = gap.argmin()
        segment[i], share[i], squared[i] = nearest, places[nearest], max(gap[nearest] + size, 0.0)
