"""Loops: places where cells close a ring, which no tree can describe."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import sparse, stats
from scipy.sparse.csgraph import dijkstra

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.statistics.testing import benjamini_hochberg

# Pairs of neighbours between two clusters, relative to the median over the tree's edges, from which they touch.
MIN_CONTACT = 0.25
# Contact from which two clusters may fill a ring: what hardly touches may still speak against it.
MIN_CHORD = 0.1
MAX_P = 0.01  # Highest probability of so many pairs of neighbours by chance, adjusted over the rings.
MIN_RING = 4  # Fewest clusters of a ring: three that touch are filled.
MIN_HOLE = 0.5  # Way across a ring, relative to the clusters in between, from which it has a hole.
# Between what simulated circles (0.81 and more) and sheets or balls of cells (up to 0.80, five clusters 0.69) have.
HOLES_OF_SMALL_RINGS = {4: 0.85, 5: 0.75}
SPREAD_CELLS = 20  # Cells of a cluster from which its middle is found.
NEAR_EDGE = 0.1  # Share of a cluster's cells that makes its edge; a single cell astray is none.
COLUMNS = ["first", "second", "edges", "expected", "p_adjusted", "contact", "ring", "hole", "is_loop"]
TEXTS = dict.fromkeys(("first", "second", "ring"), "str")
DTYPES = dict.fromkeys(COLUMNS, "float64") | TEXTS | {"edges": "int64", "is_loop": "bool"}


def find_loops(
    indices: np.ndarray, distances: np.ndarray, clusters: pd.Series, tree_edges: Iterable[tuple[str, str]]
) -> pd.DataFrame:
    """Rings of cells, and the clusters that touch in them although the tree does not join them.

    Cells of a ring lie on a tree that is cut open somewhere: two clusters far apart on the tree are then neighbours
    among the cells. That alone is no loop: around a branch point, or in a sheet of cells, many clusters touch. So
    clusters that touch make a graph, and only those of its rings are kept that triangles of touching clusters do not
    fill. Such a ring must have a hole: opposite clusters are as far apart as the clusters in between are long. Around
    a branch point, and where clusters tile a sheet, opposite clusters come near each other. Of six or more clusters the
    way across must be half of the way between, of smaller rings, which come about more easily, 0.85 (four) and 0.75
    (five).

    Parameters
    ----------
    indices, distances
        ``(n_cells, k)`` nearest neighbours, each cell first in its own row; about 15 are enough.
    clusters
        ``(n_cells,)`` categories.
    tree_edges
        Pairs of clusters that the tree joins.

    Returns
    -------
    One row a ring, loops first: ``first`` and ``second``, the clusters that touch outside the tree; ``edges``, pairs of
    neighbours between them; ``expected``, the same at the rate of clusters that do not touch; ``p_adjusted``, Poisson
    and Benjamini-Hochberg, of at least so many; ``contact`` between them, relative to the tree's edges; ``ring``, the
    clusters around; ``hole``, the way across; ``is_loop``.

    Raises
    ------
    InputError
        When an edge names a cluster that has no cells.

    Notes
    -----
    Rings through fewer than four clusters are not seen: cluster finer to see small ones.

    References
    ----------
    Cao et al. (2019), doi:10.1038/s41586-019-0969-x (closes loops in a principal graph); Wolf et al. (2019),
    doi:10.1186/s13059-019-1663-x (contacts between clusters).
    """
    categories = pd.Categorical(clusters).remove_unused_categories()
    names, codes = [str(name) for name in categories.categories], categories.codes.astype(np.intp)
    joined = _positions(tree_edges, names)
    graph = _symmetric_graph(indices, distances)
    edges = _edges_between(graph, codes, len(names))
    typical = float(np.median([edges[pair] for pair in joined])) if joined else 0.0
    if typical == 0:
        return _table([])
    contact = edges / typical
    expected = _expected_edges(edges, contact < MIN_CHORD, np.bincount(codes))
    within = _without_stray_edges(graph, codes, contact >= MIN_CHORD)
    ways = _ways_between_middles(within, codes, len(names))
    lengths = np.where(contact >= MIN_CONTACT, ways, np.inf)
    rows = []
    for ring in open_rings(lengths, contact >= MIN_CHORD):
        turns = [(min(turn), max(turn)) for turn in zip(ring, (*ring[1:], ring[0]), strict=True)]
        outside = [turn for turn in turns if turn not in joined]
        if len(ring) < MIN_RING or not outside:
            continue
        weakest = min(outside, key=lambda pair: (contact[pair], pair))
        hole = _way_across(within, codes, ring, ways)
        rows.append(
            {
                "first": names[weakest[0]],
                "second": names[weakest[1]],
                "edges": edges[weakest],
                "expected": expected[weakest],
                "p_adjusted": stats.poisson.sf(edges[weakest] - 1, expected[weakest]),
                "contact": contact[weakest],
                "ring": " – ".join(names[k] for k in ring),
                "hole": hole,
                "is_loop": hole >= max(MIN_HOLE, HOLES_OF_SMALL_RINGS.get(len(ring), 0.0)),
            }
        )
    table = _table(rows)
    table["p_adjusted"] = benjamini_hochberg(table["p_adjusted"].to_numpy())
    table["is_loop"] &= table["p_adjusted"] <= MAX_P
    return table.sort_values(["is_loop", "contact"], ascending=False, kind="stable", ignore_index=True)


def describe_loops(loops: pd.DataFrame) -> list[str]:
    """A sentence on the ring of best contact; none where there is no ring."""
    found = loops[loops["is_loop"]]
    if found.empty:
        return []
    best = found.iloc[0]
    more = f" ({len(found)} rings in all)" if len(found) > 1 else ""
    return [
        f"cells close a ring through the clusters {best['ring']}{more}: {best['first']} and {best['second']}, which "
        f"the tree does not join, share {best['edges']} pairs of neighbours where {best['expected']:.1f} are expected; "
        "pseudotime there depends on where the ring is cut"
    ]


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).astype(DTYPES)


def _positions(tree_edges: Iterable[tuple[str, str]], names: list[str]) -> set[tuple[int, int]]:
    edges = list(tree_edges)
    missing = [name for edge in edges for name in edge if name not in names]
    if missing:
        raise InputError(f"the tree joins cluster '{missing[0]}', which has no cells; build both on the same")
    pairs = [(names.index(first), names.index(second)) for first, second in edges]
    return {(min(pair), max(pair)) for pair in pairs}


def _symmetric_graph(indices: np.ndarray, distances: np.ndarray) -> sparse.csr_matrix:
    """Who is neighbour of whom, in one direction or both, with the distance; that of duplicates is tiny, not absent."""
    n_cells, k = indices.shape
    rows = np.repeat(np.arange(n_cells), k - 1)
    lengths = distances[:, 1:].astype(np.float64).ravel()
    smallest = lengths[lengths > 0].min(initial=1.0) * 1e-6
    entries = (np.maximum(lengths, smallest), (rows, indices[:, 1:].ravel()))
    graph = sparse.csr_matrix(entries, (n_cells, n_cells))
    return graph.maximum(graph.T).tocsr()


def _edges_between(graph: sparse.csr_matrix, codes: np.ndarray, n_clusters: int) -> np.ndarray:
    pairs = sparse.triu(graph, k=1).tocoo()
    counts = np.zeros((n_clusters, n_clusters), dtype=np.int64)
    np.add.at(counts, (codes[pairs.row], codes[pairs.col]), 1)
    counts += counts.T
    np.fill_diagonal(counts, 0)
    return counts


def _expected_edges(edges: np.ndarray, apart: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Edges between clusters at the rate, per pair of cells, of clusters that do not touch."""
    pairs = np.outer(sizes, sizes)
    strays = np.triu(apart, k=1)
    return pairs * (edges[strays].sum() + 1) / max(pairs[strays].sum(), pairs.max())


def _without_stray_edges(
    graph: sparse.csr_matrix, codes: np.ndarray, touching: np.ndarray
) -> sparse.csr_matrix:
    pairs = graph.tocoo()
    a, b = codes[pairs.row], codes[pairs.col]
    keep = (a == b) | touching[a, b]
    return sparse.csr_matrix((pairs.data[keep], (pairs.row[keep], pairs.col[keep])), graph.shape)


def _ways_between_middles(graph: sparse.csr_matrix, codes: np.ndarray, n_clusters: int) -> np.ndarray:
    """``(n_clusters, n_clusters)`` shortest ways from cell to cell between the middles of clusters."""
    middles = np.empty(n_clusters, dtype=np.intp)
    for k in range(n_clusters):
        cells = np.flatnonzero(codes == k)
        own = graph[cells][:, cells]
        spread = np.unique(np.linspace(0, len(cells) - 1, SPREAD_CELLS).round().astype(np.intp))
        ways = dijkstra(own, directed=False, indices=spread)
        reachable = np.isfinite(ways)
        far = 2 * ways[reachable].max() + 1
        middles[k] = cells[np.where(reachable, ways, far).sum(axis=0).argmin()]
    return dijkstra(graph, directed=False, indices=middles)[:, middles]


def _way_across(
    graph: sparse.csr_matrix, codes: np.ndarray, ring: tuple[int, ...], ways: np.ndarray
) -> float:
    """Way between the near edges of opposite clusters, over the way between the middles of those in between."""
    n, across = len(ring), len(ring) // 2
    steps = np.array([ways[ring[k], ring[(k + 1) % n]] for k in range(n)])
    gaps = []
    for k in range(n):
        cells = np.flatnonzero(codes == ring[k])
        from_cluster = dijkstra(graph, directed=False, indices=cells, min_only=True)
        other = from_cluster[codes == ring[(k + across) % n]]
        gaps.append(float(np.quantile(other, NEAR_EDGE)) / ((across - 1) * steps.mean()))
    return min(gaps)


def open_rings(lengths: np.ndarray, filling: np.ndarray) -> list[tuple[int, ...]]:
    """A shortest basis of the rings of a graph, triangles taken as filled: nodes of each in order, shortest ring first.

    Homology of degree 1 over two elements: rings that differ by triangles are the same, and a ring made of
    triangles is none. Of the candidates (each edge closed by the shortest ways from each node) the shortest that
    are independent are kept, which gives a shortest basis (Erickson & Whittlesey 2005, "Greedy optimal homotopy
    and homology generators", SODA).

    ``lengths`` is ``(n, n)``, symmetric and infinite where there is no edge; ``filling``, booleans of the same
    shape, marks the edges that triangles are made of, those of ``lengths`` among them.
    """
    n = len(lengths)
    pairs = [pair for pair in combinations(range(n), 2) if filling[pair]]
    bit = {pair: 1 << e for e, pair in enumerate(pairs)}
    independent: dict[int, int] = {}
    for a, b, c in combinations(range(n), 3):
        if filling[a, b] and filling[b, c] and filling[a, c]:
            _is_independent(independent, bit[a, b] | bit[b, c] | bit[a, c])
    rings = []
    for _, ring in sorted(_candidates(lengths)):
        edges = 0
        for pair in zip(ring, (*ring[1:], ring[0]), strict=True):
            edges |= bit[min(pair), max(pair)]
        if _is_independent(independent, edges):
            rings.append(ring)
    return rings


def _is_independent(independent: dict[int, int], vector: int) -> bool:
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
            left, right = _shortest_way(before[root], root, a), _shortest_way(before[root], root, b)
            if len(set(left) & set(right)) == 1 and len(left) + len(right) > 3:
                ring = _smallest_first((*left, *right[:0:-1]))
                found[ring] = float(ways[root, a] + ways[root, b] + lengths[a, b])
    return [(round(length, 9), ring) for ring, length in found.items()]


def _shortest_way(before: np.ndarray, root: int, node: int) -> tuple[int, ...]:
    way = [node]
    while way[-1] != root:
        way.append(int(before[way[-1]]))
    return tuple(way[::-1])


def _smallest_first(ring: tuple[int, ...]) -> tuple[int, ...]:
    first = ring.index(min(ring))
    turned = ring[first:] + ring[:first]
    return min(turned, (turned[0], *turned[:0:-1]))
