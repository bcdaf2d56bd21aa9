"""Fit one scvi-tools model: seeded, stopped early, resumable, measured."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.resources import ResourceMeter
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.models.split import Split, batch_size_without_remainder_of_one, split_cells
from scvi_downstream.models.threads import choose_torch_threads
from scvi_downstream.parameters import UNKNOWN, TrainingOptions
from scvi_downstream.progress import duration

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

logger = logging.getLogger(__name__)
_FULL_EPOCHS_UP_TO = 20_000
_FULL_EPOCHS = 400


@dataclass(frozen=True)
class Fit:
    """A trained model, its curves and what it cost."""

    model: BaseModelClass
    history: pd.DataFrame
    summary: dict[str, Any]


def epochs_for(n_cells: int) -> int:
    """400 epochs up to 20,000 cells, then as many gradient steps as those, with at least 20 epochs."""
    return max(20, min(_FULL_EPOCHS, round(_FULL_EPOCHS * _FULL_EPOCHS_UP_TO / n_cells)))


def fit(
    model: BaseModelClass,
    spec: ModelSpec,
    *,
    seed: int,
    accelerator: str,
    checkpoints: CheckpointStore,
    label_key: str | None = None,
) -> Fit:
    """Train ``model`` on its own data.

    Parameters
    ----------
    model
        Untrained scvi-tools model with its AnnData.
    spec
        Options of the model and its training.
    seed
        Of the split, the mini-batches and every draw.
    accelerator
        ``auto``, ``cpu``, ``gpu`` or ``mps``.
    checkpoints
        Where the state is kept while training runs; cleared when it is done.
    label_key
        obs column whose labelled cells a semi-supervised model also draws mini-batches from.

    Raises
    ------
    FloatingPointError
        When the loss becomes NaN or infinite.
    """
    from scvi_downstream.models.callbacks import EpochProgress, KeepBestEpoch, ResumePoint, stop_early
    from scvi_downstream.models.fast_likelihood import fast_likelihood
    from scvi_downstream.models.forecast import forecast_training

    options = spec.training
    n_cells = model.adata.n_obs
    split = split_cells(n_cells, options.train_size, options.validation_size, seed)
    batch_size = batch_size_without_remainder_of_one(
        options.batch_size, _loader_sizes(model, split, label_key)
    )
    max_epochs = options.max_epochs or epochs_for(n_cells)
    identity = _identity(model, spec, seed, max_epochs)
    found = checkpoints.find(identity)
    device = _device(accelerator)
    if device == "cpu":
        choose_torch_threads(batch_size, model.adata.n_vars)
    with reproducible(seed):
        forecast = forecast_training(
            model, split.train, batch_size=batch_size, max_epochs=max_epochs, device=device
        )
        logger.info(
            "%s: at most %d epochs of %d cells × %d genes on %s, at most %s and %.0f MB more memory%s",
            spec.name,
            max_epochs,
            len(split.train),
            model.adata.n_vars,
            device,
            duration(forecast.seconds),
            forecast.memory_mb,
            "; resuming an interrupted training" if found else "",
        )
        best = KeepBestEpoch()
        callbacks: list[Any] = [ResumePoint(checkpoints, identity, options.checkpoint_every_seconds)]
        if options.early_stopping:
            callbacks += [best, stop_early(options.early_stopping_patience, options.early_stopping_min_delta)]
        with ResourceMeter() as meter, quiet(), fast_likelihood(), redirect_stdout(StringIO()):
            model.train(
                max_epochs=max_epochs,
                accelerator=accelerator,
                batch_size=batch_size,
                datasplitter_kwargs={"external_indexing": [split.train, split.validation, split.test]},
                check_val_every_n_epoch=1,
                plan_kwargs=_plan_arguments(options),
                callbacks=[*callbacks, EpochProgress(f"{spec.name}: training", max_epochs)],
                ckpt_path=str(found) if found else None,
                **_trainer_arguments(options),
            )
    checkpoints.clear()
    history = tabulate_history(model)
    epochs = len(history)
    summary = {
        "model": spec.name,
        "family": spec.family,
        "seconds": meter.seconds,
        "peak_memory_mb": meter.peak_memory_mb,
        "forecast_seconds": forecast.seconds,
        "epochs": epochs,
        "max_epochs": max_epochs,
        "best_epoch": best.best_epoch + 1 if options.early_stopping else epochs,
        "stopped_early": epochs < max_epochs,
        "n_parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "device": device,
        "batch_size": batch_size,
        "n_latent": int(model.module.n_latent),
        "n_genes": int(model.adata.n_vars),
        "n_cells": int(n_cells),
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "n_test": len(split.test),
        "seed": seed,
    }
    logger.info(
        "%s: %d epochs in %s, the best was %d",
        spec.name,
        epochs,
        duration(meter.seconds),
        summary["best_epoch"],
    )
    return Fit(model=model, history=history, summary=summary)


def tabulate_history(model: BaseModelClass) -> pd.DataFrame:
    """Curves of a trained model: one row an epoch (from 1), one column a curve."""
    curves = {
        name: table[name].astype(float)
        for name, table in model.history.items()
        if table.index.name == "epoch"
    }
    history = pd.DataFrame(curves)
    history.index = pd.Index(np.arange(1, len(history) + 1), name="epoch")
    return history


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed every generator that scvi-tools draws from, and put scvi-tools' own seed back afterwards."""
    import scvi

    before = scvi.settings.seed
    with quiet():
        scvi.settings.seed = seed
    try:
        yield
    finally:
        scvi.settings._seed = before


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning and scvi-tools print; the project logs its own lines."""
    names = (
        "lightning.pytorch",
        "lightning.fabric",
        "scvi",
        "lightning.pytorch.utilities.rank_zero",
        "lightning_fabric",
    )
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _plan_arguments(options: TrainingOptions) -> dict[str, Any]:
    names = (
        "lr",
        "weight_decay",
        "eps",
        "optimizer",
        "n_epochs_kl_warmup",
        "reduce_lr_on_plateau",
        "lr_factor",
        "lr_patience",
        "lr_min",
    )
    return {name: getattr(options, name) for name in names}


def _trainer_arguments(options: TrainingOptions) -> dict[str, Any]:
    return {
        "early_stopping": False,  # scvi-tools' own prints; the callback is added above
        "gradient_clip_val": options.gradient_clip_val,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "benchmark": False,
    }


def _loader_sizes(model: BaseModelClass, split: Split, label_key: str | None) -> list[int]:
    sizes = [len(split.train)]
    if label_key:
        labelled = (model.adata.obs[label_key].astype(str) != UNKNOWN).to_numpy()
        sizes += [int(labelled[split.train].sum()), int((~labelled)[split.train].sum())]
    return [size for size in sizes if size > 1]


def _device(accelerator: str) -> str:
    from scvi.model._utils import parse_device_args

    _, _, device = parse_device_args(accelerator=accelerator, devices="auto", return_device="torch")
    return str(device)


def _identity(model: BaseModelClass, spec: ModelSpec, seed: int, max_epochs: int) -> str:
    counts = model.adata.X
    digest = hashlib.sha256()
    for part in (counts.data, counts.indices, counts.indptr):
        digest.update(np.ascontiguousarray(part).tobytes())
    options = spec.model_dump(mode="json") | {
        "seed": seed,
        "max_epochs": max_epochs,
        "shape": list(counts.shape),
    }
    weights = (
        {name: float(tensor.double().sum()) for name, tensor in model.module.state_dict().items()}
        if spec.init_from
        else {}
    )
    digest.update(json.dumps([options, weights], sort_keys=True).encode())
    return digest.hexdigest()
