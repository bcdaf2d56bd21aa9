"""kBET inside each label, with an exact search in diffusion space; compiling an approximate one took 18 s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scvi_downstream.scoring.resampling import cells_by_label, count_by_row, ratio

_N_COMPONENTS = 100
_FEWEST_CELLS = 10
_FEWEST_NEIGHBORS, _MOST_NEIGHBORS = 10, 70
_CONNECTED_SHARE = 0.75
SIGNIFICANCE = 0.05
_REACH = 2


@dataclass(frozen=True)
class Neighborhoods:
    """What kBET tests inside one label.

    Attributes
    ----------
    cells
        ``(n_tested,)`` positions of the cells whose neighbourhoods are tested.
    batches
        ``(n_tested,)`` codes from 0.
    nearest
        ``(n_tested, n_near)`` positions in ``cells`` of the nearest, each cell itself first; ``None`` where the label
        falls apart, so that no cell passes.
    size
        How many of the nearest are the neighbourhood.
    """

    cells: np.ndarray
    batches: np.ndarray
    nearest: np.ndarray | None
    size: int

    def accepted(self) -> np.ndarray:
        """``(n_tested,)``: whether each neighbourhood passes."""
        if self.nearest is None:
            return np.zeros(len(self.cells), dtype=bool)
        return _accepted(self.nearest[:, : self.size], self.batches)


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
    return acceptance(neighborhoods_by_label(graph, batches, labels))


def acceptance(groups: list[Neighborhoods]) -> float:
    """Mean over labels of the share of neighbourhoods that pass; NaN without labels."""
    return float(np.mean([group.accepted().mean() for group in groups])) if groups else float("nan")


def neighborhoods_by_label(
    graph: sparse.csr_matrix, batches: np.ndarray, labels: np.ndarray
) -> list[Neighborhoods]:
    """Neighbourhoods of each label that can be tested; the parameters are those of :func:`kbet_on_graph`."""
    groups = []
    n_components = _N_COMPONENTS
    for own in cells_by_label(labels):
        if len(own) >= _FEWEST_CELLS and len(np.unique(batches[own])) > 1:
            # scib-metrics carries the components of a small label on to all later labels; so do its scores
            n_components = min(n_components, len(own) - 1)
            groups.append(_neighborhoods(graph[own][:, own], own, batches[own], n_components))
    return groups


def _neighborhoods(
    graph: sparse.csr_matrix, cells: np.ndarray, batches: np.ndarray, n_components: int
) -> Neighborhoods:
    _, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    n_neighbors = int(np.clip(np.floor(sizes.mean() / 4), _FEWEST_NEIGHBORS, _MOST_NEIGHBORS))
    n_parts, part = sparse.csgraph.connected_components(graph, connection="strong")
    if n_parts > 1:
        large = np.flatnonzero(np.bincount(part)[part] >= 3 * n_neighbors)
        if len(large) < _CONNECTED_SHARE * len(part):
            return Neighborhoods(cells, codes, None, n_neighbors + 1)
        cells, graph = cells[large], graph[large][:, large]
        codes = np.unique(codes[large], return_inverse=True)[1]
    if codes.max() == 0:  # as scib-metrics: its test needs two batches
        return Neighborhoods(cells, codes, None, n_neighbors + 1)
    nearest = _diffusion_neighbors(graph, _REACH * (n_neighbors + 1), n_components)
    return Neighborhoods(cells, codes, nearest, n_neighbors + 1)


def acceptance_rate(neighbors: np.ndarray, batches: np.ndarray) -> float:
    """Share of cells whose neighbourhood passes the χ² test (5 %) against the composition of all cells.

    ``neighbors`` are ``(n_cells, k)`` positions, ``batches`` ``(n_cells,)`` codes.
    """
    return float(_accepted(neighbors, batches).mean())


def _accepted(neighbors: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """``(n_cells,)``: whether each neighbourhood passes; see :func:`acceptance_rate`."""
    from scipy.special import chdtrc

    _, codes, sizes = np.unique(batches, return_inverse=True, return_counts=True)
    expected = sizes / sizes.sum() * neighbors.shape[1]
    observed = count_by_row(codes[neighbors], len(sizes))
    statistic = ((observed - expected) ** 2 / expected).sum(axis=1)
    return chdtrc(len(sizes) - 1, statistic) >= SIGNIFICANCE


def _diffusion_neighbors(graph: sparse.csr_matrix, n_neighbors: int, n_components: int) -> np.ndarray:
    """Exact neighbours in the multiscale diffusion map of a connectivity graph.

    References
    ----------
    Coifman et al. (2005), doi:10.1073/pnas.0500334102; Haghverdi et al. (2016), doi:10.1038/nmeth.3971.
    """
    from scipy.sparse.linalg import eigsh

    from scvi_downstream.graphs.neighbors import find_neighbors

    density = np.asarray(graph.sum(axis=0)).ravel()
    kernel = sparse.diags_array(1 / density) @ graph @ sparse.diags_array(1 / density)
    scale = sparse.diags_array(1 / np.sqrt(np.asarray(kernel.sum(axis=0)).ravel()))
    transitions = (scale @ kernel @ scale).astype(np.float64)
    start = np.full(graph.shape[0], 1 / np.sqrt(graph.shape[0]))
    values, vectors = eigsh(transitions, k=min(n_components, graph.shape[0] - 1), which="LM", v0=start)
    values, vectors = values[::-1].astype(np.float32) + np.float32(1e-8), vectors[:, ::-1].astype(np.float32)
    embedding = vectors * np.where(values == 1, values, values / np.where(values == 1, 1, 1 - values))
    return find_neighbors(embedding, n_neighbors, exact=True, seed=0)[0]


def acceptance_in_resamples(groups: list[Neighborhoods], weights: np.ndarray) -> np.ndarray:
    """Mean over labels of the share of neighbourhoods that pass, each neighbourhood drawn anew.

    A neighbourhood is the nearest cells that count, until there are as many as in the sample; the diffusion map
    stays. A batch's count in it is its true share, the noise of the sample and that of the resample: tested as it is,
    it would be rejected in perfectly mixed cells as well. The deviations of the sample are therefore shrunk by what
    noise adds to them in the label, as James & Stein do, before the resample's noise is added.

    Parameters
    ----------
    groups
        Of :func:`scvi_downstream.scoring.kbet.neighborhoods_by_label`.
    weights
        ``(n_draws, n_cells)`` of resamples. (Weights of one have no noise and give less rejection than the sample.)

    Returns
    -------
    ``(n_draws,)``; NaN without groups.

    References
    ----------
    Büttner et al. (2019), doi:10.1038/s41592-018-0254-1; Efron & Morris (1973), doi:10.1080/01621459.1973.10481350.
    """
    if not groups:
        return np.full(len(weights), np.nan)
    return np.mean([_acceptance(group, weights[:, group.cells]) for group in groups], axis=0)


def _acceptance(group: Neighborhoods, weights: np.ndarray) -> np.ndarray:
    from scipy.special import chdtri

    if group.nearest is None:
        return np.zeros(len(weights))
    near = np.ascontiguousarray(group.nearest.T)
    members = group.batches == np.arange(group.batches.max() + 1)[:, None]
    among = members[:, near].astype(np.int16)
    freedom = len(members) - 1
    everyone = np.ones(len(group.cells))
    deviations, expected = _deviations(near, among, group.size, members, everyone)
    excess = 1 - freedom / max(_statistic(deviations, expected).mean(), freedom)
    noise_of_sample = (1 - np.sqrt(excess)) * deviations
    limit = chdtri(freedom, SIGNIFICANCE)
    shares = []
    for counts in weights:
        drawn, expected = _deviations(near, among, group.size, members, counts)
        passed = _statistic(drawn - noise_of_sample, expected) <= limit
        shares.append(ratio(counts @ passed, counts.sum()))
    return np.array(shares)


def _deviations(
    near: np.ndarray, among: np.ndarray, size: int, members: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Observed less expected counts, ``(n_batches, n_tested)``, and expected counts, ``(n_batches,)``."""
    there = counts.astype(np.int16)[near]
    nearer = np.cumsum(there, axis=0, dtype=np.int16) - there
    taken = np.clip(size - nearer, 0, there)
    reached = taken.sum(axis=0)
    shares = members @ counts / max(counts.sum(), 1)
    observed = (among * taken).sum(axis=1)
    # where fewer are near, their noise is made as large as that of a whole neighbourhood
    scale = np.sqrt(size / np.maximum(reached, 1))
    return (observed - shares[:, None] * reached) * scale, shares * size


def _statistic(deviations: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """χ² of each neighbourhood: ``(n_tested,)``."""
    parts = ratio(np.square(deviations), np.broadcast_to(expected[:, None], deviations.shape))
    return np.nansum(parts, axis=0)
