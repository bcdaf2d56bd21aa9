"""Train a scvi-tools model as its own ``train`` does, through Lightning."""

from __future__ import annotations

import time
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from scvi_downstream.models.between_epochs import MONITOR, Watch, random_state, set_random_state
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.schedule import Schedule
from scvi_downstream.models.scvi_internals import (
    redraw_mini_batches,
    sparse_likelihood,
    unchecked_distributions,
)
from scvi_downstream.models.specification import ModelSpec

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

_PLAN = {
    "lr", "weight_decay", "eps", "optimizer", "n_epochs_kl_warmup", "reduce_lr_on_plateau", "lr_factor", "lr_patience",
    "lr_min",
}  # fmt: skip
"""Training options that scvi-tools takes as arguments of its training plan."""


class WatchEpochs(Callback):
    """Lets Lightning ask a :class:`Watch` whether to go on."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the epoch."""
        value = float(trainer.callback_metrics[MONITOR])
        if not self._watch.judge(pl_module.module, trainer.current_epoch, value):
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what the epoch came to."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._watch.tell(trainer.current_epoch, values)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best weights back."""
        self._watch.put_back(pl_module.module)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return self._watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an interrupted training left."""
        self._watch.load_state_dict(state_dict)


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
            set_random_state(self._resumed["random"])
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
        return {"random": random_state(), "history": curves}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an interrupted run left."""
        self._resumed = state_dict


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


def train(
    model: BaseModelClass,
    watch: Watch,
    spec: ModelSpec,
    schedule: Schedule,
    checkpoints: CheckpointStore,
    identity: str,
) -> None:
    """Train ``model``; arguments and errors are those of :func:`scvi_downstream.models.fast_training.train`."""
    options, split = spec.training, schedule.split
    interrupted = checkpoints.find(identity)
    arguments = {
        "max_epochs": schedule.max_epochs,
        "accelerator": schedule.accelerator,
        "batch_size": schedule.batch_size,
        "datasplitter_kwargs": {"external_indexing": [split.train, split.validation, split.test]},
        "check_val_every_n_epoch": 1,
        "plan_kwargs": options.model_dump(include=_PLAN) | {"lr": schedule.lr},
        "callbacks": [
            ResumePoint(checkpoints, identity, options.checkpoint_every_seconds),
            WatchEpochs(watch),
        ],
        "ckpt_path": str(interrupted) if interrupted else None,
        "early_stopping": False,  # scvi-tools' own prints; the watch is among the callbacks
        "gradient_clip_val": options.gradient_clip_val,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "benchmark": False,
    }
    # whoever asks for scvi-tools' own training gets it
    likelihood = nullcontext() if spec.own_loop else sparse_likelihood()
    with unchecked_distributions(), likelihood, redirect_stdout(StringIO()):
        model.train(**spec.train_arguments(arguments))
