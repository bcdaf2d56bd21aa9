"""How much of a difference between two models is the noise of the cells that they were scored on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.comparison.options import ChampionRule
from scvi_downstream.scoring.criteria import JUDGED_BY_LABELS, SAW_LABELS, direction, of_cells

LEVEL = 0.95
_LIKELIHOODS = ("elbo_test", "elbo_validation", "marginal_ll_test")


def score_intervals(board: pd.DataFrame, draws: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Percentile intervals of every metric that was drawn.

    Parameters
    ----------
    board
        One row a model or baseline.
    draws
        By row: bootstrap draws × metrics.

    Returns
    -------
    ``<metric>_low`` and ``<metric>_high``, one row a row of the board; NaN without draws.

    References
    ----------
    Efron (1979), doi:10.1214/aos/1176344552.
    """
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    ends: dict[str, dict[str, float]] = {}
    for name, table in draws.items():
        for metric in table.columns if name in board.index else ():
            values = table[metric].to_numpy(dtype=float)
            values = values[np.isfinite(values)]
            if metric not in board or len(values) < 2:
                continue
            low, high = np.quantile(values, tails)
            ends.setdefault(f"{metric}_low", {})[name] = float(low)
            ends.setdefault(f"{metric}_high", {})[name] = float(high)
    ordered = [f"{metric}_{end}" for metric in board for end in ("low", "high")]
    return _table({name: ends[name] for name in ordered if name in ends}, board)


def likelihood_intervals(board: pd.DataFrame, cells: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean ± t × standard error over the cells of a share.

    Parameters
    ----------
    board
        One row a model or baseline.
    cells
        By row: cells × ``share, elbo, reconstruction_error, marginal_ll``.

    Returns
    -------
    ``<criterion>_low`` and ``<criterion>_high`` of ``elbo_test``, ``elbo_validation`` and ``marginal_ll_test``.
    """
    from scipy.stats import t

    ends: dict[str, dict[str, float]] = {}
    for criterion in _LIKELIHOODS:
        share_and_column = of_cells(criterion)
        if criterion not in board or share_and_column is None:
            continue
        for name, table in cells.items():
            if name not in board.index:
                continue
            values = cell_values(table, *share_and_column).to_numpy()
            if len(values) < 2 or not np.isfinite(board.loc[name, criterion]):
                continue
            standard_error = values.std(ddof=1) / np.sqrt(len(values))
            reach = float(t.ppf((1 + LEVEL) / 2, len(values) - 1) * standard_error)
            ends.setdefault(f"{criterion}_low", {})[name] = float(values.mean()) - reach
            ends.setdefault(f"{criterion}_high", {})[name] = float(values.mean()) + reach
    return _table(ends, board)


def cell_values(table: pd.DataFrame, share: str, column: str) -> pd.Series:
    """Finite values of one column in one share, by cell."""
    if table.empty or column not in table:
        return pd.Series(dtype=float)
    values = table.loc[table["share"] == share, column].astype(float)
    return values[np.isfinite(values)]


def _table(columns: Mapping[str, Mapping[str, float]], board: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {name: [values.get(row, np.nan) for row in board.index] for name, values in columns.items()},
        index=board.index,
        dtype=float,
    )


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


@dataclass(frozen=True)
class Contest:
    """How one criterion decided.

    Attributes
    ----------
    criterion
        Column of the board.
    values
        Of the models that were judged, more is better, the best first.
    differences
        From the best to each other model; ``None`` where the noise is not known.
    tied
        Models that cannot be told from the best, which comes first.
    champion
        The most economical of these.
    decided_by
        Column in which the champion is more economical than the best; ``None`` when it is the best.
    unfair
        Models not judged, as they were trained on the labels that would judge them.
    """

    criterion: str
    values: pd.Series
    differences: Mapping[str, Difference | None]
    tied: tuple[str, ...]
    champion: str
    decided_by: str | None
    unfair: tuple[str, ...]

    @property
    def best(self) -> str:
        """The model with the best value."""
        return self.tied[0]


def hold(models: pd.DataFrame, criterion: str, rule: ChampionRule, evidence: Evidence) -> Contest:
    """Let a criterion that :func:`decides` choose among the models.

    Parameters
    ----------
    models
        Rows by model, without baselines.
    criterion
        Column to judge by.
    rule
        Noise, tolerance and tie-breakers: the lowest wins, NaN last; then the better value, then the name.
    evidence
        Bootstrap draws and per-cell likelihoods.
    """
    unfair = judged_by_own_labels(models, criterion, rule)
    values = direction(criterion) * models.sort_index()[criterion].drop(unfair).dropna()
    values = values.sort_values(ascending=False, kind="stable")
    best = str(values.index[0])
    differences = {
        str(name): paired_difference(models, criterion, best, str(name), evidence)
        for name in values.index[1:]
    }
    tied = (best, *(name for name in differences if _ties(values, name, differences[name], rule)))
    breakers = [column for column in rule.tie_breakers if column in models]

    def economy(name: str) -> tuple[tuple[bool, float], ...]:
        costs = [float(models.loc[name, column]) for column in breakers]
        return tuple((math.isnan(cost), 0.0 if math.isnan(cost) else cost) for cost in costs)

    champion = min(tied, key=economy)  # of equals the first, which has the better value
    decided_by = next(
        (
            column
            for column, own, of_best in zip(breakers, economy(champion), economy(best), strict=True)
            if own != of_best
        ),
        None,
    )
    return Contest(criterion, values, differences, tied, champion, decided_by, tuple(unfair))


def decides(models: pd.DataFrame, criterion: str, rule: ChampionRule) -> bool:
    """Whether any model may be judged by a criterion."""
    if criterion not in models:
        return False
    return bool(models[criterion].drop(judged_by_own_labels(models, criterion, rule)).notna().any())


def deciding_criterion(models: pd.DataFrame, rule: ChampionRule) -> str | None:
    """The first criterion of the rule by which any model may be judged."""
    return next((name for name in rule.criteria if decides(models, name, rule)), None)


def judged_by_own_labels(models: pd.DataFrame, criterion: str, rule: ChampionRule) -> list[str]:
    """Models that a criterion would judge by labels that they were trained on."""
    if rule.trained_on_labels or criterion not in JUDGED_BY_LABELS or "family" not in models:
        return []
    return [str(name) for name in models.index[models["family"].isin(SAW_LABELS)]]


def _ties(values: pd.Series, name: str, difference: Difference | None, rule: ChampionRule) -> bool:
    if values[name] >= values.iloc[0] - rule.within:
        return True
    return difference is not None and difference.is_noise(rule.noise)
