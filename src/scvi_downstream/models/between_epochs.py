"""What happens between epochs, whichever engine trains: keep the best, stop in time, say how far it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.runtime import events
from scvi_downstream.runtime.progress import Progress

logger = logging.getLogger(__name__)

MONITOR = "elbo_validation"


class DivergedError(FloatingPointError):
    """The loss became NaN or infinite."""


class Watch:
    """Keeps the weights of the epoch with the lowest validation loss, and says when to stop.

    Attributes
    ----------
    best_epoch
        From 0; -1 before the first.
    """

    def __init__(self, model: str, options: TrainingOptions, max_epochs: int) -> None:
        self.best_epoch = -1
        self._best = self._bar = float("inf")
        self._weights: dict[str, torch.Tensor] = {}
        self._without = 0
        self._model, self._options = model, options
        self._progress = Progress(f"{model}: training", max_epochs)

    def judge(self, module: torch.nn.Module, epoch: int, value: float) -> bool:
        """Look at the validation loss of an epoch; returns whether training goes on.

        Raises
        ------
        DivergedError
            The loss is NaN or infinite.
        """
        if not np.isfinite(value):
            raise DivergedError(f"the validation loss became {value} in epoch {epoch + 1}")
        if not self._options.early_stopping:
            return True
        if value < self._best:
            self._best, self.best_epoch = value, epoch
            self._weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        if value < self._bar - self._options.early_stopping_min_delta:
            self._bar, self._without = value, 0
            return True
        self._without += 1
        return self._without < self._options.early_stopping_patience

    def tell(self, epoch: int, values: Mapping[str, float]) -> None:
        """Publish an epoch's values, for whoever draws them live or stops a hopeless training, and count it."""
        loss = f"; validation loss {values[MONITOR]:.1f}" if MONITOR in values else ""
        self._progress.advance(note=f"at most{loss}")
        events.publish(events.EpochEnded(self._model, epoch + 1, dict(values)))

    def put_back(self, module: torch.nn.Module) -> None:
        """Give the module the best weights."""
        if self._weights:
            module.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        scalars = {
            "best": self._best,
            "bar": self._bar,
            "without": self._without,
            "best_epoch": self.best_epoch,
        }
        return scalars | {"weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what an interrupted training left."""
        logger.info("%s: going on with an interrupted training", self._model)
        self._best, self._bar, self._without = state["best"], state["bar"], state["without"]
        self.best_epoch, self._weights = state["best_epoch"], state["weights"]


def random_state() -> dict[str, Any]:
    """State of the generators that scvi-tools draws from, as plain tensors, numbers and text."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the generator scvi-tools draws from
    keys_as_tensor = torch.from_numpy(keys.astype(np.int64))
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "numpy": [name, keys_as_tensor, *rest]}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go on drawing where :func:`random_state` was taken."""
    torch.set_rng_state(state["torch"].cpu())
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
