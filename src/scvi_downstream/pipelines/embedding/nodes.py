"""Latent space, its neighbours graph and its UMAPs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.models.resources import ResourceMeter
from scvi_downstream.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.normalization import log_normalize
from scvi_downstream.parameters import Accelerator, EmbeddingOptions, Keys
from scvi_downstream.plots.embedding import plot_embedding
from scvi_downstream.plots.umap_3d import plot_umap_3d
from scvi_downstream.umap_layout import layout

from .harmony import correct_batches
from .pca import principal_components
from .scanorama import stitch_batches

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.models import SavedModel

logger = logging.getLogger(__name__)

__all__ = [
    "build_neighbors",
    "compute_harmony",
    "compute_latent",
    "compute_pca",
    "compute_scanorama",
    "compute_umap",
    "compute_umap_3d",
    "plot_embedding",
    "plot_umap_3d",
]


def compute_latent(fitted: SavedModel, counts: AnnData, accelerator: Accelerator) -> pd.DataFrame:
    """Posterior mean of every cell: `n_cells` × ``latent_1``, …, exactly as scvi-tools gives it.

    Parameters
    ----------
    fitted
        Saved model.
    counts
        All cells, all genes.
    accelerator
        Where the encoder runs.
    """
    means = fitted.attach(counts, accelerator).get_latent_representation()
    return _by_cell(means, counts.obs_names, "latent_")


def compute_pca(counts: AnnData, options: EmbeddingOptions, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Principal components of log-normalised highly variable genes, and what they cost.

    Parameters
    ----------
    counts
        Raw counts with ``var["highly_variable"]``.
    options
        Number of components, cut to what the data allow.
    seed
        Of the solver.

    Returns
    -------
    `n_cells` × ``PC_1``, …; training summary with seconds and peak memory.
    """
    import sklearn.decomposition  # noqa: F401  (its import is not part of the cost)

    with ResourceMeter() as meter:
        expression = log_normalize(counts, np.flatnonzero(counts.var["highly_variable"].to_numpy()))
        scores = principal_components(expression, options.n_pcs, seed)
    return _by_cell(scores, counts.obs_names, "PC_"), _cost("pca", "PCA", meter, scores)


def compute_harmony(
    counts: AnnData, pca_latent: pd.DataFrame, keys: Keys, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Principal components with the batches aligned by Harmony, and what that cost beyond the PCA.

    Parameters
    ----------
    counts
        obs holds ``keys.batch_key``.
    pca_latent
        `n_cells` × `n_pcs`.
    keys
        Names the batch.
    seed
        Of Harmony's clusters.

    Returns
    -------
    `n_cells` × ``PC_1``, …; training summary. With fewer than two batches the components stay as they are.
    """
    scores = pca_latent.loc[counts.obs_names].to_numpy(np.float32)
    with ResourceMeter() as meter:
        if keys.batch_key and len(counts.obs[keys.batch_key].unique()) > 1:
            scores = correct_batches(scores, counts.obs[[keys.batch_key]], seed)
        else:
            logger.warning("Harmony has fewer than two batches to align: its embedding is the PCA")
    return _by_cell(scores, counts.obs_names, "PC_"), _cost("harmony", "Harmony", meter, scores)


def compute_scanorama(
    counts: AnnData, options: EmbeddingOptions, keys: Keys, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scanorama's embedding of log-normalised highly variable genes, and what it costs.

    Parameters
    ----------
    counts
        Raw counts with ``var["highly_variable"]``; obs holds ``keys.batch_key``.
    options
        Number of dimensions.
    keys
        Names the batch.
    seed
        Of the singular vectors and the neighbour search.

    Returns
    -------
    `n_cells` × ``scanorama_1``, …; training summary.

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
        expression = log_normalize(counts, np.flatnonzero(counts.var["highly_variable"].to_numpy()))
        batches = counts.obs[keys.batch_key].astype(str).to_numpy()
        scores = stitch_batches(expression, batches, options.n_pcs, seed)
    return _by_cell(scores, counts.obs_names, "scanorama_"), _cost("scanorama", "Scanorama", meter, scores)


def build_neighbors(latent: pd.DataFrame, options: EmbeddingOptions, seed: int) -> NeighborsGraph:
    """The one graph of an embedding that UMAP, clustering and metrics share.

    Parameters
    ----------
    latent
        `n_cells` × `n_latent`.
    options
        Neighbours of the graph and of the search, and up to how many cells the search is exhaustive.
    seed
        Of the approximate search.
    """
    return neighbors_graph(
        latent.index.rename("cell"),
        latent.to_numpy(np.float32),
        n_neighbors=options.n_neighbors,
        n_search=options.n_neighbors_metrics,
        exact_up_to=options.exact_up_to,
        seed=seed,
    )


def compute_umap(
    latent: pd.DataFrame, neighbors: NeighborsGraph, options: EmbeddingOptions, seed: int
) -> pd.DataFrame:
    """Plane layout of the shared graph: `n_cells` × ``UMAP1``, ``UMAP2``; see :func:`.umap_layout.layout`."""
    return layout(latent, neighbors, options, n_components=2, seed=seed)


def compute_umap_3d(
    latent: pd.DataFrame, neighbors: NeighborsGraph, options: EmbeddingOptions, seed: int
) -> pd.DataFrame:
    """Space layout of the shared graph: `n_cells` × ``UMAP1`` … ``UMAP3``; see :func:`.umap_layout.layout`."""
    return layout(latent, neighbors, options, n_components=3, seed=seed)


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
