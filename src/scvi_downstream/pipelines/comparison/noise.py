"""How much of a score, and of a difference between two models, is the noise of the cells that they were scored on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.scoring.criteria import direction, of_cells
from scvi_downstream.statistics.differences import TAILS, Difference, drawn_difference, mean_difference

_LIKELIHOODS = ("elbo_test", "elbo_validation", "marginal_ll_test")
# Enough that the mean gain of the chosen model is known to some 2 % of the noise, in milliseconds.
_N_SELECTIONS = 2000


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

    @classmethod
    def of_datasets(cls, tables: Mapping[str, Any]) -> Evidence:
        """The evidence among the datasets of a node, ``<name>__score_draws`` and ``<name>__cell_likelihood``."""
        return cls(draws=by_model(tables, "score_draws"), cells=by_model(tables, "cell_likelihood"))

    def paired(self, criterion: str, models: Sequence[str]) -> tuple[np.ndarray, bool] | None:
        """Values of the models on the same draws or cells, and whether they are of cells.

        ``(n_draws or n_cells, n_models)``; ``None`` when fewer than two are common to all.
        """
        share_and_column = of_cells(criterion)
        if share_and_column:
            share, column = share_and_column
            columns = [cell_values(self.cells.get(name), (share,), column) for name in models]
        elif all(criterion in self.draws.get(name, ()) for name in models):
            columns = [self.draws[name][criterion].astype(float) for name in models]
        else:
            return None
        values = pd.concat(columns, axis="columns", join="inner").to_numpy(dtype=float)
        values = values[np.isfinite(values).all(axis=1)]
        return (values, share_and_column is not None) if len(values) > 1 else None


def by_model(datasets: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """``{"scvi__scores": record}`` of kind ``scores`` → ``{"scvi": record}``."""
    parted = (argument.rpartition("__") for argument in datasets)
    return {name: datasets[f"{name}__{kind}"] for name, _, found in parted if found == kind}


def cell_values(table: pd.DataFrame | None, shares: Collection[str], column: str) -> pd.Series:
    """Finite values of one column in some shares, by cell; none without a table."""
    if table is None or table.empty or column not in table:
        return pd.Series(dtype=float)
    values = table.loc[table["share"].isin(shares), column].astype(float)
    return values[np.isfinite(values)]


def paired_difference(
    board: pd.DataFrame, criterion: str, better: str, other: str, evidence: Evidence
) -> Difference | None:
    """By how much row ``better`` of the board is better than ``other``; ``None`` where the noise is not known.

    Means over cells are compared cell by cell (t interval). For scib metrics the draws' differences give the standard
    error and the percentile interval about the difference on the board.
    """
    found = evidence.paired(criterion, (better, other))
    if found is None:
        return None
    values, of_single_cells = found
    differences = direction(criterion) * (values[:, 0] - values[:, 1])
    if of_single_cells:
        return mean_difference(differences)
    value = float(direction(criterion) * (board.loc[better, criterion] - board.loc[other, criterion]))
    return drawn_difference(value, differences)


def selection_optimism(
    board: pd.DataFrame, criterion: str, models: Sequence[str], evidence: Evidence
) -> float | None:
    """By how much the best of several scores is expected to be too good, as the same cells chose it.

    The scores of the ``models`` are drawn again with the noise of the cells, the best by the criterion is chosen each
    time, and its gain over its own score is averaged.

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


def score_intervals(board: pd.DataFrame, draws: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Percentile intervals of every metric that was drawn: ``<metric>_low`` and ``<metric>_high``, NaN without draws.

    ``draws`` are by row of the board, bootstrap draws × metrics. Efron (1979), doi:10.1214/aos/1176344552.
    """
    intervals = pd.DataFrame(index=board.index)
    for metric in board:
        for name in board.index[[metric in draws.get(name, ()) for name in board.index]]:
            values = draws[name][metric].to_numpy(dtype=float)
            values = values[np.isfinite(values)]
            if len(values) > 1:
                intervals.loc[name, [f"{metric}_low", f"{metric}_high"]] = np.quantile(values, TAILS)
    return intervals


def likelihood_intervals(board: pd.DataFrame, cells: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean ± t × standard error over the cells of a share: ``<criterion>_low`` and ``_high`` of mean likelihoods.

    ``cells`` are by row of the board, cells × ``share, elbo, reconstruction_error, marginal_ll``.
    """
    intervals = pd.DataFrame(index=board.index)
    for criterion in _LIKELIHOODS:
        share_and_column = of_cells(criterion)
        if criterion not in board or share_and_column is None:
            continue
        share, column = share_and_column
        for name in board.index[np.isfinite(board[criterion]) & board.index.isin(cells)]:
            values = cell_values(cells[name], (share,), column).to_numpy()
            if len(values) > 1:
                mean = mean_difference(values)
                intervals.loc[name, [f"{criterion}_low", f"{criterion}_high"]] = mean.low, mean.high
    return intervals
