"""All records of the study on one board, and its champion."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from scvi_downstream.parameters import ComparisonOptions
from scvi_downstream.plots.leaderboard import plot_leaderboard

from .champion import crown
from .leaderboard import tabulate_scores

__all__ = ["build_leaderboard", "choose_champion", "plot_leaderboard"]

logger = logging.getLogger(__name__)


def build_leaderboard(*scores: dict[str, Any]) -> pd.DataFrame:
    """One row a model or baseline, the best first, with NaN where a metric does not exist.

    Parameters
    ----------
    *scores
        Flat records, each with ``model``.

    Returns
    -------
    Indexed by ``model``; see :func:`.leaderboard.tabulate_scores`.
    """
    return tabulate_scores(scores)


def choose_champion(leaderboard: pd.DataFrame, options: ComparisonOptions) -> dict[str, Any]:
    """The best model by the rule of the configuration, and why.

    Parameters
    ----------
    leaderboard
        One row a model or baseline.
    options
        ``champion``: criteria, tolerance, tie-breaker; ``baselines``: rows that cannot win.

    Returns
    -------
    See :func:`.champion.crown`.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    champion = crown(board, options.champion, options.baselines)
    logger.info("champion: %s", champion["reason"])
    return champion
