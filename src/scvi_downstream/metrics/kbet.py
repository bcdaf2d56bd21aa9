"""kBET inside each label, with an exact search in diffusion space; compiling an approximate one took 18 s."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scvi_downstream.metrics.weighted import mean_over_groups

_N_COMPONENTS = 100
_FEWEST_CELLS = 10
_FEWEST_NEIGHBORS, _MOST_NEIGHBORS = 10, 70
_CONNECTED_SHARE = 0.75
_SIGNIFICANCE = 0.05


def kbet_on_graph(graph: sparse.csr_matrix, batches: np.ndarray, labels: np.ndarray) -> float:
    """Mean over labels of the share of cells whose neighbourhood has the label's batch composition.

    The rule of :func:`scib_metrics.kbet_per_label`: neighbourhoods are taken in a diffusion map of the
    label's own cells, and a label whose graph falls apart scores 0. Labels of one batch or of fewer than ten
    cells are left out.

    Parameters
    ----------
    graph
        ``(n_cells, n_cells)`` connectivities.
    batches, labels
        ``(n_cells,)``.

    Returns
    -------
    In [0, 1], higher is better mixed; NaN when no label can be tested.

    References
    ----------
    Büttner et al. (2019), doi:10.1038/s41592-018-0254-1; Luecken et al. (2022),
    doi:10.1038/s41592-021-01336-8.
    """
    groups = accepted_by_label(graph, batches, labels)
    return float(mean_over_groups(groups, np.ones((1, graph.shape[0])))[0])


def accepted_by_label(
    graph: sparse.csr_matrix, batches: np.ndarray, labels: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each label that can be tested, positions of the cells tested and whether each neighbourhood passes.

    The parameters are those of :func:`kbet_on_graph`; in a label whose graph falls apart no cell passes.
    """
    groups = []
    n_components = _N_COMPONENTS
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        if len(own) >= _FEWEST_CELLS and len(np.unique(batches[own])) > 1:
            # scib-metrics carries the components of a small label on to all later labels; so do its scores
            n_components = min(n_components, len(own) - 1)
            tested, accepted = _test_label(graph[own][:, own], batches[own], n_components)
            groups.append((own[tested], accepted.astype(np.float64)))
    return groups


def _test_label(
    graph: sparse.csr_matrix, batches: np.ndarray, n_components: int
) -> tuple[np.ndarray, np.ndarray]:
    _, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    n_neighbors = int(np.clip(np.floor(sizes.mean() / 4), _FEWEST_NEIGHBORS, _MOST_NEIGHBORS))
    tested = np.arange(len(codes))
    n_parts, part = sparse.csgraph.connected_components(graph, connection="strong")
    if n_parts > 1:
        large = np.flatnonzero(np.bincount(part)[part] >= 3 * n_neighbors)
        if len(large) < _CONNECTED_SHARE * len(part):
            return tested, np.zeros(len(tested), dtype=bool)
        tested, graph, codes = large, graph[large][:, large], codes[large]
    if len(np.unique(codes)) < 2:  # as scib-metrics: its test needs two batches
        return tested, np.zeros(len(tested), dtype=bool)
    return tested, accepted_neighborhoods(_diffusion_neighbors(graph, n_neighbors + 1, n_components), codes)


def acceptance_rate(neighbors: np.ndarray, batches: np.ndarray) -> float:
    """Share of cells whose neighbourhood passes the χ² test (5 %) against the composition of all cells.

    Parameters
    ----------
    neighbors
        ``(n_cells, k)`` positions.
    batches
        ``(n_cells,)`` codes.
    """
    return float(accepted_neighborhoods(neighbors, batches).mean())


def accepted_neighborhoods(neighbors: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """``(n_cells,)``: whether each neighbourhood passes; see :func:`acceptance_rate`."""
    from scipy.stats import chi2

    _, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    expected = sizes / sizes.sum() * neighbors.shape[1]
    rows = np.arange(len(neighbors))[:, None] * len(sizes)
    observed = np.bincount((rows + codes[neighbors]).ravel(), minlength=rows.size * len(sizes)).reshape(
        -1, len(sizes)
    )
    statistic = ((observed - expected) ** 2 / expected).sum(axis=1)
    return chi2.sf(statistic, len(sizes) - 1) >= _SIGNIFICANCE


def _diffusion_neighbors(graph: sparse.csr_matrix, n_neighbors: int, n_components: int) -> np.ndarray:
    """Exact neighbours in the multiscale diffusion map of a connectivity graph.

    References
    ----------
    Coifman et al. (2005), doi:10.1073/pnas.0500334102; Haghverdi et al. (2016), doi:10.1038/nmeth.3971.
    """
    from scipy.sparse.linalg import eigsh

    from scvi_downstream.neighbors import find_neighbors

    density = np.asarray(graph.sum(axis=0)).ravel()
    kernel = sparse.diags_array(1 / density) @ graph @ sparse.diags_array(1 / density)
    scale = sparse.diags_array(1 / np.sqrt(np.asarray(kernel.sum(axis=0)).ravel()))
    transitions = (scale @ kernel @ scale).astype(np.float64)
    start = np.full(graph.shape[0], 1 / np.sqrt(graph.shape[0]))
    values, vectors = eigsh(transitions, k=min(n_components, graph.shape[0] - 1), which="LM", v0=start)
    values, vectors = values[::-1].astype(np.float32) + np.float32(1e-8), vectors[:, ::-1].astype(np.float32)
    embedding = vectors * np.where(values == 1, values, values / np.where(values == 1, 1, 1 - values))
    return find_neighbors(embedding, n_neighbors, exact=True, seed=0)[0]
