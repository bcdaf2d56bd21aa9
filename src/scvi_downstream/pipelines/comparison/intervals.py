"""95 % intervals of scores: over bootstrap draws of the cells, or from the scores of single cells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scvi_downstream.criteria import of_cells

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
