"""Which cells the generated counts are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.metrics.eligibility import stratified_sample

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

FEWEST_TEST_CELLS = 20
FEWEST_CELLS = 10


@dataclass(frozen=True, eq=False)
class CheckedCells:
    """Positions of cells.

    Attributes
    ----------
    held_out
        The model has not been trained on them.
    training
        As many training cells, to show what overfitting there is.
    fitted
        All training cells, which baselines are fitted to.
    share
        ``test``, or ``test and validation`` where there are fewer than 20 test cells; early stopping has looked at
        validation cells.
    """

    held_out: np.ndarray
    training: np.ndarray
    fitted: np.ndarray
    share: str


def choose_cells(model: BaseModelClass, strata: list[pd.Series | None], most: int, seed: int) -> CheckedCells:
    """Held-out cells and as many training cells, each sampled in the same share of every stratum.

    Parameters
    ----------
    model
        Fitted, with the positions of its training, validation and test cells.
    strata
        Categoricals of all cells; ``None`` ones are ignored.
    most
        Of the held-out cells.
    seed
        Of the samples.

    Raises
    ------
    InputError
        With fewer than 10 cells that the model was not trained on.
    """
    train, validation, test = (
        np.sort(np.asarray([] if share is None else share, dtype=np.int64))
        for share in (model.train_indices, model.validation_indices, model.test_indices)
    )
    enough = len(test) >= FEWEST_TEST_CELLS
    held_out = test if enough else np.sort(np.concatenate([test, validation]))
    if len(held_out) < FEWEST_CELLS or len(train) < FEWEST_CELLS:
        raise InputError(
            f"predictive checks need {FEWEST_CELLS} training cells and {FEWEST_CELLS} others, but the model was "
            f"trained on {len(train)} and leaves {len(held_out)}; lower training.train_size or bring more cells"
        )
    chosen = _sampled(held_out, strata, most, seed)
    return CheckedCells(
        held_out=chosen,
        training=_sampled(train, strata, len(chosen), seed),
        fitted=train,
        share="test" if enough else "test and validation",
    )


def sampled_cells(cells: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of the positions, in their order."""
    if len(cells) <= most:
        return cells
    return np.sort(np.random.default_rng(seed).choice(cells, most, replace=False))


def _sampled(cells: np.ndarray, strata: list[Any], most: int, seed: int) -> np.ndarray:
    own = [None if column is None else column.iloc[cells] for column in strata]
    return cells[stratified_sample(own, len(cells), most, seed)]
