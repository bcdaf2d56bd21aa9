"""Ranks of the models by each criterion."""

from __future__ import annotations

import pandas as pd

from scvi_downstream.criteria import QUALITIES, RANKED, direction


def rank_models(board: pd.DataFrame) -> pd.DataFrame:
    """1 for the best by each criterion; equal values share their mean rank, as in Friedman's test.

    Parameters
    ----------
    board
        One row a model or baseline.

    Returns
    -------
    ``rank_<criterion>`` for each criterion that the board holds, NaN where a row lacks it, and ``mean_rank`` over
    bio conservation, batch correction and held-out likelihoods. A row without one of these that others have gets no
    mean: ranks by different criteria among different rows cannot be compared.

    References
    ----------
    Friedman (1937), doi:10.1080/01621459.1937.10503522.
    """
    ranks = pd.DataFrame(
        {
            f"rank_{criterion}": (board[criterion] * -direction(criterion)).rank(method="average")
            for criterion in RANKED
            if criterion in board and board[criterion].notna().any()
        },
        index=board.index,
    )
    qualities = [name for name in (f"rank_{criterion}" for criterion in QUALITIES) if name in ranks]
    if qualities:
        ranks["mean_rank"] = ranks[qualities].mean(axis="columns", skipna=False)
    return ranks
