"""What happens between epochs: keep the best, leave a point to resume from, say how far it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.scvi_internals import redraw_mini_batches
from scvi_downstream.runtime import events
from scvi_downstream.runtime.progress import Progress

MONITOR = "elbo_validation"


class DivergedError(FloatingPointError):
    """The loss became NaN or infinite."""


class StopWhenDiverged(Callback):
    """Raises as soon as the validation loss is NaN or infinite."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the loss of this epoch."""
        value = float(trainer.callback_metrics[MONITOR])
        if not np.isfinite(value):
            raise DivergedError(f"the validation loss became {value} in epoch {trainer.current_epoch + 1}")


class KeepBestEpoch(Callback):
    """Puts back the weights of the epoch with the lowest validation loss when training ends."""

    def __init__(self) -> None:
        self.best_value = float("inf")
        self.best_epoch = -1
        self._weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights when the monitored value improves."""
        value = float(trainer.callback_metrics[MONITOR])
        if value < self.best_value:
            self.best_value = value
            self.best_epoch = trainer.current_epoch
            weights = pl_module.module.state_dict()
            self._weights = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best weights back."""
        if self._weights:
            pl_module.module.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"best_value": self.best_value, "best_epoch": self.best_epoch, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an interrupted run left."""
        self.best_value = state_dict["best_value"]
        self.best_epoch = state_dict["best_epoch"]
        self._weights = state_dict["weights"]


def stop_early(patience: int, min_delta: float) -> EarlyStopping:
    """Stop when the validation loss has not improved for ``patience`` epochs."""
    return EarlyStopping(MONITOR, min_delta=min_delta, patience=patience, mode="min", check_finite=False)


class ResumePoint(Callback):
    """Writes a checkpoint every so often; a resumed run goes on bit for bit.

    ``identity`` is of data, options and seed: a checkpoint of anything else is never resumed from.
    """

    def __init__(self, store: CheckpointStore, identity: str, every_seconds: float) -> None:
        self._store = store
        self._identity = identity
        self._every_seconds = every_seconds
        self._last = time.perf_counter()
        self._resumed: dict[str, Any] | None = None
        self._trainer: Trainer | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put back the curves that the interrupted run had drawn."""
        self._trainer = trainer
        self._last = time.perf_counter()
        if self._resumed is not None:
            trainer.logger.experiment.data = _tables(self._resumed["history"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put back the state of the random generators once."""
        if self._resumed is not None:
            _set_random_state(self._resumed["random"])
            # Lightning drew the order of the cells before this, from the fresh state
            redraw_mini_batches(trainer)
            self._resumed = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint when one is due."""
        if time.perf_counter() - self._last < self._every_seconds:
            return
        self._store.write(lambda path: trainer.save_checkpoint(Path(path)), self._identity)
        self._last = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Random generators and curves, as plain tensors, numbers and text."""
        curves = {} if self._trainer is None else _plain_curves(self._trainer)
        return {"random": _random_state(), "history": curves}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an interrupted run left."""
        self._resumed = state_dict


class EpochProgress(Callback):
    """A progress line with an estimate of the time left."""

    def __init__(self, label: str, max_epochs: int) -> None:
        self._progress = Progress(label, max_epochs)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the epoch."""
        value = trainer.callback_metrics.get(MONITOR)
        loss = "" if value is None else f"; validation loss {float(value):.1f}"
        self._progress.advance(note=f"at most{loss}")


class TellOfEpochs(Callback):
    """Publishes the curves of every epoch, for whoever draws them live or stops a hopeless training."""

    def __init__(self, model: str) -> None:
        self._model = model

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish this epoch's values."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        events.publish(events.EpochEnded(self._model, trainer.current_epoch + 1, values))


def _random_state() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the generator scvi-tools draws from
    keys_as_tensor = torch.from_numpy(keys.astype(np.int64))
    state: dict[str, Any] = {"torch": torch.get_rng_state(), "numpy": [name, keys_as_tensor, *rest]}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])


def _plain_curves(trainer: Trainer) -> dict[str, Any]:
    """The curves that have been logged, and this epoch's values, which Lightning logs only after the callbacks."""
    curves: dict[str, dict[str, Any]] = {}
    for name, table in trainer.logger.history.items():
        steps, values = [int(step) for step in table.index], [float(value) for value in table[name]]
        curves[name] = {"index": steps, "index_name": str(table.index.name), "values": values}
    for name, value in trainer.callback_metrics.items():
        curve = curves.setdefault(name, {"index": [], "index_name": "epoch", "values": []})
        if trainer.current_epoch not in curve["index"]:
            curve["index"].append(trainer.current_epoch)
            curve["values"].append(float(value))
    return curves


def _tables(curves: dict[str, Any]) -> dict[str, pd.DataFrame]:
    indices = {name: pd.Index(curve["index"], name=curve["index_name"]) for name, curve in curves.items()}
    return {
        name: pd.DataFrame({name: curves[name]["values"]}, index=index, dtype=object)
        for name, index in indices.items()
    }
