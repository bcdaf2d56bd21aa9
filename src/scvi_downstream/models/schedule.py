"""Which cells train a model, in what mini-batches and for how long, and what tells one training from another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np

from scvi_downstream.cells.keys import PROTEIN_KEY
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

_FULL_EPOCHS_UP_TO = 20_000
_FULL_EPOCHS = 400
# Of a model that starts from another, scANVI: by then its classifier is as good as it gets, and nothing else gains.
_TUNED_EPOCHS, _LEAST_TUNED_EPOCHS = 20, 10


@dataclass(frozen=True)
class Split:
    """Positions of the cells of each share, together all cells, without overlap."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_cells(n_cells: int, train_size: float, validation_size: float, seed: int) -> Split:
    """Draw the shares as scvi-tools does for the same seed.

    Parameters
    ----------
    n_cells
        Number of cells.
    train_size, validation_size
        Shares; the rest is the test set.
    seed
        Of the permutation.

    Raises
    ------
    InputError
        When the training or the validation share holds no cell.
    """
    n_train = ceil(train_size * n_cells)
    n_validation = min(floor(validation_size * n_cells), n_cells - n_train)
    if n_train < 2 or n_validation < 1:
        raise InputError(
            f"{n_cells} cells leave {n_train} for training and {n_validation} for validation; "
            "bring more cells or raise training.train_size and training.validation_size"
        )
    order = np.random.RandomState(seed).permutation(n_cells)
    return Split(
        train=order[n_validation : n_validation + n_train],
        validation=order[:n_validation],
        test=order[n_validation + n_train :],
    )


def split_by(options: TrainingOptions, n_cells: int, seed: int) -> Split:
    """:func:`split_cells` with the shares of a training."""
    return split_cells(n_cells, options.train_size, options.validation_size, seed)


def batch_size_without_remainder_of_one(batch_size: int, sizes: list[int]) -> int:
    """The next smaller batch size that leaves no last mini-batch of one cell, which batch normalisation cannot take.

    ``sizes`` are the numbers of cells of every loader.
    """
    candidates = range(min(batch_size, max(sizes)), 1, -1)
    return next((size for size in candidates if all(n % size != 1 for n in sizes)), batch_size)


def epochs_for(n_cells: int, *, tuned: bool = False) -> int:
    """400 epochs up to 20,000 cells, then as many gradient steps as those, with at least 20 epochs.

    Of a model that is ``tuned``, as it starts from a trained one, 20 epochs and then fewer, with at least 10.
    """
    most, least = (_TUNED_EPOCHS, _LEAST_TUNED_EPOCHS) if tuned else (_FULL_EPOCHS, 20)
    return max(least, min(most, round(most * _FULL_EPOCHS_UP_TO / n_cells)))


def batch_size_for(n_cells: int) -> int:
    """64 for fewer than 5,000 cells, which smaller steps and more of them fit better, else 128."""
    return 64 if n_cells < 5_000 else 128


@dataclass(frozen=True)
class Schedule:
    """What one training is given besides the model's own options."""

    split: Split
    batch_size: int
    max_epochs: int
    accelerator: str
    seed: int
    lr: float
    label_key: str | None


def identity_of(model: BaseModelClass, spec: ModelSpec, schedule: Schedule) -> str:
    """Of the counts, the options and the seed of a training: a checkpoint of anything else is never resumed from."""
    counts = model.adata.X
    digest = hashlib.sha256()
    data = [counts.data, counts.indices, counts.indptr]
    if "proteins" in spec.needs:
        data.append(model.adata.obsm[PROTEIN_KEY].to_numpy(dtype=np.float64))
    for part in data:
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(str((counts.shape, schedule.seed, schedule.lr, schedule.max_epochs)).encode())
    digest.update(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode())
    digest.update(np.sort(schedule.split.train).tobytes())
    if schedule.label_key:
        digest.update("\n".join(model.adata.obs[schedule.label_key].astype(str)).encode())
    if spec.init_from:
        weights = {name: float(tensor.double().sum()) for name, tensor in model.module.state_dict().items()}
        digest.update(json.dumps(weights, sort_keys=True).encode())
    return digest.hexdigest()
