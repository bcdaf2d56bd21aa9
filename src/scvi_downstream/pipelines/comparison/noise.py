"""How much of a difference between two models is the noise of the cells that they were scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from scvi_downstream.criteria import direction, of_cells

from .intervals import LEVEL, cell_values

Noise = Literal["one_standard_error", "interval", "none"]
_N_SELECTIONS = 2000


@dataclass(frozen=True)
class Difference:
    """By how much one model is better than another, positive when it is; ``low`` to ``high`` holds 95 %."""

    value: float
    standard_error: float
    low: float
    high: float

    def is_noise(self, noise: Noise) -> bool:
        """Whether the difference cannot be told from none.

        ``one_standard_error`` is Breiman's rule on paired differences: of two equally good models it finds a
        difference in a third of cases, which is the price of seeing small ones. ``interval`` errs in 5 %.

        References
        ----------
        Breiman, Friedman, Stone & Olshen (1984), Classification and Regression Trees, section 3.4.3.
        """
        if noise == "none":
            return False
        return self.value <= self.standard_error if noise == "one_standard_error" else self.low <= 0


@dataclass(frozen=True)
class Evidence:
    """What is known of the noise, by model.

    Attributes
    ----------
    draws
        Bootstrap draws × scib metrics; one draw weights the cells alike for all models.
    cells
        Cells × ``share, elbo, reconstruction_error, marginal_ll``.
    """

    draws: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    cells: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def paired(self, criterion: str, models: Sequence[str]) -> tuple[np.ndarray, bool] | None:
        """Values of the models on the same draws or cells, and whether they are of cells.

        Returns
        -------
        ``(n_draws or n_cells, n_models)``; ``None`` when fewer than two are common to all.
        """
        share_and_column = of_cells(criterion)
        if share_and_column:
            columns = [
                cell_values(self.cells.get(name, pd.DataFrame()), *share_and_column) for name in models
            ]
        elif all(criterion in self.draws.get(name, ()) for name in models):
            columns = [self.draws[name][criterion].astype(float) for name in models]
        else:
            return None
        values = pd.concat(columns, axis="columns", join="inner").to_numpy(dtype=float)
        values = values[np.isfinite(values).all(axis=1)]
        return (values, share_and_column is not None) if len(values) > 1 else None


def paired_difference(
    board: pd.DataFrame, criterion: str, better: str, other: str, evidence: Evidence
) -> Difference | None:
    """By how much ``better`` is better than ``other``, with the noise of the cells.

    Means over cells are compared cell by cell (t interval). For scib metrics the draws' differences give the standard
    error and the percentile interval about the difference on the board.

    Parameters
    ----------
    board
        One row a model or baseline.
    criterion
        Column of the board.
    better, other
        Rows of the board.
    evidence
        Draws and per-cell likelihoods.

    Returns
    -------
    ``None`` where the noise is not known.
    """
    found = evidence.paired(criterion, (better, other))
    if found is None:
        return None
    values, of_single_cells = found
    differences = direction(criterion) * (values[:, 0] - values[:, 1])
    if of_single_cells:
        from scipy.stats import t

        mean = float(differences.mean())
        error = float(differences.std(ddof=1) / np.sqrt(len(differences)))
        reach = float(t.ppf((1 + LEVEL) / 2, len(differences) - 1)) * error
        return Difference(mean, error, mean - reach, mean + reach)
    value = float(direction(criterion) * (board.loc[better, criterion] - board.loc[other, criterion]))
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(value, float(differences.std(ddof=1)), float(low), float(high))


def selection_optimism(
    board: pd.DataFrame, criterion: str, models: Sequence[str], evidence: Evidence
) -> float | None:
    """By how much the best of several scores is expected to be too good, as the same cells chose it.

    The scores are drawn again with the noise of the cells, the best is chosen each time, and its gain over its own
    score is averaged.

    Parameters
    ----------
    board
        One row a model or baseline.
    criterion
        What chose.
    models
        Among which it chose.
    evidence
        Draws and per-cell likelihoods.

    Returns
    -------
    In the unit of the criterion, not negative; ``None`` where the noise of a model is not known.

    References
    ----------
    Tibshirani & Tibshirani (2009), doi:10.1214/08-AOAS224, for the same bias of a minimum over models.
    """
    models = sorted(models)
    found = evidence.paired(criterion, models) if len(models) > 1 else None
    if found is None:
        return None
    values, of_single_cells = found
    # What all models share moves no choice, and leaving it out leaves less chance in the mean below.
    noise = values - values.mean(axis=0)
    noise -= noise.mean(axis=1, keepdims=True)
    if of_single_cells:
        covariance = noise.T @ noise / (len(noise) - 1) / len(noise)
        rng = np.random.default_rng(0)
        noise = rng.multivariate_normal(np.zeros(len(models)), covariance, _N_SELECTIONS, method="eigh")
    noise = noise * direction(criterion)
    scores = board.loc[models, criterion].to_numpy(dtype=float) * direction(criterion)
    chosen = (scores + noise).argmax(axis=1)
    return max(float(noise[np.arange(len(noise)), chosen].mean()), 0.0)
