"""Bounds of the likelihood for families whose loss in scvi-tools is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_downstream.models.fitting import reproducible

from .mrvi_bound import mrvi_log_weights
from .totalvi_bound import totalvi_log_weights

if TYPE_CHECKING:
    import torch
    from scvi.model.base import BaseModelClass

_BATCH_SIZE = 128
type LogWeights = Callable[[Any, dict[str, "torch.Tensor"], int], "torch.Tensor"]
_OF_MODULE: dict[str, LogWeights] = {"MRVAE": mrvi_log_weights, "TOTALVAE": totalvi_log_weights}


def own_log_weights(module: Any) -> LogWeights | None:
    """Log-weights of draws for the module's family; ``None``: scvi-tools' own loss is a bound."""
    return _OF_MODULE.get(type(module).__name__)


def mean_log_weight(
    model: BaseModelClass, cells: np.ndarray, seed: int, log_weights: LogWeights
) -> np.ndarray:
    """Lower bound of the log-likelihood by one draw a cell, in nats: ``(n_cells,)``.

    Parameters
    ----------
    model
        Fitted model with its cells.
    cells
        Positions.
    seed
        Of the draws.
    log_weights
        Of :func:`own_log_weights`.
    """
    import torch
    from scvi.dataloaders import AnnDataLoader

    with reproducible(seed), torch.inference_mode():
        parts = [
            log_weights(model.module, tensors, 1)[0].cpu().numpy()
            for tensors in AnnDataLoader(model.adata_manager, indices=cells, batch_size=_BATCH_SIZE)
        ]
    return np.concatenate(parts).astype(np.float64)
