"""Nearest points of cells on a line of many segments, a cell at a time: apart, as Numba takes a while to import."""

from __future__ import annotations

import numpy as np

from scvi_downstream.runtime.compiled import compiled


@compiled
def nearest_segments(
    products: np.ndarray, lengths: np.ndarray, offsets: np.ndarray, sizes: np.ndarray,
    segment: np.ndarray, share: np.ndarray, squared: np.ndarray,
) -> None:  # fmt: skip
    """Write the nearest segment of each cell, the place on it in [0, 1], and the squared distance less ``|cell|²``.

    ``products`` are ``(n_cells, n_segments + 1)`` inner products of cells and the line's points, of which ``sizes`` are
    the squared lengths; ``lengths`` are the squared lengths of the segments, ``offsets`` their products with their
    first points. The first of equally near segments is taken.
    """
    n_segments = len(lengths)
    gap, places = np.empty(n_segments), np.empty(n_segments)
    for i in range(len(products)):
        for s in range(n_segments):
            along = products[i, s + 1] - products[i, s] - offsets[s]
            place = along / lengths[s] if lengths[s] > 0 else 0.0
            place = max(min(place, 1.0), 0.0)
            places[s] = place
            # |x - a - t v|² without the constant |x|²
            gap[s] = sizes[s] - 2 * products[i, s] + place * (place * lengths[s] - 2 * along)
        nearest = gap.argmin()
        segment[i], share[i], squared[i] = nearest, places[nearest], gap[nearest]
