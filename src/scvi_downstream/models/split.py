"""Training, validation and test cells: the same for every model of a study."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from scvi_downstream.errors import InputError


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


def batch_size_without_remainder_of_one(batch_size: int, sizes: list[int]) -> int:
    """The next smaller batch size that leaves no last mini-batch of one cell, which batch normalisation cannot take.

    Parameters
    ----------
    batch_size
        The wanted one.
    sizes
        Number of cells of every loader.
    """
    for candidate in range(min(batch_size, max(sizes)), 1, -1):
        if all(size % candidate != 1 for size in sizes):
            return candidate
    return batch_size
