"""UMAP layouts of the shared neighbours graph."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions

START_WIDTH = 10.0
START_NOISE = 1e-4


def layout(
    latent: pd.DataFrame,
    neighbors: NeighborsGraph,
    options: EmbeddingOptions,
    *,
    n_components: int,
    seed: int,
) -> pd.DataFrame:
    """UMAP coordinates of the fuzzy graph, as scanpy's ``tl.umap`` computes them.

    Parameters
    ----------
    latent
        `n_cells` × `n_latent`; places the start.
    neighbors
        Graph of the same cells in the same order.
    options
        Minimal distance, spread and epochs.
    n_components
        2 or 3.
    seed
        Of the start and of negative sampling; one thread, so that one seed gives the same bits.

    Returns
    -------
    `n_cells` × ``UMAP1``, ``UMAP2``, …, float32, arbitrary units.

    References
    ----------
    McInnes, Healy & Melville (2018), arXiv:1802.03426; start: Kobak & Linderman (2021),
    doi:10.1038/s41587-020-00809-z.
    """
    from umap.umap_ import find_ab_params, simplicial_set_embedding

    a, b = find_ab_params(options.umap_spread, options.umap_min_dist)
    random_state = np.random.RandomState(seed)
    coordinates, _ = simplicial_set_embedding(
        data=latent.to_numpy(np.float32),
        graph=neighbors.connectivities.tocoo(copy=True),
        n_components=n_components,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=options.umap_epochs,
        init=_start(latent.to_numpy(np.float64), neighbors.connectivities, n_components, random_state),
        random_state=random_state,
        metric="euclidean",
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
        parallel=False,
    )
    names = [f"UMAP{i + 1}" for i in range(n_components)]
    return pd.DataFrame(coordinates, index=latent.index.rename("cell"), columns=names)


def _start(
    latent: np.ndarray,
    connectivities: sparse.csr_matrix,
    n_components: int,
    random_state: np.random.RandomState,
) -> str | np.ndarray:
    # Eigenvectors of a graph in pieces only tell the pieces apart; principal components keep their places.
    if connected_components(connectivities, directed=False)[0] == 1:
        return "spectral"
    left, singular, _ = np.linalg.svd(latent - latent.mean(axis=0), full_matrices=False)
    start = np.zeros((len(latent), n_components))
    kept = min(n_components, len(singular))
    start[:, :kept] = left[:, :kept] * singular[:kept]
    start *= START_WIDTH / max(np.abs(start).max(), np.finfo(np.float32).tiny)
    return (start + random_state.normal(scale=START_NOISE, size=start.shape)).astype(np.float32)
