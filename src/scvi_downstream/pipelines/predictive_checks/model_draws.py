"""Counts that a fitted model generates: of a cell's own state, or of the states of other cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_downstream.errors import InputError

if TYPE_CHECKING:
    import torch
    from scvi.model.base import BaseModelClass

type Draw = Callable[[np.ndarray], np.ndarray]
"""Positions of cells → ``(n_samples, n_cells, n_genes)`` float32 counts."""
NEIGHBOURS = 50
_CELLS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class StatePool:
    """Latent states of training cells, sorted by batch and, within one, by library size.

    Attributes
    ----------
    states
        ``(n_cells, n_latent)``, one draw of each cell; MrVI's u, which is apart from the sample.
    batch
        ``(n_cells,)`` codes.
    library
        ``(n_cells,)`` counts.
    """

    states: torch.Tensor
    batch: np.ndarray
    library: np.ndarray


def own_draws(model: BaseModelClass, n_samples: int) -> Draw:
    """Draws of p(x' | z, library, batch) with z from q(z | x), x the very counts of the cell.

    Parameters
    ----------
    model
        Fitted, with its cells.
    n_samples
        Draws of each cell.
    """

    def draw(cells: np.ndarray) -> np.ndarray:
        tensors = _tensors(model, cells)
        return _sample(model, tensors, _infer(model, tensors, n_samples))

    return draw


def population_draws(model: BaseModelClass, pool: StatePool, n_samples: int, seed: int) -> Draw:
    """Draws of p(x' | z, library, batch) with z of other cells, of the same batch and about the same library size.

    What is known of the cell is what a model without latent states knows, too: the library size that the model takes
    it to have is the observed one, or the one that it infers from the counts (LinearSCVI).

    Parameters
    ----------
    model
        Fitted, with its cells.
    pool
        Of :func:`pool_states`.
    n_samples
        Draws of each cell; each takes another training cell.
    seed
        Of the choice.
    """
    rng = np.random.default_rng(seed)

    def draw(cells: np.ndarray) -> np.ndarray:
        tensors = _tensors(model, cells)
        chosen = other_cells(pool, tensors["batch"].numpy().ravel(), _library(tensors), n_samples, rng)
        inference = _infer(model, tensors, n_samples)
        return _sample(model, tensors, _with_states(model, tensors, inference, pool.states[chosen]))

    return draw


def pool_states(model: BaseModelClass, cells: np.ndarray) -> StatePool:
    """One draw of the latent state of each of the cells.

    Parameters
    ----------
    model
        Fitted, with its cells.
    cells
        Positions, of training cells.
    """
    import torch

    states, batches, libraries = [], [], []
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        tensors = _tensors(model, cells[start : start + _CELLS_AT_ONCE])
        inference = _infer(model, tensors, 2)
        states.append(inference["u" if "u" in inference else "z"][0])
        batches.append(tensors["batch"].numpy().ravel())
        libraries.append(_library(tensors))
    batch, library = np.concatenate(batches), np.concatenate(libraries)
    order = np.lexsort((library, batch))
    return StatePool(torch.cat(states)[torch.as_tensor(order)], batch[order], library[order])


def other_cells(
    pool: StatePool, batch: np.ndarray, library: np.ndarray, n_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """For each cell ``n_samples`` of the 50 pooled cells of its batch that are nearest in rank of library size.

    Parameters
    ----------
    pool
        Sorted by batch and library size.
    batch, library
        ``(n_cells,)`` of the cells.
    n_samples
        Drawn of each, with replacement.
    rng
        Of the draws.

    Returns
    -------
    ``(n_samples, n_cells)`` positions in the pool.
    """
    first = np.searchsorted(pool.batch, batch, "left")
    last = np.searchsorted(pool.batch, batch, "right")
    unseen = first == last  # a batch without training cells: those of all batches stand in
    first, last = np.where(unseen, 0, first), np.where(unseen, len(pool.batch), last)
    width = np.minimum(NEIGHBOURS, last - first)
    at = np.array(
        [
            low + np.searchsorted(pool.library[low:high], size)
            for low, high, size in zip(first, last, library, strict=True)
        ]
    )
    start = np.clip(at - width // 2, first, last - width)
    return start + rng.integers(0, width, size=(n_samples, len(batch)))


def _tensors(model: BaseModelClass, cells: np.ndarray) -> dict[str, torch.Tensor]:
    from scvi.dataloaders import AnnDataLoader

    (tensors,) = AnnDataLoader(model.adata_manager, indices=cells, batch_size=len(cells))
    return tensors


def _library(tensors: dict[str, torch.Tensor]) -> np.ndarray:
    return tensors["X"].sum(dim=1).numpy()


def _infer(model: BaseModelClass, tensors: dict[str, torch.Tensor], n_samples: int) -> dict[str, Any]:
    import torch

    module: Any = model.module.eval()
    draws = "mc_samples" if type(model).__name__ == "MRVI" else "n_samples"
    with torch.inference_mode():
        return module.inference(**module._get_inference_input(tensors), **{draws: n_samples})


def _with_states(
    model: BaseModelClass, tensors: dict[str, torch.Tensor], inference: dict[str, Any], states: torch.Tensor
) -> dict[str, Any]:
    if "u" not in inference:
        return inference | {"z": states}
    import torch
    from torch.nn.functional import softplus

    module: Any = model.module
    with torch.inference_mode():
        base, shift = module.qz(states, tensors["sample"].to(states.device))
        if shift.shape[-1] == 2 * module.n_latent:  # with a posterior of the shift
            mean, scale = shift[..., : module.n_latent], shift[..., module.n_latent :]
            shift = mean + torch.randn_like(mean) * (softplus(scale) + 1e-3)
        return inference | {"z": base + shift}


def _sample(model: BaseModelClass, tensors: dict[str, torch.Tensor], inference: dict[str, Any]) -> np.ndarray:
    import torch

    module: Any = model.module
    with torch.inference_mode():
        generative = module.generative(**module._get_generative_input(tensors, inference))
        likelihood = _of_genes(module, generative["px_"]) if "px_" in generative else generative["px"]
        if "Normal" in type(likelihood).__name__:
            raise InputError(
                f"the likelihood of this model of the family {type(model).__name__} is "
                f"'{module.gene_likelihood}', which generates no counts; predictive checks need nb, zinb or poisson"
            )
        counts = likelihood.sample()
    if not torch.isfinite(counts).all():
        raise InputError(
            "the model generates counts that are NaN or infinite: its training diverged; lower its learning rate"
        )
    return counts.cpu().numpy().astype(np.float32, copy=False)


def _of_genes(module: Any, px: dict[str, torch.Tensor]) -> Any:
    """TotalVI hands out parameters in the place of a distribution."""
    from scvi.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial

    if module.gene_likelihood == "zinb":
        return ZeroInflatedNegativeBinomial(mu=px["rate"], theta=px["r"], zi_logits=px["dropout"])
    return NegativeBinomial(mu=px["rate"], theta=px["r"])
