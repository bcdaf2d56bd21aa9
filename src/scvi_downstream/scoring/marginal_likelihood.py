"""log p(x) by importance sampling, within a bound of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.scvi_internals import unchecked_distributions
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.scoring.resampling import sample_cells

if TYPE_CHECKING:
    import torch
    from scvi.model.base import BaseModelClass


type Drawn = tuple["torch.Tensor", "torch.Tensor"]
"""Log-weights of draws, and log p(x | z) of the same: both ``(n_draws, n_cells)``."""
type LogWeights = Callable[[Any, dict[str, "torch.Tensor"], int], Drawn]


def mrvi_log_weights(module: Any, tensors: dict[str, torch.Tensor], n_draws: int) -> Drawn:
    """Log p(x | z(u, s)) + log p(u) - log q(u | x, s) of draws from the encoder.

    The loss of scvi-tools' MRVI also holds -log p(ε) of the shift ε = z - z(u). That is a penalty of a point and not
    of a distribution: with it the sum bounds nothing (for 30 dimensions it lies at least 27.6 nats a cell lower).
    Without it, its mean is a lower bound of log p(x | s), and the log of the mean of its exponential an estimate,
    like those of the other families.

    Parameters
    ----------
    module
        Of a fitted ``MRVI``.
    tensors
        One mini-batch of `n_cells`.
    n_draws
        Of u, for each cell.

    Returns
    -------
    These, and log p(x | z) alone, ``(n_draws, n_cells)``.

    References
    ----------
    Boyeau et al. (2024), doi:10.1101/2022.10.04.510898.
    """
    inference, generative = module.forward(
        tensors, inference_kwargs={"mc_samples": n_draws}, compute_loss=False
    )
    u = inference["u"]
    counts = tensors["X"].to(u.device)
    likelihood = generative["px"].log_prob(counts).sum(-1)
    weights = likelihood + generative["pu"].log_prob(u) - inference["qu"].log_prob(u).sum(-1)
    return weights.reshape(n_draws, -1), likelihood.reshape(n_draws, -1)


def totalvi_log_weights(module: Any, tensors: dict[str, torch.Tensor], n_draws: int) -> Drawn:
    """Log p(x | z) + log p(z) - log q(z | x, y) of draws from the encoder, of the RNA counts x alone.

    Any distribution of z bounds log p(x), also one that has seen the proteins y: the mean is a lower bound of
    log p(x), and the log of the mean of the exponential an estimate, in the same units as for the other families.
    scvi-tools' own ELBO is that of x and y together, with penalties of the efficiency of batches and of the
    foreground once a cell, so that it bounds nothing and depends on the number of proteins.

    Parameters and result are those of :func:`mrvi_log_weights`, for a fitted ``TOTALVI`` and draws of z.

    References
    ----------
    Gayoso et al. (2021), doi:10.1038/s41592-020-01050-x.
    """
    import torch
    from torch.distributions import Normal

    inference, generative = module.forward(
        tensors, inference_kwargs={"n_samples": n_draws}, compute_loss=False
    )
    z, posterior = inference["untran_z"], inference["qz"]  # before the softmax of `ln`
    likelihood = gene_likelihood(module, generative).log_prob(tensors["X"].to(z.device)).sum(-1)
    weights = likelihood + Normal(0.0, 1.0).log_prob(z).sum(-1) - posterior.log_prob(z).sum(-1)
    if not module.use_observed_lib_size:
        library = inference["untran_l"]
        batch = tensors["batch"].to(z.device).flatten().long()
        prior = Normal(module.library_log_means[0, batch], torch.sqrt(module.library_log_vars[0, batch]))
        weights += prior.log_prob(library.squeeze(-1)) - inference["ql"].log_prob(library).sum(-1)
    return weights.reshape(n_draws, -1), likelihood.reshape(n_draws, -1)


def gene_likelihood(module: Any, generative: dict[str, Any]) -> Any:
    """Distribution p(x | z) of the genes' counts that a module's decoder gives; of totalVI, made of its parameters."""
    from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial

    if "px_" not in generative:
        return generative["px"]
    px = generative["px_"]
    if module.gene_likelihood == "zinb":
        return ZeroInflatedNegativeBinomial(mu=px["rate"], theta=px["r"], zi_logits=px["dropout"])
    return NegativeBinomial(mu=px["rate"], theta=px["r"])


def own_log_weights(model: BaseModelClass) -> LogWeights | None:
    """Log-weights of draws, by the ``bound`` of the model's family; ``None``: scvi-tools' own loss is a bound."""
    family = FAMILIES.get(type(model).__name__)
    return globals()[family.bound] if family and family.bound else None


_CELLS_AT_ONCE = 64
_ENTRIES_AT_ONCE = 2_000_000
_FEWEST_SAMPLES = 10
_FEWEST_EFFECTIVE_SAMPLES = 2.0


@dataclass(frozen=True)
class SamplingBounds:
    """What importance sampling may cost.

    Attributes
    ----------
    samples
        Draws per cell.
    max_cells
        Beyond this, a sample of the cells is taken.
    max_seconds
        When all would take longer, samples and then cells are reduced.
    """

    samples: int
    max_cells: int
    max_seconds: float


def estimate_marginal_likelihood(
    model: BaseModelClass, cells: np.ndarray, bounds: SamplingBounds, *, seed: int
) -> tuple[dict[str, Any], pd.Series]:
    """Importance-sampled marginal log-likelihood of some cells, in nats per cell; higher is better.

    The proposal is the encoder. Cells beyond ``max_cells`` are sampled. The cost is measured on a
    few samples of one mini-batch first; when all would take longer than ``max_seconds``, samples
    and then cells are reduced. With n samples the estimate is a lower bound that rises with n.

    Parameters
    ----------
    model
        scvi-tools model with its AnnData.
    cells
        Positions of the cells; may be empty.
    bounds
        Samples, cells and seconds.
    seed
        Of the choice of cells and the samples.

    Returns
    -------
    ``marginal_ll_test`` with ``_se`` over cells, ``_cells``, ``_samples``,
    ``_effective_samples`` (median over cells; close to 1: the encoder is a poor proposal and the estimate too
    low) and ``marginal_ll_warning``; beside it the estimate of each cell, by its position, empty where there is none.

    References
    ----------
    Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519; for the latent of SCANVI, Xu et al. (2021),
    doi:10.15252/msb.20209620.
    """
    reason = why_no_marginal_likelihood(model)
    if reason or len(cells) == 0:
        return _result(np.array([]), np.array([]), 0, reason), pd.Series(dtype=np.float64)
    chosen = sample_cells(cells, bounds.max_cells, np.random.default_rng(seed))
    with reproducible(seed):
        seconds = _seconds_per_cell_and_sample(model, chosen[:_CELLS_AT_ONCE])
    affordable = bounds.max_seconds / seconds
    fewest = min(_FEWEST_SAMPLES, bounds.samples)
    n_samples = int(np.clip(affordable // len(chosen), fewest, bounds.samples))
    n_cells = int(np.clip(affordable // n_samples, 2, len(chosen)))
    chosen = sample_cells(chosen, n_cells, np.random.default_rng(seed))
    progress = Progress("marginal log-likelihood", len(chosen))
    parts = []
    with reproducible(seed):
        for start in range(0, len(chosen), _CELLS_AT_ONCE):
            batch = chosen[start : start + _CELLS_AT_ONCE]
            parts.append(log_weights(model, batch, n_samples))
            progress.advance(len(batch))
    by_cell, effective = average_weights(np.concatenate(parts, axis=1))
    return _result(by_cell, effective, n_samples, None), pd.Series(by_cell, index=chosen)


def log_weights(model: BaseModelClass, cells: np.ndarray, n_samples: int) -> np.ndarray:
    """Log p(x, z) - log q(z | x) of draws from the encoder.

    Parameters
    ----------
    model
        scvi-tools model with its AnnData.
    cells
        Positions of the ``n_cells`` cells of one mini-batch.
    n_samples
        Draws per cell.

    Returns
    -------
    ``(n_samples, n_cells)`` float64; the log of their mean over draws estimates log p(x).
    """
    import torch
    from scvi.dataloaders import AnnDataLoader

    from scvi_downstream.models.count_loss import one_pass_likelihood

    # DRVI decodes every latent dimension on its own
    decoded = len(cells) * model.adata.n_vars * getattr(model.module, "n_split_latent", 1)
    per_pass = max(1, min(n_samples, _ENTRIES_AT_ONCE // decoded))
    (tensors,) = AnnDataLoader(model.adata_manager, indices=cells, batch_size=len(cells))
    weights = []
    draw = own_log_weights(model) or _log_weights_by_loss
    with torch.inference_mode(), unchecked_distributions(), one_pass_likelihood(model.module):
        for start in range(0, n_samples, per_pass):
            n_draws = min(per_pass, n_samples - start)
            drawn, _ = draw(model.module, tensors, n_draws)
            weights.append(drawn.reshape(n_draws, len(cells)).cpu().numpy().astype(np.float64))
    return np.concatenate(weights)


def _log_weights_by_loss(module: Any, tensors: dict[str, torch.Tensor], n_draws: int) -> Drawn:
    inference, generative = module.forward(
        tensors,
        inference_kwargs={"n_samples": n_draws},
        get_inference_input_kwargs={"full_forward_pass": True},
        compute_loss=False,
    )
    z, posterior = inference["z"], inference["qz"]
    likelihood = generative["px"].log_prob(tensors["X"].to(z.device)).sum(-1)
    weights = likelihood - posterior.log_prob(z).sum(-1)
    weights += (
        _log_prior_of_scanvi(module, z)
        if hasattr(module, "encoder_z2_z1")
        else generative["pz"].log_prob(z).sum(-1)
    )
    if not module.use_observed_lib_size:
        library = inference["library"]
        weights += (generative["pl"].log_prob(library) - inference["ql"].log_prob(library)).sum(-1)
    return weights, likelihood


def _log_prior_of_scanvi(module: Any, z: torch.Tensor) -> torch.Tensor:
    """Log of an unbiased draw of p(z1) = Σ_y p(y) ∫ p(z1 | z2, y) p(z2) dz2, with z2 from its encoder.

    scvi-tools' own estimate takes a standard normal in its place, on top of terms that SCANVI's
    reconstruction loss holds already.
    """
    import torch
    from scvi.module._utils import broadcast_labels
    from torch.distributions import Normal

    flat = z.reshape(-1, z.shape[-1])
    labels, repeated = broadcast_labels(flat, n_broadcast=module.n_labels)
    posterior, z2 = module.encoder_z2_z1(repeated, labels)
    mean, variance = module.decoder_z1_z2(z2, labels)
    joint = (
        Normal(mean, variance.sqrt()).log_prob(repeated)
        + Normal(0.0, 1.0).log_prob(z2)
        - posterior.log_prob(z2)
    )
    by_label = joint.sum(-1).reshape(module.n_labels, *z.shape[:-1])
    prior = module.y_prior.flatten().log().reshape(-1, *[1] * (z.ndim - 1))
    return torch.logsumexp(by_label + prior, dim=0)


def _seconds_per_cell_and_sample(model: BaseModelClass, cells: np.ndarray) -> float:
    log_weights(model, cells, 1)
    start = time.perf_counter()
    log_weights(model, cells, 2)
    return max(time.perf_counter() - start, 1e-6) / (2 * len(cells))


def average_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the mean of ``(n_samples, n_cells)`` log-weights, and Kish's effective number of samples, by cell."""
    from scipy.special import logsumexp

    total = logsumexp(weights, axis=0)
    effective = np.exp(2 * total - logsumexp(2 * weights, axis=0))
    return total - np.log(len(weights)), effective


def why_no_marginal_likelihood(model: BaseModelClass) -> str | None:
    """Reason why a model's p(x) cannot be estimated, if there is one."""
    if getattr(model.module, "latent_distribution", "normal") != "normal":
        return "the marginal log-likelihood needs latent_distribution: normal"
    return None


def standard_error(values: np.ndarray) -> float | None:
    """Standard error of the mean; ``None`` of fewer than two values, and where one is not finite."""
    known = values.size > 1 and np.isfinite(values).all()
    return float(values.std(ddof=1) / np.sqrt(values.size)) if known else None


def _result(by_cell: np.ndarray, effective: np.ndarray, n_samples: int, reason: str | None) -> dict[str, Any]:
    usable = by_cell.size > 0 and bool(np.isfinite(by_cell).all())
    median = float(np.median(effective)) if usable else None
    if median is not None and n_samples > 1 and median < _FEWEST_EFFECTIVE_SAMPLES:
        reason = (
            f"the encoder is a poor proposal ({median:.1f} effective of {n_samples} samples per cell), so "
            "marginal_ll_test is too low and uncertain"
        )
    return {
        "marginal_ll_test": float(by_cell.mean()) if usable else None,
        "marginal_ll_test_se": standard_error(by_cell),
        "marginal_ll_cells": int(by_cell.size),
        "marginal_ll_samples": n_samples,
        "marginal_ll_effective_samples": median,
        "marginal_ll_warning": reason,
    }
