"""Counts with a known truth: so many latent dimensions, cell types, batches with or without an effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCVI

_N_HIDDEN = 128
LATENT_KEY = "true_latent"


@dataclass(frozen=True)
class Planted:
    """What is true of simulated counts.

    Attributes
    ----------
    n_cells, n_genes
        Size of the counts.
    n_latent
        Dimensions that the expression of a cell depends on, all of them equally.
    n_types
        Cell types, clouds in the latent space; 1: one standard normal cloud.
    n_batches
        Batches.
    batch_effect
        Standard deviation over genes of each batch's shift of the log expression; 0: batches are names only.
    imbalance
        0: every batch has the same composition of types; 1: each type is (nearly) found in one batch only.
    signal
        Mean over genes of the standard deviation of the log expression over cells.
    median_counts, counts_sd
        Counts per cell: median, and standard deviation of their log.
    dispersion
        Median over genes of the inverse dispersion θ of the negative binomial, variance ``μ + μ²/θ``.
    dropout
        Probability of an additional zero: zero-inflated when above 0.
    """

    n_cells: int = 3000
    n_genes: int = 600
    n_latent: int = 5
    n_types: int = 1
    n_batches: int = 1
    batch_effect: float = 0.0
    imbalance: float = 0.0
    signal: float = 0.6
    median_counts: float = 3000.0
    counts_sd: float = 0.4
    dispersion: float = 5.0
    dropout: float = 0.0


def simulate(planted: Planted, seed: int) -> AnnData:
    """Counts drawn from a random scVI-type decoder.

    A cell's latent position goes through one hidden layer of 128 rectified units whose weights point into all
    latent directions alike; every gene's log expression is a random combination of them, and the softmax over
    genes times the cell's library size is the mean of a negative binomial.

    Parameters
    ----------
    planted
        The truth.
    seed
        Of decoder and draws.

    Returns
    -------
    ``X`` CSR float32 of whole numbers; obs ``cell_type``, ``batch``; ``obsm["true_latent"]``.

    References
    ----------
    Lopez et al. (2018), doi:10.1038/s41592-018-0229-2.
    """
    rng = np.random.default_rng(seed)
    types = rng.integers(planted.n_types, size=planted.n_cells)
    batches = _batches(types, planted, rng)
    latent = _latent(types, planted, rng)
    log_expression = _decode(latent, planted, rng)
    shifts = planted.batch_effect * rng.standard_normal((planted.n_batches, planted.n_genes))
    log_expression += shifts[batches]
    shares = np.exp(log_expression - log_expression.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    library = planted.median_counts * np.exp(planted.counts_sd * rng.standard_normal(planted.n_cells))
    theta = planted.dispersion * np.exp(0.5 * rng.standard_normal(planted.n_genes))
    counts = rng.poisson(rng.gamma(theta, library[:, None] * shares / theta))
    counts *= rng.random(counts.shape) >= planted.dropout
    return _annotated(counts, latent, types, batches)


def simulate_from(model: SCVI, n_cells: int, seed: int) -> AnnData:
    """Counts that a fitted scVI model generates: latent from its prior, library sizes and batches of its cells.

    Parameters
    ----------
    model
        Fitted with its AnnData, a standard normal prior and observed library sizes.
    n_cells
        How many to draw.
    seed
        Of all draws.

    Returns
    -------
    As :func:`simulate`, with the model's genes; every cell is of type ``0``.

    Raises
    ------
    InputError
        The model's prior is not a standard normal, or it draws the library size.
    """
    import torch
    from scvi import REGISTRY_KEYS

    from scvi_downstream.models.fitting import reproducible

    module = model.module
    if module.latent_distribution != "normal" or not module.use_observed_lib_size:
        raise InputError(
            "counts can be simulated from a model with latent_distribution: normal and use_observed_lib_size: true; "
            f"this one has {module.latent_distribution} and {module.use_observed_lib_size}"
        )
    rng = np.random.default_rng(seed)
    like = rng.integers(model.adata.n_obs, size=n_cells)
    latent = rng.standard_normal((n_cells, module.n_latent))
    library = np.log(np.asarray(model.adata.X[like].sum(axis=1))).reshape(-1, 1)
    batches = model.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)[like].ravel().astype(np.int64)
    module.eval()
    with reproducible(seed), torch.inference_mode():
        drawn = module.generative(
            z=torch.as_tensor(latent, dtype=torch.float32, device=model.device),
            library=torch.as_tensor(library, dtype=torch.float32, device=model.device),
            batch_index=torch.as_tensor(batches[:, None], device=model.device),
        )
        counts = drawn["px"].sample().cpu().numpy()
    simulated = _annotated(counts, latent, np.zeros(n_cells, dtype=int), batches)
    simulated.var_names = model.adata.var_names
    return simulated


def _batches(types: np.ndarray, planted: Planted, rng: np.random.Generator) -> np.ndarray:
    home = types % planted.n_batches
    anywhere = rng.integers(planted.n_batches, size=len(types))
    return np.where(rng.random(len(types)) < planted.imbalance, home, anywhere)


def _latent(types: np.ndarray, planted: Planted, rng: np.random.Generator) -> np.ndarray:
    """Standard normal, or clouds of types with three quarters of the variance between them."""
    within = rng.standard_normal((planted.n_cells, planted.n_latent))
    if planted.n_types == 1:
        return within
    centres = rng.standard_normal((planted.n_types, planted.n_latent))
    return np.sqrt(0.75) * centres[types] + np.sqrt(0.25) * within


def _decode(latent: np.ndarray, planted: Planted, rng: np.random.Generator) -> np.ndarray:
    """``(n_cells, n_genes)`` log expression up to a constant per cell."""
    directions = np.linalg.qr(rng.standard_normal((_N_HIDDEN, planted.n_latent)))[0]
    directions *= np.sqrt(_N_HIDDEN / planted.n_latent)
    hidden = np.maximum(latent @ directions.T + rng.standard_normal(_N_HIDDEN), 0)
    signal = hidden @ rng.standard_normal((_N_HIDDEN, planted.n_genes))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    strength = planted.signal * rng.gamma(2.0, 0.5, planted.n_genes)
    return 1.2 * rng.standard_normal(planted.n_genes) + strength * signal


def _annotated(counts: np.ndarray, latent: np.ndarray, types: np.ndarray, batches: np.ndarray) -> AnnData:
    import pandas as pd
    from anndata import AnnData

    def categories(codes: np.ndarray) -> pd.Categorical:
        return pd.Categorical(codes.astype(str))

    cells = pd.Index([f"cell_{i}" for i in range(len(counts))])
    obs = pd.DataFrame({"cell_type": categories(types), "batch": categories(batches)}, index=cells)
    var = pd.DataFrame(index=pd.Index([f"gene_{i}" for i in range(counts.shape[1])]))
    matrix = sparse.csr_matrix(counts.astype(np.float32))
    return AnnData(matrix, obs=obs, var=var, obsm={LATENT_KEY: latent.astype(np.float32)})
