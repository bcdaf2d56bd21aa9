"""Latent space, its neighbours graph and its UMAPs."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize_modelled
from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.models.fitting import ResourceMeter
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import Accelerator

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.models.saved import SavedModel
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = SavedModel = Any

logger = logging.getLogger(__name__)

MUTUAL_NEIGHBORS = 20  # Scanorama's own number of neighbours among which cells of two batches are matched.


def compute_latent(fitted: SavedModel, counts: AnnData, accelerator: Accelerator) -> pd.DataFrame:
    """Posterior mean of every cell: `n_cells` × ``latent_1``, …, exactly as scvi-tools gives it.

    ``counts`` are of all cells and genes; ``accelerator`` is where the encoder of the saved model runs.
    """
    means = fitted.attach(counts, accelerator).get_latent_representation()
    return _by_cell(means, counts.obs_names, "latent_")


def compute_pca(counts: AnnData, options: EmbeddingOptions, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Principal components of log-normalised highly variable genes, and what they cost.

    ``counts`` are raw, with ``var["highly_variable"]``; ``n_pcs`` is cut to what the data allow, ``seed`` that of the
    solver. `n_cells` × ``PC_1``, …; training summary with seconds and peak memory.
    """
    import sklearn.decomposition  # noqa: F401  (its import is not part of the cost)

    with ResourceMeter() as meter:
        scores = principal_components(log_normalize_modelled(counts), options.n_pcs, seed)
    return _by_cell(scores, counts.obs_names, "PC_"), _cost("pca", "PCA", meter, scores)


def principal_components(expression: sparse.csr_matrix, n_components: int, seed: int) -> np.ndarray:
    """Scores on the leading principal components; genes are centred, not scaled, and the matrix stays sparse.

    ``expression`` is ``(n_cells, n_genes)``, log-normalised; ``n_components`` is cut to what the data allow, below
    the number of cells and of genes that vary. ``(n_cells, n_components)`` float32, by falling variance. An
    InputError says that fewer than two genes vary. Lehoucq, Sorensen & Yang (1998), ARPACK Users' Guide,
    doi:10.1137/1.9780898719628.
    """
    from sklearn.decomposition import PCA
    from sklearn.utils.sparsefuncs import mean_variance_axis

    expression = expression.astype(np.float64)
    varying = np.flatnonzero(mean_variance_axis(expression, axis=0)[1] > 0)
    possible = min(n_components, len(varying) - 1, expression.shape[0] - 1)
    if possible < 1:
        raise InputError(
            f"{len(varying)} of the {expression.shape[1]} highly variable genes vary between cells, "
            "so there is no PCA; raise preparation.n_top_genes or check the counts"
        )
    pca = PCA(possible, svd_solver="arpack", random_state=seed)
    return pca.fit_transform(expression[:, varying]).astype(np.float32)


def compute_harmony(
    counts: AnnData, pca_latent: pd.DataFrame, keys: Keys, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Principal components with the batches aligned by Harmony, and what that cost beyond the PCA.

    ``pca_latent`` is `n_cells` × `n_pcs`; obs of the counts holds ``keys.batch_key``; ``seed`` is that of Harmony's
    clusters. `n_cells` × ``PC_1``, …; training summary. With fewer than two batches the components stay as they are.
    """
    scores = pca_latent.loc[counts.obs_names].to_numpy(np.float32)
    with ResourceMeter() as meter:
        if keys.batch_key and len(counts.obs[keys.batch_key].unique()) > 1:
            scores = _align_batches(scores, counts.obs[[keys.batch_key]], seed)
        else:
            logger.warning("Harmony has fewer than two batches to align: its embedding is the PCA")
    return _by_cell(scores, counts.obs_names, "PC_"), _cost("harmony", "Harmony", meter, scores)


def _align_batches(scores: np.ndarray, batches: pd.DataFrame, seed: int) -> np.ndarray:
    """Harmony's principal components ``(n_cells, n_components)`` float32; ``batches`` has a column a batch variable."""
    import harmonypy

    # harmonypy sets its own handler and level at import, so it would print on every run
    harmony_logger = logging.getLogger("harmonypy")
    harmony_logger.handlers.clear()
    harmony_logger.setLevel(logging.WARNING)
    corrected = harmonypy.run_harmony(
        scores.astype(np.float64), batches, list(batches.columns), random_state=seed, verbose=False
    )
    return np.ascontiguousarray(corrected.Z_corr, dtype=np.float32)


def compute_scanorama(
    counts: AnnData, options: EmbeddingOptions, keys: Keys, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scanorama's embedding of log-normalised highly variable genes, and what it costs.

    ``counts`` are raw, with ``var["highly_variable"]`` and ``keys.batch_key`` in obs; ``n_pcs`` is the number of
    dimensions, ``seed`` that of the singular vectors and the neighbour search. `n_cells` × ``scanorama_1``, …; training
    summary.

    Raises
    ------
    InputError
        With fewer than two batches.
    """
    import scanorama  # noqa: F401  (its import is not part of the cost)

    if not keys.batch_key or counts.obs[keys.batch_key].nunique() < 2:
        raise InputError(
            "the baseline 'scanorama' needs a batch_key with at least two batches; leave it out of comparison.baselines"
        )
    with ResourceMeter() as meter:
        batches = counts.obs[keys.batch_key].astype(str).to_numpy()
        scores = _stitch_batches(log_normalize_modelled(counts), batches, options.n_pcs, seed)
    return _by_cell(scores, counts.obs_names, "scanorama_"), _cost("scanorama", "Scanorama", meter, scores)


def _stitch_batches(
    expression: sparse.csr_matrix, batches: np.ndarray, n_components: int, seed: int
) -> np.ndarray:
    """Scanorama's ``(n_cells, n_components)`` float32 embedding of ``(n_cells, n_genes)`` log-normalised expression."""
    import scanorama

    genes = [f"{gene:09d}" for gene in range(expression.shape[1])]  # it sorts genes by name
    cells = [np.flatnonzero(batches == batch) for batch in np.unique(batches)]
    n_components = min(n_components, min(expression.shape) - 1)
    # it seeds the generators of the whole process
    states = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        parts, _ = scanorama.integrate(
            [sparse.csr_matrix(expression[own], dtype=np.float64) for own in cells],
            [genes] * len(cells),
            dimred=n_components,
            knn=min(MUTUAL_NEIGHBORS, *(len(own) for own in cells)),
            seed=seed,
            verbose=False,
        )
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])
    embedding = np.empty((expression.shape[0], parts[0].shape[1]), dtype=np.float32)
    embedding[np.concatenate(cells)] = np.concatenate(parts)
    return embedding


def build_neighbors(latent: pd.DataFrame, options: EmbeddingOptions, seed: int) -> NeighborsGraph:
    """The one graph of an embedding, `n_cells` × `n_latent`, that UMAP, clustering and metrics share."""
    cells, points = latent.index.rename("cell"), latent.to_numpy(np.float32)
    sizes = {"n_neighbors": options.n_neighbors, "n_search": options.n_neighbors_metrics}
    return neighbors_graph(cells, points, **sizes, exact_up_to=options.exact_up_to, seed=seed)


def compute_umap(
    latent: pd.DataFrame, neighbors: NeighborsGraph, options: EmbeddingOptions, seed: int, n_dims: int = 2
) -> pd.DataFrame:
    """UMAP of the shared graph in the plane: `n_cells` × ``UMAP1``, ``UMAP2``, …, float32, arbitrary units.

    ``latent`` is `n_cells` × `n_latent` and places the start, ``neighbors`` the graph of the same cells in the same
    order; ``options`` give minimal distance, spread and epochs; one ``seed`` gives the same bits; ``n_dims`` is 2 or 3.
    McInnes, Healy & Melville (2018), arXiv:1802.03426.
    """
    from scvi_downstream.graphs.umap_layout import lay_out

    coordinates = lay_out(
        neighbors.connectivities,
        latent.to_numpy(np.float64),
        n_dims,
        min_dist=options.umap_min_dist,
        spread=options.umap_spread,
        n_epochs=options.umap_epochs,
        seed=seed,
    )
    names = [f"UMAP{i + 1}" for i in range(n_dims)]
    return pd.DataFrame(coordinates, index=latent.index.rename("cell"), columns=names)


def compute_umap_3d(
    latent: pd.DataFrame, neighbors: NeighborsGraph, options: EmbeddingOptions, seed: int
) -> pd.DataFrame:
    """Layout of the shared graph in space: `n_cells` × ``UMAP1`` … ``UMAP3``; otherwise as :func:`compute_umap`."""
    return compute_umap(latent, neighbors, options, seed, n_dims=3)


def _by_cell(values: np.ndarray, cells: pd.Index, prefix: str) -> pd.DataFrame:
    columns = [f"{prefix}{i + 1}" for i in range(values.shape[1])]
    return pd.DataFrame(values, index=cells.rename("cell"), columns=columns)


def _cost(model: str, family: str, meter: ResourceMeter, scores: np.ndarray) -> dict[str, Any]:
    return {
        "model": model,
        "family": family,
        "seconds": meter.seconds,
        "peak_memory_mb": meter.peak_memory_mb,
        "n_latent": scores.shape[1],
    }
