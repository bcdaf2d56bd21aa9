"""Which cells each fold holds out, and which of them the marginal likelihood is estimated for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.metrics.eligibility import stratified_sample
from scvi_downstream.models.split import Split, split_cells
from scvi_downstream.parameters import Keys, TrainingOptions

_FEWEST_CELLS_OF_FOLD = 2


def assign_folds(strata: Sequence[pd.Series], n_cells: int, n_folds: int, seed: int) -> np.ndarray:
    """Deal cells out to folds of nearly equal size and composition.

    Each combination of categories is shared out equally, and what is left over goes to the folds that have been given
    least of its categories so far. A combination differs by one cell at most between folds.

    Parameters
    ----------
    strata
        Categories of the ``n_cells`` cells, such as batch and label; may be empty.
    n_cells
        Number of cells.
    n_folds
        Number of folds.
    seed
        Of the shuffle.

    Returns
    -------
    Fold of each cell, 1 to ``n_folds``.

    Raises
    ------
    InputError
        When a fold would hold fewer than two cells.

    References
    ----------
    Sechidis, Tsoumakas & Vlahavas (2011), doi:10.1007/978-3-642-23808-6_10, whose greedy choice this follows.
    """
    if n_cells < _FEWEST_CELLS_OF_FOLD * n_folds:
        raise InputError(
            f"cross_validation.n_folds is {n_folds}, but {n_cells} cells make no {n_folds} folds of at least "
            f"{_FEWEST_CELLS_OF_FOLD}; take fewer folds"
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n_cells)
    codes = [pd.factorize(values.astype(str).to_numpy(), sort=True)[0] for values in strata]
    table = pd.DataFrame(dict(enumerate(codes)), index=np.arange(n_cells)).loc[shuffled]
    groups = [cells.index.to_numpy() for _, cells in table.groupby(list(table))] if codes else [shuffled]
    extra = [np.zeros((code.max() + 1, n_folds), dtype=np.int64) for code in codes]
    extra_in_all = np.zeros(n_folds, dtype=np.int64)
    folds = np.empty(n_cells, dtype=np.int64)
    for group in sorted(groups, key=len):  # the rare ones first, while there is a choice
        n_left_over = len(group) % n_folds
        given = sum((extra[i][code[group[0]]] for i, code in enumerate(codes)), np.zeros(n_folds, np.int64))
        least = np.lexsort([rng.permutation(n_folds), extra_in_all, given])[:n_left_over]
        order = np.concatenate([least, np.arange(len(group) - n_left_over) % n_folds])
        folds[group] = order + 1
        extra_in_all[least] += 1
        for i, code in enumerate(codes):
            extra[i][code[group[0]], least] += 1
    return folds


def strata_of(obs: pd.DataFrame, keys: Keys) -> list[pd.Series]:
    """Batch and label of each cell, where the study has them."""
    return [obs[key] for key in (keys.batch_key, keys.label_key) if key is not None]


def marginal_cells(obs: pd.DataFrame, keys: Keys, most: int, seed: int) -> np.ndarray:
    """Whether the marginal likelihood of a cell is estimated, ``(n_cells,)``.

    The same cells for every fold and every batch, so that what a model loses on a batch that it has not seen is
    measured cell by cell.
    """
    batches = obs[keys.batch_key] if keys.batch_key else None
    chosen = np.zeros(len(obs), dtype=bool)
    chosen[stratified_sample([batches], len(obs), most, seed)] = True
    return chosen


def split_seen(n_cells: int, training: TrainingOptions, seed: int) -> Split:
    """Training and validation cells among those that are not held out, in the study's proportion."""
    share = training.validation_size / (training.train_size + training.validation_size)
    drawn = split_cells(n_cells, 1 - share, share, seed)
    # rounding may leave a cell over
    validation = np.concatenate([drawn.validation, drawn.test])
    return Split(train=drawn.train, validation=validation, test=np.array([], dtype=np.int64))
