"""Start cells by a marker gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scvi_downstream.errors import InputError, closest
from scvi_downstream.neighbors import NeighborsGraph
from scvi_downstream.normalization import log_normalize

if TYPE_CHECKING:
    from anndata import AnnData

SMOOTHING_STEPS = 2
N_PERMUTATIONS = 99


def cells_of_gene(
    counts: AnnData, neighbors: NeighborsGraph, gene: str, *, n_top: int, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cells in whose neighbourhood a gene is highest, in one connected patch.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes.
    neighbors
        kNN graph of the same cells, over which log-normalised expression is averaged.
    gene
        Name or symbol.
    n_top
        Number of cells before the patch with most expression is taken.
    seed
        Of the permutations that tell the gene from noise.

    Returns
    -------
    Positions of the cells in ``counts``, and sentences.

    Raises
    ------
    InputError
        The gene does not exist, is ambiguous, or has no counts.
    """
    position = _position_of(gene, counts.var)
    values = log_normalize(counts, np.array([position])).toarray()[:, 0].astype(np.float64)
    expressing = int((values > 0).sum())
    if not expressing:
        raise InputError(
            f"trajectory.start_gene '{gene}' has no counts in any cell; name a gene that is expressed"
        )
    order = neighbors.cells.get_indexer(counts.obs_names)
    connectivities = sparse.csr_matrix(neighbors.connectivities)[order][:, order]
    smooth = _smoothed(connectivities, values)
    top = np.sort(np.argsort(-smooth, kind="stable")[:n_top])
    patch, n_patches = _largest_patch(connectivities, top, smooth)
    sentences = [
        f"trajectories start at the {len(patch):,} cells in whose neighbourhood '{gene}' is highest "
        f"(expressed in {expressing:,} of {len(values):,} cells)"
    ]
    if len(patch) < len(top):
        sentences.append(
            f"'{gene}' is highest in {n_patches} places that are not neighbours; the one with the most expression, "
            f"{len(patch):,} of {len(top):,} cells, is taken"
        )
    if _looks_like_noise(connectivities, values, smooth, seed):
        sentences.append(
            f"'{gene}' does not vary between neighbourhoods more than shuffled counts do, so this start is arbitrary; "
            "name another gene, or a cell, a cluster or the time"
        )
    return patch, tuple(sentences)


def _position_of(gene: str, genes: pd.DataFrame) -> int:
    names = genes.index.astype(str)
    if gene in names:
        return int(np.flatnonzero(names == gene)[0])
    symbols = genes["symbol"].astype(str).to_numpy() if "symbol" in genes else np.array([], dtype=str)
    found = np.flatnonzero(symbols == gene)
    if len(found) > 1:
        raise InputError(
            f"trajectory.start_gene '{gene}' is the symbol of {len(found)} genes; name one of them: "
            + ", ".join(f"'{names[i]}'" for i in found[:5])
        )
    if not len(found):
        raise InputError(
            f"trajectory.start_gene '{gene}' is not a gene of the counts{closest(gene, [*names, *symbols])}"
        )
    return int(found[0])


def _smoothed(connectivities: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    """Means over weighted neighbourhoods, the cell itself counting as its strongest neighbour."""
    weights = connectivities + sparse.identity(len(values), format="csr")
    totals = np.asarray(weights.sum(axis=1)).ravel()
    for _ in range(SMOOTHING_STEPS):
        values = (weights @ values) / (totals if values.ndim == 1 else totals[:, None])
    return values


def _largest_patch(
    connectivities: sparse.csr_matrix, top: np.ndarray, smooth: np.ndarray
) -> tuple[np.ndarray, int]:
    n_patches, codes = csgraph.connected_components(connectivities[top][:, top], directed=False)
    expression = np.bincount(codes, weights=smooth[top])
    return top[codes == expression.argmax()], int(n_patches)


def _looks_like_noise(
    connectivities: sparse.csr_matrix, values: np.ndarray, smooth: np.ndarray, seed: int
) -> bool:
    """Whether shuffled expression is as uneven over the graph (p > 0.05)."""
    rng = np.random.default_rng(seed)
    shuffled = np.stack([rng.permutation(values) for _ in range(N_PERMUTATIONS)], axis=1)
    as_uneven = (_smoothed(connectivities, shuffled).var(axis=0) >= smooth.var()).sum()
    return bool((1 + as_uneven) / (1 + N_PERMUTATIONS) > 0.05)
