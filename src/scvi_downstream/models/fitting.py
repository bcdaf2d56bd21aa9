"""Fit one scvi-tools model: seeded, stopped early, resumable, measured."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.schedule import (
    Schedule,
    Split,
    batch_size_for,
    batch_size_without_remainder_of_one,
    epochs_for,
    identity_of,
    split_by,
)
from scvi_downstream.models.scvi_internals import batches_in_order, forget_with, kept_seed, torch_device
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.models.starting_values import start_from_counts
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.progress import duration
from scvi_downstream.runtime.threads import choose_torch_threads, quiet

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

logger = logging.getLogger(__name__)


_BYTES = 4
_COPIES_OF_WEIGHTS = 5  # weights, gradients, two Adam moments, best epoch
_DECODER_OUTPUTS = 8  # tensors of mini-batch × genes kept for the backward pass
_MEBIBYTE = 2**20
_SAMPLE_EVERY_SECONDS = 0.05
_LEARNING_RATES = 3  # tries, each five times slower than the last, before a loss that diverges is given up
_SLOWER = 5


@dataclass(frozen=True)
class Fit:
    """A trained model, its curves and what it cost."""

    model: BaseModelClass
    history: pd.DataFrame
    summary: dict[str, Any]


def fit(
    model: BaseModelClass,
    spec: ModelSpec,
    *,
    seed: int,
    accelerator: str,
    checkpoints: CheckpointStore,
    label_key: str | None = None,
    split: Split | None = None,
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
    split
        Training, validation and test cells; ``None``: drawn as for every model of the study.

    Raises
    ------
    InputError
        When the loss becomes NaN or infinite, also at smaller learning rates.
    """
    from scvi_downstream.models.between_epochs import DivergedError

    options = spec.training
    if split is None:
        split = split_by(options, model.adata.n_obs, seed)
    sizes = _loader_sizes(model, split, label_key)
    batch_size = options.batch_size or batch_size_for(model.adata.n_obs)
    batch_size = batch_size_without_remainder_of_one(batch_size, sizes)
    max_epochs = options.max_epochs or epochs_for(model.adata.n_obs, tuned=spec.init_from is not None)
    device = torch_device(accelerator)
    if device == "cpu":
        choose_torch_threads(batch_size, model.adata.n_vars)
    forecast_seconds, more_memory = _forecast(model, spec, split.train, batch_size, max_epochs, device)
    size = f"{max_epochs} epochs of {len(split.train)} cells × {model.adata.n_vars} genes on {device}"
    cost = f"{duration(forecast_seconds)} and {more_memory:.0f} MB more memory"
    logger.info("%s: at most %s, at most %s", spec.name, size, cost)
    initial = deepcopy(model.module.state_dict())
    rates = [options.lr / _SLOWER**attempt for attempt in range(_LEARNING_RATES)]
    for rate in rates:
        schedule = Schedule(split, batch_size, max_epochs, accelerator, seed, rate, label_key)
        try:
            with ResourceMeter() as meter:
                best_epoch = _train(model, spec, schedule, checkpoints, device)
            break
        except DivergedError as error:
            logger.warning("%s: %s at a learning rate of %g", spec.name, error, rate)
            model.module.load_state_dict(initial)
            model.module.train()  # the loss diverged during validation, and Lightning leaves modes as they are
    else:
        raise InputError(
            f"models.{spec.name}: the loss becomes NaN at learning rates {', '.join(f'{rate:g}' for rate in rates)}; "
            "lower training.lr, set training.gradient_clip_val, or look for cells of extreme counts"
        )
    checkpoints.clear()
    history = _tabulate_history(model)
    summary = {
        "model": spec.name,
        "family": spec.family,
        "seconds": meter.seconds,
        "peak_memory_mb": meter.peak_memory_mb,
        "forecast_seconds": forecast_seconds,
        "epochs": len(history),
        "max_epochs": max_epochs,
        "best_epoch": best_epoch,
        "stopped_early": len(history) < max_epochs,
        "lr": rate,
        "n_parameters": sum(parameter.numel() for parameter in model.module.parameters()),
        "device": device,
        "batch_size": batch_size,
        "n_latent": int(getattr(model.module, "n_latent_u", None) or model.module.n_latent),
        "n_genes": int(model.adata.n_vars),
        "n_cells": int(model.adata.n_obs),
        "n_train": len(split.train),
        "n_validation": len(split.validation),
        "n_test": len(split.test),
        "seed": seed,
    }
    took = duration(meter.seconds)
    logger.info("%s: %d epochs in %s, the best was %d", spec.name, len(history), took, best_epoch)
    return Fit(model=model, history=history, summary=summary)


def build_and_fit(
    genes: AnnData,
    spec: ModelSpec,
    keys: Keys,
    *,
    seed: int,
    accelerator: str,
    checkpoints: CheckpointStore,
    initial: Callable[[], BaseModelClass] | None = None,
    split: Split | None = None,
) -> Fit:
    """Make a model of cells and train it.

    Parameters
    ----------
    genes
        Counts, ``n_cells`` × modelled genes; scvi-tools adds columns of its own.
    spec
        Options of the model and its training.
    keys
        obs columns that the model is given.
    seed, accelerator, checkpoints, split
        As for :func:`fit`; the seed is that of the first weights, too.
    initial
        Gives the fitted model whose weights are the start. It is asked once the seed is set, as opening a model draws
        from it.

    Raises
    ------
    InputError
        The cells do not have what the family needs, or the loss becomes NaN or infinite.
    """
    with reproducible(seed), quiet():
        model = spec.build(genes, keys) if initial is None else spec.build_from(genes, keys, initial())
    forget_with(model)
    if split is None:
        split = split_by(spec.training, genes.n_obs, seed)
    if initial is None and spec.own_loop and spec.training.start_from_counts:
        start_from_counts(model, split.train)
    label_key = keys.label_key if "labels" in spec.needs else None
    how: dict[str, Any] = {"seed": seed, "accelerator": accelerator, "checkpoints": checkpoints}
    return fit(model, spec, label_key=label_key, split=split, **how)


def _train(
    model: BaseModelClass, spec: ModelSpec, schedule: Schedule, checkpoints: CheckpointStore, device: str
) -> int:
    """Train once, taking up an interrupted training of the same; returns the kept epoch, from 1."""
    from scvi_downstream.models.between_epochs import Watch

    identity = identity_of(model, spec, schedule)
    watch = Watch(spec.name, spec.training, schedule.max_epochs)
    with reproducible(schedule.seed), quiet():
        if _by_own_loop(spec):
            from scvi_downstream.models import fast_training

            fast_training.train(model, watch, spec.training, schedule, checkpoints, identity, device)
        else:
            from scvi_downstream.models import stock_training

            stock_training.train(model, watch, spec, schedule, checkpoints, identity)
    return watch.best_epoch + 1 if spec.training.early_stopping else schedule.max_epochs


def _by_own_loop(spec: ModelSpec) -> bool:
    return spec.training.engine == "fast" and spec.own_loop


def _tabulate_history(model: BaseModelClass) -> pd.DataFrame:
    """Curves of a trained model: one row an epoch (from 1), one column a curve."""
    curves = {name: table[name] for name, table in model.history.items() if table.index.name == "epoch"}
    history = pd.DataFrame(curves).astype(float)
    history.index = pd.Index(np.arange(1, len(history) + 1), name="epoch")
    return history


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed every generator that scvi-tools draws from, fix its orders, and put its own seed back afterwards."""
    import scvi

    with kept_seed(), batches_in_order():
        with quiet():
            scvi.settings.seed = seed
        yield


def _loader_sizes(model: BaseModelClass, split: Split, label_key: str | None) -> list[int]:
    sizes = [len(split.train)]
    if label_key:
        labelled = (model.adata.obs[label_key].astype(str) != UNKNOWN).to_numpy()
        sizes += [int(labelled[split.train].sum()), int((~labelled)[split.train].sum())]
    return [size for size in sizes if size > 1]


def _forecast(
    model: BaseModelClass, spec: ModelSpec, train: np.ndarray, batch_size: int, max_epochs: int, device: str
) -> tuple[float, float]:
    """Upper bounds of the seconds of all epochs and of the extra memory, MiB.

    A few optimisation steps on a copy of the module are timed and scaled up; ``train`` are positions of cells.
    """
    import torch
    from scvi.dataloaders import AnnDataLoader

    steps_per_epoch = ceil(len(train) / batch_size)
    weights = sum(parameter.numel() for parameter in model.module.parameters())
    memory = _BYTES * (_COPIES_OF_WEIGHTS * weights + _DECODER_OUTPUTS * batch_size * model.adata.n_vars)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[] if device == "cpu" else None))
        module = deepcopy(model.module).to(device).train()
        losses_of_batch = None
        if _by_own_loop(spec):
            from scvi_downstream.models.count_loss import losses_of

            losses_of_batch = stack.enter_context(losses_of(module, device))
        optimizer = torch.optim.Adam(module.parameters(), fused=True)
        loader = AnnDataLoader(model.adata_manager, indices=train[: batch_size * 4], batch_size=batch_size)
        seconds = []
        for batch in loader:
            start = time.perf_counter()
            tensors = {name: tensor.to(device) for name, tensor in batch.items()}
            optimizer.zero_grad()
            losses = losses_of_batch(tensors) if losses_of_batch else module(tensors)[-1]
            losses.loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * steps_per_epoch * max_epochs, memory / _MEBIBYTE


class ResourceMeter:
    """Context manager that measures wall seconds and the peak resident memory of this process.

    Attributes
    ----------
    seconds
        Wall time of the block.
    peak_memory_mb
        Highest resident set size seen, in MiB.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_memory_mb = 0.0
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> ResourceMeter:
        self._start = time.perf_counter()
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self._stop.set()
        self._sampler.join()

    def _sample(self) -> None:
        while True:
            self.peak_memory_mb = max(self.peak_memory_mb, self._process.memory_info().rss / _MEBIBYTE)
            if self._stop.wait(_SAMPLE_EVERY_SECONDS):
                return
