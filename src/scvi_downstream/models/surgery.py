"""scArches: a saved model opened for cells of new batches, its own weights left as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from scvi.nn import FCLayers
from torch import nn

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.saved import SavedModel, meeting, model_class_of
from scvi_downstream.models.scvi_internals import forget_with
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.words import listed
from scvi_downstream.upstream.saved_model import SavedContents

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass


def query_model(reference: SavedModel, query: AnnData, accelerator: str = "cpu") -> BaseModelClass:
    """Open a saved model for query cells: categories that it does not know get weights of their own.

    Every weight of the reference is frozen, running means of batch normalisation included, so that the cells
    of the reference stay where they are. The new weights start as the mean of those of the known categories.
    scvi-tools pads at the end instead, which shifts the columns of covariates when batches are added, and
    puts random numbers in the place of the only batch of a reference; here each column keeps its category.

    Parameters
    ----------
    reference
        Saved model of a family that knows scArches: ``SCVI``, ``SCANVI`` or ``DRVI``.
    query
        Raw counts, `n_cells` × the genes of the model in its order, with the obs columns that it was set up
        with. scvi-tools adds its own columns to it.
    accelerator
        ``auto``, ``cpu``, ``gpu`` or ``mps``.

    Returns
    -------
    The untrained model of the query; ``n_new_weights`` says how many of its weights are free.

    Raises
    ------
    InputError
        The family knows no surgery, or the query does not fit the model.

    References
    ----------
    Lotfollahi et al. (2022), doi:10.1038/s41587-021-01001-7.
    """
    family = reference.family
    model_class = model_class_of(family)
    if not FAMILIES[family].takes_queries:
        able = [name for name, spec in FAMILIES.items() if spec.takes_queries]
        raise InputError(
            f"{reference.save_dir} holds a {family} model, onto which scvi-tools maps no query; "
            f"name a reference of the family {listed(able, last='or')}"
        )
    contents = reference.contents
    with meeting(reference, "the query does not fit the reference"), contents.plain_folder() as folder:
        model = model_class.load_query_data(query, str(folder), accelerator=accelerator, unfrozen=True)
    forget_with(model)
    _freeze_all_but_new(model, contents)
    return model


def n_new_weights(model: BaseModelClass) -> int:
    """Number of weights that the surgery left free; 0 when the query brings no new category."""
    weights = model.module.parameters()
    return sum(int(weight.new_entries.sum()) for weight in weights if hasattr(weight, "new_entries"))


class _FrozenBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation by the running means it has, also while the rest trains."""

    def train(self, mode: bool = True) -> _FrozenBatchNorm1d:  # noqa: FBT001, FBT002 - torch's signature
        """Stay in evaluation mode."""
        return super().train(mode=False)


def _freeze_all_but_new(model: BaseModelClass, reference: SavedContents) -> None:
    """Put the weights of the reference where they belong, and let only those of new categories train."""
    known = _categories(reference.attributes["registry_"])
    now = _categories(model.registry)
    weights = dict(model.module.named_parameters())
    for weight in weights.values():
        weight.requires_grad_(requires_grad=False)
    injected = {
        name: layers
        for layers_name, layers in model.module.named_modules()
        if isinstance(layers, FCLayers)
        for name in (f"{layers_name}.{inner}" for inner, _ in layers.named_parameters())
    }
    for name, weight in weights.items():
        saved = reference.weights[name]
        if not isinstance(saved, torch.Tensor) or saved.shape == weight.shape:
            continue
        if name in injected:
            n = len(injected[name].n_cat_list)  # without the batch where that is an embedding
            values, new = _widened(saved.to(weight.device), known[-n:], now[-n:])
        else:
            values, new = _appended(saved.to(weight.device), weight)
        with torch.no_grad():
            weight.copy_(values)
        weight.requires_grad_(requires_grad=True)
        weight.new_entries = new
        weight.register_hook(partial(_of_new_entries, new))
    for module in model.module.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.__class__ = _FrozenBatchNorm1d
    model.module.eval()


def _categories(registry: Mapping[str, Any]) -> list[int]:
    """Number of categories of the batch and of each categorical covariate, in the order of the one-hot columns."""
    fields = registry["field_registries"]
    batch = fields["batch"]["state_registry"]["categorical_mapping"]
    covariates = fields.get("extra_categorical_covs", {}).get("state_registry", {}).get("mappings", {})
    return [len(batch), *(len(mapping) for mapping in covariates.values())]


def _widened(
    saved: torch.Tensor, known: Sequence[int], now: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of a layer with one-hot columns at its end, those of new categories inserted at their places.

    A variable of one category has no column in scvi-tools; its category gets a column of zeros.
    """
    columns = [n if n > 1 else 0 for n in known]
    free = saved.shape[-1] - sum(columns)
    parts, new = [saved[..., :free]], [torch.zeros(free, dtype=torch.bool)]
    start = free
    for n_known, n_columns, n_now in zip(known, columns, now, strict=True):
        block = saved[..., start : start + n_columns]
        start += n_columns
        if n_now <= 1:
            continue
        if not n_columns:
            block = saved.new_zeros((*saved.shape[:-1], n_known))
        added = block.mean(dim=-1, keepdim=True).expand(*block.shape[:-1], n_now - n_known)
        parts += [block, added]
        new.append(torch.arange(n_now) >= n_known)
    values = torch.cat(parts, dim=-1)
    return values, torch.cat(new).to(saved.device).expand(values.shape)


def _appended(saved: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights by batch (dispersion, embedding), longer in one dimension."""
    dim = next(i for i in range(saved.dim()) if saved.shape[i] != weight.shape[i])
    n_known, n_added = saved.shape[dim], weight.shape[dim] - saved.shape[dim]
    sizes = [n_added if i == dim else -1 for i in range(saved.dim())]
    values = torch.cat([saved, saved.mean(dim=dim, keepdim=True).expand(sizes)], dim=dim)
    new = torch.zeros(weight.shape, dtype=torch.bool, device=weight.device)
    new.narrow(dim, n_known, n_added).fill_(value=True)
    return values, new


def _of_new_entries(new: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return gradient * new.to(gradient.device)
