"""UMAP's layout of a neighbours graph, in one thread, by a loop that is compiled once a machine.

How cells pull and push each other depends on their distance alone, by a power that takes most of UMAP's time. Here it
is read from a table, by the leading bits of the squared distance.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scvi_downstream.runtime.compiled import compiled, inlined

EPOCHS, EPOCHS_OF_MANY, MANY_CELLS = 500, 200, 10_000
START_WIDTH, START_NOISE = 10.0, 1e-4
PUSHES = 5  # cells drawn for each pull
SOFTENING = 1e-3  # added to squared distances, so that cells in one place do not fly apart
LARGEST_STEP = np.float32(4)
# All as in UMAP. Of the eigenvectors: those kept between restarts, restarts, tolerance, and noise far below that.
VECTORS, RESTARTS, TOLERANCE, UNEVENNESS = 40, 500, 1e-4, 1e-6
# Squared distances in the table: 2^-24 to 2^24, each doubling in 64 steps; a float32's bits without the last 17.
NEAREST, FARTHEST = np.float32(2.0**-24), np.float32(2.0**24)
CUT = 17
FIRST, LAST = int(NEAREST.view(np.int32)) >> CUT, int(FARTHEST.view(np.int32)) >> CUT


def lay_out(
    connectivities: sparse.csr_matrix,
    latent: np.ndarray,
    n_dims: int,
    *,
    min_dist: float,
    spread: float,
    n_epochs: int | None,
    seed: int,
) -> np.ndarray:
    """Place cells in the plane or in space so that those of strong edges lie close.

    Parameters
    ----------
    connectivities
        ``(n_cells, n_cells)``, symmetric, in [0, 1].
    latent
        ``(n_cells, n_latent)``; its principal components are the start where the graph is in pieces, or else
        eigenvectors of the graph.
    n_dims
        2 or 3.
    min_dist, spread
        Distance below which cells count as touching, and the scale of what lies beyond.
    n_epochs
        ``None``: 500 up to 10,000 cells, 200 beyond.
    seed
        Of the start's noise and of the cells that are pushed away.

    Returns
    -------
    ``(n_cells, n_dims)`` float32, arbitrary units; the same bits for the same seed.

    References
    ----------
    McInnes, Healy & Melville (2018), arXiv:1802.03426; start: Kobak & Linderman (2021),
    doi:10.1038/s41587-020-00809-z.
    """
    generator = np.random.default_rng(seed)
    if n_epochs is None:
        n_epochs = EPOCHS if len(latent) <= MANY_CELLS else EPOCHS_OF_MANY
    edges = connectivities.tocoo()
    used = edges.data * max(n_epochs, EPOCHS_OF_MANY) >= edges.data.max(initial=0)
    weights, heads, tails = edges.data[used], edges.row[used], edges.col[used]
    start = _start(sparse.csr_matrix((weights, (heads, tails)), shape=edges.shape), latent, n_dims)
    start *= START_WIDTH / max(np.abs(start).max(), np.finfo(np.float32).tiny)
    start += generator.normal(scale=START_NOISE, size=start.shape)
    points = np.zeros((len(latent), 4), np.float32)
    points[:, :n_dims] = (
        START_WIDTH * (start - start.min(axis=0)) / np.maximum(np.ptp(start, axis=0), START_NOISE)
    )
    _descend(
        points,
        heads.astype(np.int32),
        tails.astype(np.int32),
        (weights.max(initial=0) / weights).astype(np.float32),
        n_epochs,
        *_forces(*fit_curve(spread, min_dist)),
        generator.integers(2**63),
    )
    return points[:, :n_dims].copy()


def fit_curve(spread: float, min_dist: float) -> tuple[float, float]:
    """The ``a`` and ``b`` with which ``1 / (1 + a d^2b)`` is closest to 1 up to ``min_dist`` and falls off beyond."""
    from scipy.optimize import curve_fit

    distances = np.linspace(0, 3 * spread, 300)
    wanted = np.exp(-np.maximum(distances - min_dist, 0) / spread)
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), distances, wanted)
    return float(a), float(b)


def _start(graph: sparse.csr_matrix, latent: np.ndarray, n_dims: int) -> np.ndarray:
    """Eigenvectors of the graph; of one in pieces they only tell the pieces apart, and components keep their places."""
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    n_cells = len(latent)
    if n_cells > n_dims + 1 and connected_components(graph, directed=False)[0] == 1:
        root = sparse.diags_array(1 / np.sqrt(graph.sum(axis=0, dtype=np.float64).A1))
        # Of no seed, so that seeds do not mirror the layout, and of no symmetry: ARPACK draws anew, from a state of the
        # whole process, where it runs out of directions.
        first, uneven = np.random.default_rng(0).normal(size=(2, n_cells))
        try:
            _, vectors = eigsh(
                root @ graph.astype(np.float64) @ root + sparse.diags_array(UNEVENNESS * uneven),
                n_dims + 1,
                which="LA",
                ncv=min(VECTORS, n_cells),
                v0=first,
                maxiter=RESTARTS,
                tol=TOLERANCE,
            )
            return vectors[:, -2::-1]
        except ArpackNoConvergence:
            pass
    left, singular, _ = np.linalg.svd(latent - latent.mean(axis=0), full_matrices=False)
    start = np.zeros((n_cells, n_dims))
    kept = min(n_dims, len(singular))
    start[:, :kept] = left[:, :kept] * singular[:kept]
    return start


def _forces(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Pull and push by steps of the squared distance: what the difference of two cells is multiplied by."""
    squared = (np.arange(FIRST, LAST + 2, dtype=np.int32) << CUT).view(np.float32).astype(np.float64)
    shared = 1 + a * squared**b
    pull = -2 * a * b * squared ** (b - 1) / shared
    return pull.astype(np.float32), (2 * b / ((SOFTENING + squared) * shared)).astype(np.float32)


@inlined
def _look_up(table: np.ndarray, squared: np.float32) -> np.float32:
    squared = NEAREST if squared < NEAREST else squared
    squared = FARTHEST if squared > FARTHEST else squared
    bits = np.float32(squared).view(np.int32)
    step = np.int64(bits >> np.int32(CUT)) - FIRST
    beyond = np.float32(bits & np.int32(2**CUT - 1)) * np.float32(2.0**-CUT)
    return table[step] + beyond * (table[step + 1] - table[step])


@inlined
def _clipped(step: np.float32) -> np.float32:
    step = LARGEST_STEP if step > LARGEST_STEP else step
    return -LARGEST_STEP if step < -LARGEST_STEP else step


@compiled
def _descend(
    points: np.ndarray, heads: np.ndarray, tails: np.ndarray, every: np.ndarray, n_epochs: int, pull: np.ndarray,
    push: np.ndarray, seed: int,
) -> None:  # fmt: skip
    """Move float32 ``points``, ``(n_cells, 4)`` of which three are used, along edges, due ``every`` so many epochs.

    The two cells of an edge move towards each other, and then the first away from five that are drawn from all.
    """
    n_cells = np.uint64(len(points))
    state = np.uint64(seed)
    due = every.copy()
    for epoch in range(n_epochs):
        rate = np.float32(1 - epoch / n_epochs)
        for edge in range(len(heads)):
            if due[edge] > epoch:
                continue
            due[edge] += every[edge]
            own, other = heads[edge], np.int64(tails[edge])
            x, y, z = points[own, 0], points[own, 1], points[own, 2]
            u, v, w = x - points[other, 0], y - points[other, 1], z - points[other, 2]
            force = _look_up(pull, u * u + v * v + w * w)
            u, v, w = rate * _clipped(force * u), rate * _clipped(force * v), rate * _clipped(force * w)
            x, y, z = x + u, y + v, z + w
            points[other, 0] -= u
            points[other, 1] -= v
            points[other, 2] -= w
            for _ in range(PUSHES):
                # Knuth's linear congruential generator; its upper half is random enough.
                state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
                other = np.int64(((state >> np.uint64(32)) * n_cells) >> np.uint64(32))
                u, v, w = x - points[other, 0], y - points[other, 1], z - points[other, 2]
                force = _look_up(push, u * u + v * v + w * w)
                x += rate * _clipped(force * u)
                y += rate * _clipped(force * v)
                z += rate * _clipped(force * w)
            points[own, 0], points[own, 1], points[own, 2] = x, y, z
