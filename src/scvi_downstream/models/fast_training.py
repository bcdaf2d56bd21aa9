"""Train a stock scvi-tools module in a loop of its own: what Lightning does for it, and nothing else.

The counts lie in memory once, as CSR, and mini-batches are written into one buffer; validation takes large batches;
nothing but the optimisation is done per step. Draws of mini-batches, dropout and latent states are those of
scvi-tools for the same state of the random generators.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from functools import partial
from itertools import cycle, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from scvi_downstream.models.between_epochs import MONITOR, Watch, random_state, set_random_state
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.count_kernels import adam_step, take_rows
from scvi_downstream.models.count_loss import losses_of
from scvi_downstream.models.schedule import Schedule, Split
from scvi_downstream.models.scvi_internals import kind_of_field, unchecked_distributions
from scvi_downstream.models.specification import TrainingOptions

if TYPE_CHECKING:
    from scvi.data import AnnDataManager
    from scvi.model.base import BaseModelClass

# Values of cells × genes of a mini-batch without gradients: large enough that overhead is none, small enough for caches
_VALIDATION_VALUES = 2**20
_CLASSIFICATION_RATIO = 50  # weight of the labels' loss, as in scvi-tools' plan for scANVI


class CpuAdam(torch.optim.Optimizer):
    """PyTorch's Adam or AdamW, with less of Python around its arithmetic."""

    def __init__(self, weights: list[torch.Tensor], *, decoupled: bool, **given: float) -> None:
        super().__init__(weights, given)
        self._decoupled = decoupled
        self._arrays: dict[torch.Tensor, list[np.ndarray]] = {}

    def step(self, closure: None = None) -> None:
        """As PyTorch calls it, which wraps it into hooks and records of its profiler."""
        self.take_step()

    def take_step(self) -> None:
        """Take one step of each weight that has a gradient."""
        for group in self.param_groups:
            rate, floor, decay = group["lr"], group["eps"], group["weight_decay"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state |= {"step": 0, "mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}
                if weight not in self._arrays:
                    held = weight.detach(), state["mean"], state["square"]
                    self._arrays[weight] = [each.view(-1).numpy() for each in held]
                state["step"] += 1
                values, *moments = self._arrays[weight]
                gradient = weight.grad.contiguous().view(-1).numpy()
                given = state["step"], rate, floor, decay
                adam_step(values, gradient, *moments, *given, decoupled=self._decoupled)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what another one left."""
        self._arrays.clear()
        super().load_state_dict(state_dict)


class Cells:
    """All that a model was set up with, in memory of the device that trains, ready to be taken by mini-batch."""

    def __init__(self, manager: AnnDataManager, device: str) -> None:
        self._device = device
        self._dense: dict[str, torch.Tensor] = {}
        self._sparse: dict[str, tuple[Any, ...]] = {}
        self._buffers: dict[tuple[str, str], torch.Tensor] = {}
        for key in manager.data_registry:
            values, kind = manager.get_from_registry(key), kind_of_field(key)
            if sparse.issparse(values):
                rows = sparse.csr_matrix(values, dtype=kind)
                parts = (rows.indptr, rows.indices, rows.data)
                if device != "cpu":
                    parts = tuple(torch.from_numpy(part).to(device) for part in parts)
                self._sparse[key] = (*parts, rows.shape[1])
            elif not isinstance(values, str):
                self._dense[key] = torch.from_numpy(np.asarray(values, dtype=kind)).to(device)

    def take(self, rows: np.ndarray, purpose: str = "") -> dict[str, torch.Tensor]:
        """Tensors of the cells at these positions; the next call for the same purpose overwrites counts."""
        at = torch.from_numpy(rows).to(self._device)
        taken = {key: values.index_select(0, at) for key, values in self._dense.items()}
        for key, (*parts, n_columns) in self._sparse.items():
            if self._device != "cpu":
                taken[key] = rows_on_device(parts, at, n_columns)
                continue
            buffer = self._buffers.get((key, purpose))
            if buffer is None or len(buffer) < len(rows):
                buffer = self._buffers[key, purpose] = torch.empty(len(rows), n_columns)
            taken[key] = buffer[: len(rows)]
            take_rows(*parts, rows, taken[key].numpy())
        return taken


def rows_on_device(parts: Sequence[torch.Tensor], at: torch.Tensor, n_columns: int) -> torch.Tensor:
    """Rows of a CSR matrix as a dense tensor ``(len(at), n_columns)``, without leaving the device that holds it.

    ``parts`` are its ``indptr``, ``indices`` and ``data``.
    """
    indptr, indices, data = parts
    begin = indptr[at]
    lengths = indptr[at + 1] - begin
    row = torch.repeat_interleave(torch.arange(len(at), device=at.device), lengths)
    before = lengths.cumsum(0) - lengths
    entries = torch.arange(len(row), device=at.device) + (begin - before)[row]
    out = torch.zeros(len(at), n_columns, dtype=data.dtype, device=at.device)
    out[row, indices[entries]] = data[entries]
    return out


class _Sums:
    """What the mini-batches of an epoch came to; nothing is read from the device before the epoch is over."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._n_cells: list[int] = []
        self._losses: list[tuple[torch.Tensor, ...]] = []
        self._of_labels: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, losses: Any) -> None:
        self._n_cells.append(losses.n_obs_minibatch)
        sums = losses.reconstruction_loss_sum, losses.kl_local_sum, losses.kl_global_sum
        self._losses.append(tuple(each.detach() for each in (losses.loss, *sums)))
        if losses.classification_loss is not None:
            right = losses.logits.argmax(1) == losses.true_labels.squeeze(-1)
            self._of_labels.append((losses.classification_loss.detach(), right))

    def values(self) -> dict[str, float]:
        """By the names that scvi-tools gives them; its F1 over cells is their accuracy and left out."""
        mode, of_batch = self._mode, np.array(self._n_cells)
        n = int(of_batch.sum())
        loss, *sums = (torch.stack(each).double().cpu().numpy() for each in zip(*self._losses, strict=True))
        reconstruction, kl_local = (float(each.sum()) / n for each in sums[:2])
        kl_global = float(sums[2].mean())
        found = {
            "validation_loss" if mode == "validation" else "train_loss": float(loss @ of_batch) / n,
            f"elbo_{mode}": reconstruction + kl_local + kl_global / n,
            f"reconstruction_loss_{mode}": reconstruction,
            f"kl_local_{mode}": kl_local,
            f"kl_global_{mode}": kl_global,
        }
        if self._of_labels:
            classification, right = zip(*self._of_labels, strict=True)
            of_batches = torch.stack(classification).double().cpu().numpy()
            found[f"{mode}_classification_loss"] = float(of_batches @ of_batch) / n
            found[f"{mode}_accuracy"] = float(torch.cat(right).double().mean())
        return found


def known_first(model: BaseModelClass, cells: np.ndarray) -> np.ndarray:
    """Positions of cells as a semi-supervised model keeps them: in order, those of a known label before the others."""
    known = np.intersect1d(cells, np.flatnonzero(model.labels_ != model.unlabeled_category_))
    return np.concatenate([known, np.setdiff1d(cells, known)])


def labelled_cells(model: BaseModelClass, cells: np.ndarray) -> np.ndarray:
    """Those of the cells at these positions that a semi-supervised model knows the label of, in its loader's order."""
    labels = model.labels_
    known = [
        cells[labels[cells] == label] for label in np.unique(labels) if label != model.unlabeled_category_
    ]
    return np.concatenate([cells[:0], *known])


def shuffled(cells: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Mini-batches of an epoch, as torch's loader draws them from the same state of its generator."""
    draw = torch.empty((), dtype=torch.int64)
    draw.random_()  # a loader draws a seed for worker processes
    return _in_batches(cells, batch_size, draw)


def _in_batches(cells: np.ndarray, batch_size: int, draw: torch.Tensor) -> Iterator[np.ndarray]:
    generator = torch.Generator().manual_seed(int(draw.random_()))
    order = torch.randperm(len(cells), generator=generator).numpy()
    for begin in range(0, len(order), batch_size):
        yield cells[order[begin : begin + batch_size]]


def _in_order(cells: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    return (cells[begin : begin + batch_size] for begin in range(0, len(cells), batch_size))


class _Loop:
    """One training: the module, its cells and its optimiser."""

    def __init__(
        self, model: BaseModelClass, options: TrainingOptions, schedule: Schedule, device: str
    ) -> None:
        self.module: Any = model.module.to(device)
        self.curves: list[dict[str, float]] = []
        self._options, self._schedule = options, schedule
        self._cells = Cells(model.adata_manager, device)
        self.split = schedule.split
        self._labelled: dict[str, np.ndarray] = {}
        if schedule.label_key:
            self.split = Split(*(known_first(model, cells) for cells in astuple(schedule.split)))
            self._labelled = {
                "train": labelled_cells(model, self.split.train),
                "validation": labelled_cells(model, self.split.validation),
            }
        given = {"lr": schedule.lr, "eps": options.eps, "weight_decay": options.weight_decay}
        self._parts = list(self.module.modules())
        self._weights = [weight for weight in self.module.parameters() if weight.requires_grad]
        if device == "cpu":
            decoupled = options.optimizer == "AdamW"
            self.optimizer: Any = CpuAdam(self._weights, decoupled=decoupled, **given)
            self._step = self.optimizer.take_step
        else:
            self.optimizer = getattr(torch.optim, options.optimizer)(self._weights, fused=True, **given)
            self._step = self.optimizer.step
        self.scheduler = None
        if options.reduce_lr_on_plateau:
            self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
                self.optimizer, patience=options.lr_patience, factor=options.lr_factor, threshold=0.0,
                min_lr=options.lr_min, threshold_mode="abs",
            )  # fmt: skip

    def epoch(self, epoch: int, losses_of_batch: Callable[..., Any]) -> dict[str, float]:
        """Train one epoch and validate it; values by name."""
        warm_up = self._options.n_epochs_kl_warmup
        kl_weight = min(1.0, epoch / warm_up) if warm_up else 1.0
        self._switch(training=True)
        train = _Sums("train")
        for losses in self._losses("train", losses_of_batch, kl_weight=kl_weight):
            for weight in self._weights:
                weight.grad = None
            losses.loss.backward()
            if self._options.gradient_clip_val is not None:
                torch.nn.utils.clip_grad_norm_(self._weights, self._options.gradient_clip_val)
            self._step()
            train.add(losses)
        self._switch(training=False)
        validation = _Sums("validation")
        with torch.no_grad():
            for losses in self._losses("validation", losses_of_batch, kl_weight=kl_weight):
                validation.add(losses)
        values = validation.values() | train.values() | {"kl_weight": kl_weight}
        if self.scheduler is not None:
            self.scheduler.step(values[MONITOR])
        self.curves.append(values)
        return values

    def _switch(self, *, training: bool) -> None:
        """As the module's own ``train``, which asks each part for its parts, twice an epoch."""
        for part in self._parts:
            if type(part).train is torch.nn.Module.train:
                part.training = training
            else:
                part.train(training)

    def _losses(self, mode: str, losses_of_batch: Callable[..., Any], **given: Any) -> Iterator[Any]:
        if mode == "train":
            in_batches, size, cells = shuffled, self._schedule.batch_size, self.split.train
        else:
            size = max(self._schedule.batch_size, _VALIDATION_VALUES // self.module.n_input)
            in_batches, cells = _in_order, self.split.validation
        labelled = self._labelled.get(mode, cells[:0])
        batches = in_batches(cells, size)
        of_labelled = cycle(in_batches(labelled, size)) if len(labelled) else repeat(None)
        for rows, known in zip(batches, of_labelled, strict=False):
            if known is not None:
                given["labelled_tensors"] = self._cells.take(known, "labelled")
                given["classification_ratio"] = _CLASSIFICATION_RATIO
            yield losses_of_batch(self._cells.take(rows), **given)

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "curves": self.curves,
            "random": random_state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Take up what an interrupted training left."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.curves = state["curves"]
        set_random_state(state["random"])


def train(
    model: BaseModelClass,
    watch: Watch,
    options: TrainingOptions,
    schedule: Schedule,
    checkpoints: CheckpointStore,
    identity: str,
    device: str,
) -> None:
    """Train ``model``, whose weights and curves are then those that scvi-tools' ``train`` would have left.

    Parameters
    ----------
    model
        Untrained scvi-tools model with its AnnData.
    watch
        Judges epochs; it has the best one afterwards.
    options, schedule
        Options of the training, and what this one is given besides.
    checkpoints, identity
        Where the state is kept while training runs, and of what it is.
    device
        ``cpu``, ``cuda:0``, …

    Raises
    ------
    DivergedError
        When the validation loss becomes NaN or infinite.
    """
    loop = _Loop(model, options, schedule, device)
    interrupted, go_on = checkpoints.find(identity), True
    if interrupted:
        state = torch.load(interrupted, weights_only=True)
        loop.resume(state["loop"])
        watch.load_state_dict(state["watch"])
        go_on = state["go_on"]
    last = time.perf_counter()
    with losses_of(loop.module, device) as losses_of_batch, unchecked_distributions():
        while go_on and len(loop.curves) < schedule.max_epochs:
            epoch = len(loop.curves)
            values = loop.epoch(epoch, losses_of_batch)
            go_on = watch.judge(loop.module, epoch, values[MONITOR])
            watch.tell(epoch, values)
            if time.perf_counter() - last >= options.checkpoint_every_seconds:
                state = {"loop": loop.state(), "watch": watch.state_dict(), "go_on": go_on}
                checkpoints.write(partial(torch.save, state), identity)
                last = time.perf_counter()
    watch.put_back(loop.module)
    loop.module.eval()
    _conclude(model, loop)


def _conclude(model: Any, loop: _Loop) -> None:
    epochs = pd.RangeIndex(len(loop.curves), name="epoch")
    table = pd.DataFrame(loop.curves, index=epochs)
    model.history_ = {name: table[[name]] for name in table}
    model.is_trained_ = True
    model.train_indices, model.validation_indices, model.test_indices = astuple(loop.split)
