"""Held-out likelihood by number of latent dimensions, and how sure its differences are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .dimension_grids import Grid
from .noise import Difference

# No weight was fitted to cells of these shares; the validation cells have chosen the epoch that is kept of each model.
HELD_OUT = ("validation", "test")
CRITERION = "elbo"
# Standard deviation of the mean held-out ELBO between trainings with other seeds, as a share of its size, and the
# number of trainings that this prior knowledge is worth. On simulated counts (benchmarks/planted_dimensions.py) it was
# 0.0014 with at least as many dimensions as planted, and 0.004 with fewer.
TRAINING_NOISE = 0.0014
_PRIOR_TRAININGS = 2
_FEWEST_CELLS = 10
_NORMAL_975 = 1.96


@dataclass(frozen=True)
class HeldOut:
    """Held-out ELBO of one grid.

    Attributes
    ----------
    by_cell
        Cells × numbers of dimensions, nats, averaged over seeds.
    trainings
        Seeds by number of dimensions.
    training_sd
        Standard deviation of the mean between trainings with other seeds, by number of dimensions, nats per cell.
    """

    by_cell: pd.DataFrame
    trainings: dict[int, int]
    training_sd: dict[int, float]

    @property
    def means(self) -> pd.Series:
        """Nats per cell by number of dimensions."""
        return self.by_cell.mean()

    def behind(self, n_latent: int, best: int) -> Difference:
        """By how much a number of dimensions falls short of another, nats per cell.

        The noise is that of the cells, which are the same for both, and that of the trainings, whose seeds are not.
        """
        if n_latent == best:
            return Difference(0.0, 0.0, 0.0, 0.0)
        differences = (self.by_cell[best] - self.by_cell[n_latent]).to_numpy()
        of_cells = differences.var(ddof=1) / len(differences)
        of_trainings = sum(self.training_sd[value] ** 2 / self.trainings[value] for value in (n_latent, best))
        value, error = float(differences.mean()), float(np.sqrt(of_cells + of_trainings))
        return Difference(value, error, value - _NORMAL_975 * error, value + _NORMAL_975 * error)


def held_out_likelihood(grid: Grid, tables: Mapping[str, pd.DataFrame]) -> HeldOut | None:
    """ELBO of the cells that were held out of every model of a grid.

    The spread between trainings is moderated: the variance of the seeds that there are is averaged with
    prior knowledge, so that a single training is not taken for exact.

    Parameters
    ----------
    grid
        Models by number of dimensions.
    tables
        By model: cells × ``share, elbo``; models without one are left out.

    Returns
    -------
    ``None`` when fewer than two numbers of dimensions, or ten cells, can be compared.

    References
    ----------
    Smyth (2004), doi:10.2202/1544-6115.1027, for the moderated variance.
    """
    columns = {
        (value, name): values
        for value, names in grid.models.items()
        for name in names
        if len(values := _held_out_values(tables.get(name))) > 0
    }
    if len({value for value, _ in columns}) < 2:
        return None
    by_model = pd.concat(columns, axis="columns", join="inner").dropna()
    if len(by_model) < _FEWEST_CELLS:
        return None
    by_cell = by_model.T.groupby(level=0).mean().T
    means = by_model.mean().groupby(level=0)
    trainings = {int(value): int(count) for value, count in means.size().items()}
    prior = (TRAINING_NOISE * by_cell.mean()) ** 2
    squares = means.apply(lambda seeds: float(((seeds - seeds.mean()) ** 2).sum()))
    sd = {
        value: float(np.sqrt((_PRIOR_TRAININGS * prior[value] + squares[value]) / (_PRIOR_TRAININGS + n - 1)))
        for value, n in trainings.items()
    }
    return HeldOut(by_cell=by_cell, trainings=trainings, training_sd=sd)


def _held_out_values(table: pd.DataFrame | None) -> pd.Series:
    if table is None or table.empty or CRITERION not in table:
        return pd.Series(dtype=float)
    values = table.loc[table["share"].isin(HELD_OUT), CRITERION].astype(float)
    return values[np.isfinite(values)]
