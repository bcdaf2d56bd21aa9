"""Whether two latents have the same shape, whatever their axes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from .fits import SeedFit
from .rows import Row

MOST_QUERIES = 2000
CHUNK = 128


def geometry_rows(fits: list[SeedFit], k: int, seed: int) -> Iterator[Row]:
    """Shared nearest neighbours and centred kernel alignment of every pair of latents.

    Parameters
    ----------
    fits
        Of the same cells.
    k
        Neighbours of a cell, itself left out.
    seed
        Of the cells whose neighbours are looked at (at most 2,000, among all cells) and of the permutation that
        gives the alignment by chance.
    """
    cells = fits[0].latent.index
    latents = {fit.name: fit.latent.loc[cells].to_numpy(dtype=np.float64) for fit in fits}
    random = np.random.default_rng(seed)
    queries = np.sort(random.choice(len(cells), min(len(cells), MOST_QUERIES), replace=False))
    shuffled = random.permutation(len(cells))
    k = min(k, len(cells) - 1)
    nearest = {name: nearest_cells(latent, queries, k) for name, latent in latents.items()}
    for a, b in combinations(latents, 2):
        overlap = shared_neighbors(nearest[a], nearest[b])
        yield Row("neighbor_overlap", a, b, "", overlap, k / (len(cells) - 1))
        by_chance = linear_cka(latents[a], latents[b][shuffled])
        yield Row("cka", a, b, "", linear_cka(latents[a], latents[b]), by_chance)


def nearest_cells(latent: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """``(n_queries, k)`` positions of the nearest cells, the cell itself left out, in no order.

    Parameters
    ----------
    latent
        ``(n_cells, n_dimensions)``.
    queries
        Positions of cells.
    k
        Less than ``n_cells``.
    """
    from scipy.spatial.distance import cdist

    found = np.empty((len(queries), k), dtype=np.intp)
    for start in range(0, len(queries), CHUNK):
        chosen = queries[start : start + CHUNK]
        distances = cdist(latent[chosen], latent)
        distances[np.arange(len(chosen)), chosen] = np.inf
        found[start : start + CHUNK] = np.argpartition(distances, k - 1, axis=1)[:, :k]
    return found


def shared_neighbors(a: np.ndarray, b: np.ndarray) -> float:
    """Mean share of common neighbours of ``(n_queries, k)`` positions."""
    return float((a[:, :, None] == b[:, None, :]).any(axis=2).mean())


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear centred kernel alignment: 1 for latents that differ by a rotation, a shift and one scale.

    Parameters
    ----------
    a, b
        ``(n_cells, n_dimensions)`` of the same cells; numbers of dimensions may differ.

    References
    ----------
    Kornblith et al. (2019), arXiv:1905.00414.
    """
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(a.T @ b) ** 2 / size) if size > 0 else float("nan")
