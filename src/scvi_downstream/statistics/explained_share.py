"""How much of a number's variance lies between groups."""

from __future__ import annotations

import numpy as np
import pandas as pd


def explained_share(values: np.ndarray, groups: pd.Series) -> float:
    """Share of the variance of ``values`` between ``groups``, eta squared; 0 for constant values.

    Parameters
    ----------
    values
        ``(n_cells,)`` finite numbers.
    groups
        ``(n_cells,)`` group of each.
    """
    centred = values - values.mean()
    total = float(np.square(centred).sum())
    if total == 0:
        return 0.0
    grouped = pd.Series(centred).groupby(groups.to_numpy(), observed=True)
    return float((grouped.size() * grouped.mean() ** 2).sum() / total)
