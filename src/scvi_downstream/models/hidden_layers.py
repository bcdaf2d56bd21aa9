"""A hidden layer of scvi-tools' networks, while it trains on a CPU, as one node of the graph of gradients.

Linear map, batch normalisation, rectifier and dropout are each an operation of its own with its own gradient for
PyTorch; for a mini-batch, calling them takes longer than their arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from scvi_downstream.runtime.compiled import compiled


@compiled
def _normalise(
    values: np.ndarray, scale: np.ndarray, shift: np.ndarray, kept: np.ndarray, eps: float, momentum: float,
    running_mean: np.ndarray, running_var: np.ndarray, out: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Normalise columns over cells, rectify, and multiply by what dropout keeps; ``values`` become the normalised."""
    n, width = values.shape
    mean, square = np.zeros((2, width), np.float32)
    for i in range(n):
        for j in range(width):
            mean[j] += values[i, j]
    for j in range(width):
        mean[j] /= np.float32(n)
    for i in range(n):
        for j in range(width):
            away = values[i, j] - mean[j]
            values[i, j] = away
            square[j] += away * away
    new = np.float32(momentum)
    for j in range(width):
        running_mean[j] += new * (mean[j] - running_mean[j])
        running_var[j] += new * (square[j] / np.float32(n - 1) - running_var[j])
        square[j] = np.float32(1) / np.sqrt(square[j] / np.float32(n) + np.float32(eps))
    for i in range(n):
        for j in range(width):
            normal = values[i, j] * square[j]
            values[i, j] = normal
            given = normal * scale[j] + shift[j]
            out[i, j] = given * np.float32(given > 0)
    if len(kept):
        for i in range(n):
            for j in range(width):
                out[i, j] *= kept[i, j]
    return square


@compiled
def _normalise_back(
    gradient: np.ndarray, normal: np.ndarray, out: np.ndarray, scale: np.ndarray, inverse: np.ndarray, grown: float,
    by_scale: np.ndarray, by_shift: np.ndarray, by_values: np.ndarray,
) -> None:  # fmt: skip
    n, width = normal.shape
    by_scale[:] = 0
    by_shift[:] = 0
    by = np.float32(grown)
    for i in range(n):
        for j in range(width):
            g = gradient[i, j] * by * np.float32(out[i, j] > 0)
            by_values[i, j] = g
            by_shift[j] += g
            by_scale[j] += g * normal[i, j]
    part = np.float32(1 / n)
    for i in range(n):
        for j in range(width):
            away = by_values[i, j] - part * (by_shift[j] + normal[i, j] * by_scale[j])
            by_values[i, j] = away * scale[j] * inverse[j]


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor,
        norm: nn.BatchNorm1d, dropped: float,
    ) -> torch.Tensor:  # fmt: skip
        values = torch.addmm(bias, x, weight.t())
        out = torch.empty_like(values)
        kept = values[:0]
        if dropped:
            kept = torch.empty_like(values).bernoulli_(1 - dropped).div_(1 - dropped)
        running: Any = norm.running_mean, norm.running_var
        inverse = _normalise(
            *(each.detach().numpy() for each in (values, scale, shift, kept)), norm.eps, norm.momentum,
            *(each.numpy() for each in running), out.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, scale)
        ctx.of_norm = values.numpy(), out.numpy(), inverse, 1 / (1 - dropped)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, weight, scale = ctx.saved_tensors
        normal, out, inverse, grown = ctx.of_norm
        by_scale, by_shift, by_values = (
            torch.empty_like(scale),
            torch.empty_like(scale),
            torch.empty_like(gradient),
        )
        _normalise_back(
            gradient.contiguous().numpy(), normal, out, scale.detach().numpy(), inverse, grown,
            *(each.numpy() for each in (by_scale, by_shift, by_values)),
        )  # fmt: skip
        by_x = by_values @ weight if ctx.needs_input_grad[0] else None
        return by_x, by_values.t() @ x, by_values.sum(0), by_scale, by_shift, None, None


class _Stack:
    """Stands for the ``forward`` of scvi-tools' ``FCLayers`` while it trains."""

    def __init__(self, layers: Any) -> None:
        self._layers, self._given = layers, layers.forward
        self._parts = [tuple(parts) for parts in layers.fc_layers]

    def __call__(self, x: torch.Tensor, *categories: torch.Tensor, **more: Any) -> torch.Tensor:
        layers = self._layers
        if not layers.training or x.dim() != 2 or more:
            return self._given(x, *categories, **more)
        covariates = [
            nn.functional.one_hot(of_cell.squeeze(-1).long(), n) if of_cell.size(1) != n else of_cell
            for n, of_cell in zip(layers.n_cat_list, categories, strict=False)
            if n > 1
        ]
        for i, (linear, norm, _, _, dropout) in enumerate(self._parts):
            if covariates and layers.inject_into_layer(i):
                x = torch.cat((x, *covariates), dim=-1)
            norm.num_batches_tracked.add_(1)
            dropped = dropout.p if dropout is not None else 0.0
            x = _Hidden.apply(x, linear.weight, linear.bias, norm.weight, norm.bias, norm, dropped)
        return x


def _served(layers: Any) -> bool:
    """Whether layers are linear, normalised over the batch and rectified, each by PyTorch's very class."""
    return all(
        (type(linear), type(norm), other, type(activation)) == (nn.Linear, nn.BatchNorm1d, None, nn.ReLU)
        and linear.bias is not None
        for linear, norm, other, activation, _ in layers.fc_layers
    )


@contextmanager
def one_node_a_layer(module: nn.Module) -> Iterator[None]:
    """Let the hidden layers of a module be single nodes of its graph of gradients, where they can be."""
    from scvi.nn import FCLayers

    served: list[Any] = [part for part in module.modules() if type(part) is FCLayers and _served(part)]
    for layers in served:
        layers.forward = _Stack(layers)
    try:
        yield
    finally:
        for layers in served:
            del layers.forward
