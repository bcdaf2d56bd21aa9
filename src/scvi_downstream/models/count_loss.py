"""The losses of stock scVI, scANVI and LDVAE modules without decoding into arrays of parameters.

Layers, weights and random draws stay the module's own. For scVI and LDVAE what lies between them is written out here;
scANVI keeps its own loss and gets another ``generative`` while this lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.distributions import Normal, kl_divergence

from scvi_downstream.models.count_kernels import log_likelihood
from scvi_downstream.models.hidden_layers import one_node_a_layer
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
        by_library, by_theta = torch.empty(len(logits)), torch.empty_like(theta)
        weight = -1 / len(logits)
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
    """Stands for scvi-tools' distribution of the counts where one thing alone is asked of it, for one set of counts."""

    def __init__(self, library: torch.Tensor, shape: torch.Size, *decoded: Any) -> None:
        self._library, self._shape, self._decoded = library.reshape(-1), shape, decoded
        self._found: torch.Tensor | None = None

    def log_prob(self, counts: torch.Tensor) -> torch.Tensor:
        """Summed over genes already, as one column."""
        if self._found is None:  # the logits are gone after the first time
            logits, dropout, theta, rows = self._decoded
            found = _LogLikelihood.apply(logits, dropout, self._library, theta, counts, rows)
            self._found = found.reshape(*self._shape, 1)
        return self._found


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


@dataclass(frozen=True)
class Losses:
    """What a training asks of scvi-tools' ``LossOutput``."""

    loss: torch.Tensor
    reconstruction_loss_sum: torch.Tensor
    kl_local_sum: torch.Tensor
    n_obs_minibatch: int
    kl_global_sum: torch.Tensor = torch.tensor(0.0)  # noqa: RUF009 - nobody writes to it
    classification_loss: None = None


Tensors = Mapping[str, torch.Tensor]


@contextmanager
def losses_of(module: BaseModuleClass, device: str) -> Iterator[Callable[..., Any]]:
    """The quickest function there is from tensors of a mini-batch, and what the module's ``loss`` takes, to losses."""
    by_module = partial(_losses_by_module, module)
    if why_not_fused(module, device):
        yield by_module
        return
    with one_node_a_layer(module):
        if type(module).__name__ != "SCANVAE":
            yield _Scvi(module)
            return
        with one_pass_likelihood(module):
            yield by_module


@contextmanager
def one_pass_likelihood(module: Any) -> Iterator[None]:
    """Let a module's ``generative`` give a likelihood of the counts that never makes their parameters, where it can be.

    Of ``px`` nothing may be asked but ``log_prob`` of the counts, which comes summed over genes, as one column.
    """
    if why_not_fused(module, str(module.device)):
        yield
        return
    module.generative = _Decoder(module).generative
    try:
        yield
    finally:
        del module.generative


def _losses_by_module(module: Any, tensors: Tensors, **given: Any) -> Any:
    *_, losses = module(tensors, loss_kwargs=given, get_inference_input_kwargs={"full_forward_pass": True})
    return losses


def _encode(encoder: Any, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, standard deviation and a draw."""
    hidden = encoder.encoder(*given)
    mean = encoder.mean_encoder(hidden)
    spread = (encoder.var_activation(encoder.var_encoder(hidden)) + encoder.var_eps).sqrt()
    return mean, spread, encoder.z_transformation(mean + torch.randn_like(mean) * spread)


class _Scvi:
    """Losses of an scVI or LDVAE module."""

    def __init__(self, module: Any) -> None:
        self._module, self._decoder = module, _Decoder(module)

    def __call__(self, tensors: Tensors, kl_weight: float = 1.0) -> Losses:
        from scvi import REGISTRY_KEYS as KEYS

        module = self._module
        counts, batch_index, labels = (tensors[key] for key in (KEYS.X_KEY, KEYS.BATCH_KEY, KEYS.LABELS_KEY))
        numbers, categories = (tensors.get(key) for key in (KEYS.CONT_COVS_KEY, KEYS.CAT_COVS_KEY))
        given = counts.log1p() if module.log_variational else counts
        of_cell = [batch_index]
        if module.encode_covariates:
            given = given if numbers is None else torch.cat([given, numbers], dim=-1)
            of_cell += [] if categories is None else torch.split(categories, 1, dim=1)
        mean, spread, z = _encode(module.z_encoder, given, *of_cell)
        variance = spread.square()
        kl = 0.5 * (variance + mean.square() - variance.log() - 1).sum(1)
        weighted, total = kl_weight * kl, kl
        if module.use_observed_lib_size:
            library = counts.sum(1).log()
        else:
            *encoded, library = _encode(module.l_encoder, given, *of_cell)
            prior_mean, prior_variance = prior_of_size(module, batch_index)
            of_size = kl_divergence(Normal(*encoded), Normal(prior_mean, prior_variance.sqrt())).sum(1)
            weighted, total = weighted + of_size, total + of_size
        logits, dropout, theta, rows = self._decoder(z, batch_index, numbers, categories, labels)
        cells = -_LogLikelihood.apply(logits, dropout, library.reshape(-1), theta, counts, rows)
        return Losses((cells + weighted).mean(), cells.detach().sum(), total.detach().sum(), len(cells))


class _Decoder:
    """The module's ``generative`` up to the logits, in the same order of the same layers."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._linear = type(module).__name__ == "LDVAE"

    def __call__(
        self,
        z: torch.Tensor,
        batch_index: torch.Tensor,
        numbers: torch.Tensor | None,
        categories: torch.Tensor | None,
        labels: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """Logits of shares and of dropout, table of inverse dispersions, and which of its rows is a cell's."""
        given = z if numbers is None else torch.cat([z, numbers], dim=-1)
        of_cell = () if categories is None else torch.split(categories, 1, dim=1)
        logits, dropout, hidden = self._decode(given, batch_index, *of_cell, labels)
        return logits, dropout, *self._dispersion(hidden, batch_index, labels)

    def generative(
        self,
        z: torch.Tensor,
        library: torch.Tensor,
        batch_index: torch.Tensor,
        cont_covs: torch.Tensor | None = None,
        cat_covs: torch.Tensor | None = None,
        y: torch.Tensor | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Under the names of the module's own; several draws of each cell's ``z`` stand along a first dimension."""
        of_size = None
        if not self._module.use_observed_lib_size:
            mean, variance = prior_of_size(self._module, batch_index)
            of_size = Normal(mean, variance.sqrt())
        flat, n_draws = z.reshape(-1, z.shape[-1]), z.shape[:-1].numel() // len(batch_index)
        of_cells = (batch_index, cont_covs, cat_covs, y)
        again = (given if given is None or n_draws == 1 else given.repeat(n_draws, 1) for given in of_cells)
        px = _Counts(library, z.shape[:-1], *self(flat, *again))
        return {"px": px, "pl": of_size, "pz": Normal(torch.zeros_like(z), torch.ones_like(z))}

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
