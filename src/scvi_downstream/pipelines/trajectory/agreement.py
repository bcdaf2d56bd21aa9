"""Whether orderings of cells agree, with each other and with known time."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

MIN_CELLS = 10
CONFIDENCE = 0.95
COLUMNS = ["first", "second", "spearman", "low", "high", "n", "orientation"]


def rank_agreement(pseudotimes: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of every pair of orderings.

    Parameters
    ----------
    pseudotimes
        ``n_cells`` rows, a column an ordering; NaN where a cell has no place in it.

    Returns
    -------
    One row a pair: ``first``, ``second``, ``spearman``, ``low``, ``high`` (95 %), ``n`` cells that both order,
    ``orientation``: ``same``, ``opposite`` (one runs backwards: the start may be at the wrong end), ``unrelated``
    where the interval holds 0, ``unknown`` with fewer than 10 cells or a constant ordering. Intervals take cells
    as independent, which those of one neighbourhood are not: they are too narrow rather than too wide.

    References
    ----------
    Variance of the interval: Bonett & Wright (2000), doi:10.1007/BF02294183.
    """
    rows = [
        {"first": str(first), "second": str(second)}
        | correlate_ranks(pseudotimes[first].to_numpy(float), pseudotimes[second].to_numpy(float))
        for first, second in combinations(pseudotimes.columns, 2)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def agreement_matrix(agreement: pd.DataFrame, names: list[str] | None = None) -> pd.DataFrame:
    """Symmetric matrix of ``spearman`` with ones on the diagonal.

    Parameters
    ----------
    agreement
        Of :func:`rank_agreement`.
    names
        Orderings, in the order wanted; ``None``: as they come.
    """
    if names is None:
        names = list(dict.fromkeys([*agreement["first"], *agreement["second"]]))
    upper = agreement.pivot_table(index="first", columns="second", values="spearman", dropna=False)
    upper = upper.reindex(index=names, columns=names)
    return (
        upper.fillna(upper.T)
        .where(~np.eye(len(names), dtype=bool), 1.0)
        .rename_axis(index=None, columns=None)
    )


def correlate_ranks(first: np.ndarray, second: np.ndarray) -> dict[str, object]:
    """Spearman's correlation over the cells that both order; a row of :func:`rank_agreement`."""
    from scipy import stats

    both = np.isfinite(first) & np.isfinite(second)
    n = int(both.sum())
    first, second = first[both], second[both]
    if n < MIN_CELLS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return dict.fromkeys(("spearman", "low", "high"), np.nan) | {"n": n, "orientation": "unknown"}
    rho = float(stats.spearmanr(first, second).statistic)
    reach = stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    middle = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    low, high = np.tanh(middle - reach), np.tanh(middle + reach)
    orientation = "same" if low > 0 else "opposite" if high < 0 else "unrelated"
    return {"spearman": rho, "low": float(low), "high": float(high), "n": n, "orientation": orientation}
