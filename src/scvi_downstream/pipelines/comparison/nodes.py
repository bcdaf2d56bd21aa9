"""All records of the study on one board, and its champion."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scvi_downstream.pipelines.comparison.champion import crown
from scvi_downstream.pipelines.comparison.leaderboard import complete_board, tabulate_scores
from scvi_downstream.pipelines.comparison.noise import Evidence
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.comparison.plots import plot_leaderboard, plot_pareto

__all__ = ["build_leaderboard", "choose_champion", "plot_leaderboard", "plot_pareto"]

logger = logging.getLogger(__name__)


def build_leaderboard(
    options: ComparisonOptions, models: Mapping[str, Mapping[str, Any]] | None = None, **records: Any
) -> pd.DataFrame:
    """One row a model, trial or baseline, the best first, with NaN where a metric does not exist.

    Parameters
    ----------
    options
        ``champion.criteria``: the first that exists is the quality of the Pareto front; ``baselines``: rows that are
        no models.
    models
        Complete options by model, for what differs between them.
    **records
        ``<name>__scores``: flat records, each with ``model``; ``<name>__score_draws``: bootstrap draws × scib metrics;
        ``<name>__cell_likelihood``: cells × ``share, elbo, reconstruction_error, marginal_ll``.

    Returns
    -------
    Indexed by ``model``: scores and costs, ``kind`` (model, trial or baseline), ``trial_of``, options that differ,
    ``rank_<criterion>``, ``mean_rank``, ``pareto``, ``behind_best`` (in pairs of the same cells or draws), intervals of
    95 % as ``<metric>_low`` and ``<metric>_high``, ``left_out`` and ``failed``; see :mod:`.leaderboard`.
    """
    by_kind = _by_kind(records)
    board = complete_board(
        tabulate_scores(list(by_kind["scores"].values())),
        evidence=_evidence(by_kind),
        models=models or {},
        baselines=_baselines(options),
        rule=options.champion,
    )
    if "failed" in board:
        for name, reason in board["failed"].dropna().items():
            logger.warning("%s failed and has no scores: %s", name, reason)
    return board


def choose_champion(
    leaderboard: pd.DataFrame,
    options: ComparisonOptions,
    dimensions: Mapping[str, Any] | None = None,
    correction: Mapping[str, Any] | None = None,
    **evidence: pd.DataFrame,
) -> dict[str, Any]:
    """The best model by the rule of the configuration, and why.

    Parameters
    ----------
    leaderboard
        One row a model or baseline.
    options
        ``champion``: criteria, noise, tolerance, tie-breakers; ``baselines``: rows that cannot win.
    dimensions, correction
        Further answers, whose first sentence is added to ``sentences``.
    **evidence
        ``<name>__score_draws`` and ``<name>__cell_likelihood``, as for :func:`build_leaderboard`.

    Returns
    -------
    See :func:`.champion.crown`.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    champion = crown(board, options.champion, _baselines(options), _evidence(_by_kind(evidence)))
    for answer in (dimensions, correction):
        champion["sentences"] += ((answer or {}).get("sentences") or [])[:1]
    logger.info("champion: %s", champion["reason"])
    return champion


def _by_kind(records: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``{"scvi__scores": record}`` → ``{"scores": {"scvi": record}}``."""
    by_kind: dict[str, dict[str, Any]] = {"scores": {}, "score_draws": {}, "cell_likelihood": {}}
    for argument, record in records.items():
        name, _, kind = argument.rpartition("__")
        by_kind[kind][name] = record
    return by_kind


def _evidence(by_kind: Mapping[str, dict[str, Any]]) -> Evidence:
    return Evidence(draws=by_kind["score_draws"], cells=by_kind["cell_likelihood"])


def _baselines(options: ComparisonOptions) -> frozenset[str]:
    """PCA is always among them: metrics and figures of every study compare with it."""
    return frozenset({"pca", *options.baselines})
