"""Weights of a reference inside the larger model of a query: in place, and frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from scvi.nn import FCLayers
from torch import nn

from scvi_downstream.models.plain_data import SavedContents

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass


class FrozenBatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation by the running means it has, also while the rest trains."""

    def train(self, mode: bool = True) -> FrozenBatchNorm1d:  # noqa: FBT001, FBT002 - torch's signature
        """Stay in evaluation mode."""
        return super().train(mode=False)


def freeze_all_but_new(model: BaseModelClass, reference: SavedContents) -> None:
    """Put the weights of the reference where they belong, and let only those of new categories train.

    Parameters
    ----------
    model
        Model of the query, with more categories than the reference.
    reference
        What is saved of the reference.
    """
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
        _let_train(weight, new)
    for module in model.module.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.__class__ = FrozenBatchNorm1d
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


def _let_train(weight: nn.Parameter, new: torch.Tensor) -> None:
    weight.requires_grad_(requires_grad=True)
    weight.new_entries = new
    weight.register_hook(lambda gradient: gradient * new.to(gradient.device))
