"""Steps of trajectories that Numba compiles, apart as it is slow to import: nearest points, spanning trees."""

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


@compiled
def join_nearest(distances: np.ndarray, joined_to: np.ndarray) -> None:
    """Write the node that each but the first is joined to by the shortest spanning tree, as Prim (1957) finds it.

    ``distances`` are ``(n_nodes, n_nodes)``, doi:10.1002/j.1538-7305.1957.tb01515.x.
    """
    n_nodes = len(distances)
    gap, outside = distances[0].copy(), np.ones(n_nodes, dtype=np.bool_)
    outside[0], joined_to[:] = False, 0
    for _ in range(n_nodes - 1):
        nearest, least = 0, np.inf
        for node in range(n_nodes):
            if outside[node] and gap[node] < least:
                nearest, least = node, gap[node]
        outside[nearest] = False
        for node in range(n_nodes):
            if outside[node] and distances[nearest, node] < gap[node]:
                gap[node], joined_to[node] = distances[nearest, node], nearest
