"""How a stock scVI, scANVI or LDVAE module decodes into log-likelihoods without decoding into arrays of parameters.

Only the module's ``generative``, and the ``loss`` of scVI and LDVAE, are others while this lasts, so that its layers,
its weights and its random draws stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.distributions import Normal, kl_divergence

from scvi_downstream.models.count_kernels import log_likelihood
from scvi_downstream.models.scvi_internals import prior_of_size

if TYPE_CHECKING:
    from scvi.module.base import BaseModuleClass


class _LogLikelihood(torch.autograd.Function):
    """Log-likelihoods of cells; their gradients, for the mean over the cells, are taken in the same pass."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        dropout: torch.Tensor | None,
        library: torch.Tensor,
        theta: torch.Tensor,
        counts: torch.Tensor,
        rows: torch.Tensor,
    ) -> torch.Tensor:
        # nothing else reads the logits: their place is taken by their gradients
        logits, library, theta = logits.detach(), library.detach(), theta.detach().contiguous()
        dropout = counts[:0] if dropout is None else dropout.detach()
        by_library, by_theta = torch.empty(len(counts)), torch.empty_like(theta)
        weight = -1 / len(counts)
        arrays = (counts, logits, logits.amax(1), dropout, library, theta, rows)
        result = log_likelihood(
            *(array.numpy() for array in arrays), weight, by_library.numpy(), by_theta.numpy()
        )
        ctx.gradients, ctx.weight = (logits, dropout, by_library, by_theta), weight
        return torch.from_numpy(result).float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        logits, dropout, by_library, by_theta = ctx.gradients
        scale = float(gradient[0]) / ctx.weight
        if not bool((gradient == gradient[0]).all()):
            raise ValueError("the loss weighs the cells of a mini-batch unequally")
        if scale != 1:
            for part in (logits, dropout, by_library, by_theta):
                part.mul_(scale)
        return logits, dropout if len(dropout) else None, by_library, by_theta, None, None


class _Counts:
    """Stands for scvi-tools' distribution of the counts in the module's ``loss``, which asks for one thing of it."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def log_prob(self, counts: torch.Tensor) -> torch.Tensor:
        """Summed over genes already, as one column."""
        logits, dropout, library, theta, rows = self._arguments
        return _LogLikelihood.apply(logits, dropout, library.reshape(-1), theta, counts, rows).unsqueeze(1)


def why_not_fused(module: BaseModuleClass, device: str) -> str | None:
    """Reason why a module is trained with its own ``generative``, if there is one."""
    name = type(module).__name__
    if device != "cpu":
        return "it is on a GPU"
    if name not in ("VAE", "SCANVAE", "LDVAE"):
        return f"{name} has another decoder"
    if module.gene_likelihood not in ("nb", "zinb"):
        return f"its likelihood is {module.gene_likelihood}"
    if module.use_size_factor_key or module.batch_representation != "one-hot":
        return "it has size factors or embedded batches"
    return None


@contextmanager
def fused(module: BaseModuleClass, device: str) -> Iterator[None]:
    """Let ``module`` decode into log-likelihoods where it can."""
    if why_not_fused(module, device):
        yield
        return
    of_module: Any = module
    of_module.generative = _Decoder(of_module)
    if type(module).__name__ != "SCANVAE":
        of_module.loss = _loss
    try:
        yield
    finally:
        for name in ("generative", "loss"):
            vars(of_module).pop(name, None)


@dataclass(frozen=True)
class Losses:
    """What a training asks of scvi-tools' ``LossOutput``."""

    loss: torch.Tensor
    reconstruction_loss_sum: torch.Tensor
    kl_local_sum: torch.Tensor
    n_obs_minibatch: int
    kl_global_sum: torch.Tensor = torch.tensor(0.0)  # noqa: RUF009 - nobody writes to it
    classification_loss: None = None


def _loss(
    tensors: Mapping[str, torch.Tensor],
    inference: Mapping[str, Any],
    generative: Mapping[str, Any],
    kl_weight: float = 1.0,
) -> Losses:
    """The module's ``loss``, whose divergences of normal distributions are written out."""
    cells = -generative["px"].log_prob(tensors["X"]).squeeze(1)
    latent = inference["qz"]
    variance = latent.variance
    kl = 0.5 * (variance + latent.mean.square() - variance.log() - 1).sum(1)
    weighted, total = kl_weight * kl, kl
    if generative["pl"] is not None:
        of_size = kl_divergence(inference["ql"], generative["pl"]).sum(1)
        weighted, total = weighted + of_size, total + of_size
    return Losses((cells + weighted).mean(), cells.detach().sum(), total.detach().sum(), len(cells))


class _Decoder:
    """The module's ``generative`` up to the logits, in the same order of the same layers."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._linear = type(module).__name__ == "LDVAE"

    def __call__(
        self,
        z: torch.Tensor,
        library: torch.Tensor,
        batch_index: torch.Tensor,
        cont_covs: torch.Tensor | None = None,
        cat_covs: torch.Tensor | None = None,
        y: torch.Tensor | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        module = self._module
        given = z if cont_covs is None else torch.cat([z, cont_covs], dim=-1)
        categories = () if cat_covs is None else torch.split(cat_covs, 1, dim=1)
        logits, dropout, hidden = self._decode(given, batch_index, *categories, y)
        theta, rows = self._dispersion(hidden, batch_index, y)
        of_size = None
        if not module.use_observed_lib_size:
            mean, variance = prior_of_size(module, batch_index)
            of_size = Normal(mean, variance.sqrt())
        return {"px": _Counts(logits, dropout, library, theta, rows), "pl": of_size}

    def _decode(self, z: torch.Tensor, *categories: Any) -> tuple[torch.Tensor, torch.Tensor | None, Any]:
        decoder, inflated = self._module.decoder, self._module.gene_likelihood == "zinb"
        if self._linear:
            logits = decoder.factor_regressor(z, *categories)
            return logits, decoder.px_dropout_decoder(z, *categories) if inflated else None, None
        hidden = decoder.px_decoder(z, *categories)
        logits = decoder.px_scale_decoder[0](hidden)
        return logits, decoder.px_dropout_decoder(hidden) if inflated else None, hidden

    def _dispersion(
        self, hidden: Any, batch_index: torch.Tensor, y: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Table of inverse dispersions, and which row is a cell's."""
        module = self._module
        if module.dispersion == "gene":
            return module.px_r.exp().unsqueeze(0), torch.zeros(len(batch_index), dtype=torch.int64)
        if module.dispersion == "gene-cell":
            theta = module.decoder.px_r_decoder(hidden).exp()
            return theta, torch.arange(len(theta))
        category: Any = batch_index if module.dispersion == "gene-batch" else y
        return module.px_r.exp().t(), category.reshape(-1)
