"""Shortest rings of a graph that its triangles do not fill."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra


def open_rings(lengths: np.ndarray, filling: np.ndarray) -> list[tuple[int, ...]]:
    """A shortest basis of the rings of a graph, triangles taken as filled.

    Homology of degree 1 over two elements: rings that differ by triangles are the same, and a ring made of triangles is
    none. Of the candidates (each edge closed by the shortest ways from each node) the shortest that are independent are
    kept, which gives a shortest basis.

    Parameters
    ----------
    lengths
        ``(n, n)`` symmetric; length of each edge, infinite where there is none.
    filling
        ``(n, n)`` symmetric booleans; edges that triangles are made of, those of ``lengths`` among them.

    Returns
    -------
    Nodes of each ring in order, shortest ring first.

    References
    ----------
    Erickson & Whittlesey (2005), "Greedy optimal homotopy and homology generators", SODA.
    """
    n = len(lengths)
    pairs = [pair for pair in combinations(range(n), 2) if filling[pair]]
    bit = {pair: 1 << e for e, pair in enumerate(pairs)}
    independent: dict[int, int] = {}
    for a, b, c in combinations(range(n), 3):
        if filling[a, b] and filling[b, c] and filling[a, c]:
            _add(independent, bit[a, b] | bit[b, c] | bit[a, c])
    rings = []
    for _, ring in sorted(_candidates(lengths)):
        edges = 0
        for pair in zip(ring, (*ring[1:], ring[0]), strict=True):
            edges |= bit[min(pair), max(pair)]
        if _add(independent, edges):
            rings.append(ring)
    return rings


def _add(independent: dict[int, int], vector: int) -> bool:
    """Reduce by what is known, leading bit first; keep what is left over."""
    while vector:
        leading = vector.bit_length()
        if leading not in independent:
            independent[leading] = vector
            return True
        vector ^= independent[leading]
    return False


def _candidates(lengths: np.ndarray) -> list[tuple[float, tuple[int, ...]]]:
    edges = np.isfinite(lengths) & ~np.eye(len(lengths), dtype=bool)
    graph = sparse.csr_matrix(np.where(edges, lengths, 0))
    ways, before = dijkstra(graph, directed=False, return_predecessors=True)
    found = {}
    for a, b in np.argwhere(np.triu(edges)).tolist():
        for root in np.flatnonzero(np.isfinite(ways[:, a])).tolist():
            left, right = _way(before[root], root, a), _way(before[root], root, b)
            if len(set(left) & set(right)) == 1 and len(left) + len(right) > 3:
                ring = _canonical((*left, *right[:0:-1]))
                found[ring] = float(ways[root, a] + ways[root, b] + lengths[a, b])
    return [(round(length, 9), ring) for ring, length in found.items()]


def _way(before: np.ndarray, root: int, node: int) -> tuple[int, ...]:
    way = [node]
    while way[-1] != root:
        way.append(int(before[way[-1]]))
    return tuple(way[::-1])


def _canonical(ring: tuple[int, ...]) -> tuple[int, ...]:
    first = ring.index(min(ring))
    turned = ring[first:] + ring[:first]
    return min(turned, (turned[0], *turned[:0:-1]))
