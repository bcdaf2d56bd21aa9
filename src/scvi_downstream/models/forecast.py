"""Time and memory of a training before it starts."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

_BYTES = 4
_COPIES_OF_WEIGHTS = 5  # weights, gradients, two Adam moments, best epoch
_DECODER_OUTPUTS = 8  # tensors of mini-batch × genes kept for the backward pass


@dataclass(frozen=True)
class Forecast:
    """An upper bound of the time (all epochs) and the extra memory of a training."""

    seconds: float
    memory_mb: float
    n_steps: int


def forecast_training(
    model: BaseModelClass, train: np.ndarray, *, batch_size: int, max_epochs: int, device: str
) -> Forecast:
    """Time a few optimisation steps on a copy of the module and scale them up.

    Parameters
    ----------
    model
        Untrained model with its data.
    train
        Positions of the training cells.
    batch_size, max_epochs
        Of the training.
    device
        torch device of the training.
    """
    import torch
    from scvi.dataloaders import AnnDataLoader

    steps_per_epoch = ceil(len(train) / batch_size)
    weights = sum(parameter.numel() for parameter in model.module.parameters())
    memory = _BYTES * (_COPIES_OF_WEIGHTS * weights + _DECODER_OUTPUTS * batch_size * model.adata.n_vars)
    with torch.random.fork_rng(devices=[] if device == "cpu" else None):
        module = deepcopy(model.module).to(device).train()
        optimizer = torch.optim.Adam(module.parameters())
        loader = AnnDataLoader(model.adata_manager, indices=train[: batch_size * 4], batch_size=batch_size)
        seconds = []
        for batch in loader:
            start = time.perf_counter()
            tensors = {name: tensor.to(device) for name, tensor in batch.items()}
            _, _, losses = module(tensors)
            optimizer.zero_grad()
            losses.loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
    return Forecast(
        seconds=float(np.median(seconds)) * steps_per_epoch * max_epochs,
        memory_mb=memory / 2**20,
        n_steps=steps_per_epoch * max_epochs,
    )
