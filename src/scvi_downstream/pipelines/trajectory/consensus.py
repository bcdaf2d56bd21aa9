"""One order out of several."""

from __future__ import annotations

import numpy as np
import pandas as pd


def consensus_pseudotime(pseudotimes: pd.DataFrame) -> pd.Series:
    """Mean rank of each cell over the orderings that place it (Borda's count).

    Pseudotimes of different methods have no common unit; ranks have. Errors that methods do not share average out,
    those that they share stay.

    Parameters
    ----------
    pseudotimes
        ``n_cells`` rows, a column an ordering; NaN where it does not place a cell.

    Returns
    -------
    ``(n_cells,)`` in [0, 1]: mean of the ranks, each scaled to [0, 1] among the cells that its ordering places; NaN for
    cells that fewer than half of the orderings place.

    References
    ----------
    Dwork et al. (2001), doi:10.1145/371920.372165.
    """
    ranks = pseudotimes.rank()
    scaled = (ranks - 1) / (ranks.max() - 1).where(lambda most: most > 0)
    placed = scaled.notna().sum(axis=1)
    mean = scaled.mean(axis=1)
    return mean.where(placed >= np.ceil(pseudotimes.shape[1] / 2)).rename("pseudotime")
