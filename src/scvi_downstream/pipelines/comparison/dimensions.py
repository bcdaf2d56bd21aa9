"""How many latent dimensions do the data call for?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from scvi_downstream.parameters import ComparisonOptions
from scvi_downstream.plots.dimensions import plot_dimensions

from .dimension_advice import Advice, advice_sentences, advise
from .dimension_grids import Grid, find_grids
from .dimension_likelihood import CRITERION, HELD_OUT, HeldOut, held_out_likelihood

__all__ = ["plot_dimensions", "recommend_dimensions"]

logger = logging.getLogger(__name__)
_TOTAL = "scib_total"


def recommend_dimensions(
    leaderboard: pd.DataFrame,
    models: Mapping[str, Mapping[str, Any]],
    options: ComparisonOptions,
    **cell_likelihoods: pd.DataFrame,
) -> dict[str, Any]:
    """The smallest ``n_latent`` whose held-out ELBO noise cannot tell from the best, for each model that was varied.

    On counts with 3, 5 or 8 planted dimensions this found the number; the ELBO falls again beyond it, while the number
    of active dimensions of a large model does not stop there (``benchmarks/planted_dimensions.py``).

    Parameters
    ----------
    leaderboard
        One row a model or baseline.
    models
        Complete options by model; models that differ in ``n_latent`` and ``seed`` alone are compared.
    options
        ``champion.noise``: what counts as noise.
    **cell_likelihoods
        ``<name>__cell_likelihood``: cells × ``share, elbo, …``.

    Returns
    -------
    ``grids``: for each model ``title``, ``family``, ``grid``, ``recommended``, ``best``, ``within_noise``,
    ``differences`` (one record a number of dimensions), ``at_edge``, ``extend``, ``criterion``, ``shares`` and
    ``n_cells``; ``recommended`` by model; ``reason`` when there is nothing to answer, else ``None``; ``sentences``.

    References
    ----------
    Breiman, Friedman, Stone & Olshen (1984), Classification and Regression Trees, section 3.4.3.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    tables = {argument.rpartition("__")[0]: table for argument, table in cell_likelihoods.items()}
    answers, sentences = [], []
    found = find_grids(board.index, models)
    for grid in found:
        held_out = held_out_likelihood(grid, tables)
        if held_out is None:
            logger.info("%s: no held-out likelihood to compare numbers of latent dimensions by", grid.title)
            continue
        advice = advise(held_out, options.champion.noise)
        answers.append(_record(grid, held_out, advice, board))
        sentences += advice_sentences(grid, held_out, advice)
    reason = None
    if not answers:
        reason = (
            "No held-out likelihood of models that differ in n_latent alone."
            if found
            else "No model was trained with several n_latent; e.g. sweep: {scvi: {n_latent: [5, 10, 20, 30]}} asks how "
            "many latent dimensions the data call for."
        )
    logger.info("latent dimensions: %s", sentences[0] if sentences else reason)
    return {
        "recommended": {answer["title"]: answer["recommended"] for answer in answers},
        "grids": answers,
        "reason": reason,
        "sentences": sentences,
    }


def _record(grid: Grid, held_out: HeldOut, advice: Advice, board: pd.DataFrame) -> dict[str, Any]:
    return {
        "title": grid.title,
        "family": grid.family,
        "grid": list(advice.behind),
        "recommended": advice.recommended,
        "best": advice.best,
        "within_noise": list(advice.within_noise),
        "differences": [
            {
                "n_latent": value,
                "models": list(grid.models[value]),
                "trainings": held_out.trainings[value],
                "elbo": float(held_out.means[value]),
                "behind_best": asdict(behind),
                "within_noise": value in advice.within_noise,
                _TOTAL: _mean_total(board, grid.models[value]),
            }
            for value, behind in advice.behind.items()
        ],
        "at_edge": advice.at_edge,
        "extend": list(advice.extend),
        "criterion": CRITERION,
        "shares": list(HELD_OUT),
        "n_cells": len(held_out.by_cell),
    }


def _mean_total(board: pd.DataFrame, names: tuple[str, ...]) -> float | None:
    if _TOTAL not in board:
        return None
    total = board.loc[list(names), _TOTAL].astype(float).mean()
    return float(total) if pd.notna(total) else None
