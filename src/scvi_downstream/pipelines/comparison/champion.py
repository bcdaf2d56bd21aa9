"""The champion by the rule stated in the configuration."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.comparison.noise import (
    Contest,
    Evidence,
    decides,
    deciding_criterion,
    hold,
    selection_optimism,
)
from scvi_downstream.pipelines.comparison.options import ChampionRule
from scvi_downstream.pipelines.comparison.report import (
    explain_choice,
    name_other_choices,
    no_choice,
    state_rule,
    warn_of_selection,
)
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.scoring.criteria import (
    AGGREGATES,
    BATCH_CORRECTION,
    BIO_CONSERVATION,
    CLUSTERS,
    COSTS,
    LIKELIHOOD,
    direction,
)

_FURTHER_NAMES = ("n_latent", "mean_rank")
_OTHER_CRITERIA = (("scib_total", "scib_bio_conservation"), ("elbo_test",), ("marginal_ll_test",))


def crown(
    leaderboard: pd.DataFrame,
    rule: ChampionRule,
    baselines: Collection[str],
    evidence: Evidence | None = None,
) -> dict[str, Any]:
    """The most economical of the models that cannot be told from the best by the first criterion there is.

    Baselines cannot be champion, since nothing can be registered or decoded from them; when one is better,
    the reason says so.

    Parameters
    ----------
    leaderboard
        Rows by model, columns by metric.
    rule
        Criteria, noise, tolerance and tie-breakers.
    baselines
        Rows that are not models.
    evidence
        Bootstrap draws and per-cell likelihoods; without them only equal values, or those within the tolerance, tie.

    Returns
    -------
    ``model``, ``criterion``, ``value``, ``reason``, ``runner_up``, ``rule``, ``better_baseline``, ``within_noise`` (the
    other models that tie, the best first) and ``sentences``; ``model`` is ``None`` when no model has any of the
    criteria.

    Raises
    ------
    InputError
        When a criterion or a tie-breaker is no numeric column that the leaderboard could have.
    """
    _check_names(leaderboard, rule)
    evidence = evidence or Evidence()
    board = leaderboard.sort_index()
    models = board[~board.index.isin(baselines)]
    criterion = deciding_criterion(models, rule)
    if criterion is None:
        reason = no_choice(models, rule)
        chosen: dict[str, Any] = dict.fromkeys(
            ("model", "criterion", "value", "runner_up", "better_baseline")
        )
        return {
            **chosen,
            "reason": reason,
            "rule": state_rule(rule),
            "within_noise": [],
            "sentences": [reason],
        }
    contest = hold(models, criterion, rule, evidence)
    beaten_by = _better_baseline(board, baselines, contest)
    reason = explain_choice(contest, board, rule, evidence, beaten_by)
    sentences = [
        reason,
        name_other_choices(
            contest, [hold(models, name, rule, evidence) for name in _others(models, contest, rule)]
        ),
        warn_of_selection(
            contest, selection_optimism(models, criterion, list(contest.values.index), evidence)
        ),
    ]
    return {
        "model": contest.champion,
        "criterion": criterion,
        "value": float(models.loc[contest.champion, criterion]),
        "reason": reason,
        "runner_up": next((str(name) for name in contest.values.index if name != contest.champion), None),
        "rule": state_rule(rule),
        "better_baseline": beaten_by,
        "within_noise": [name for name in contest.tied if name != contest.champion],
        "sentences": [text for text in sentences if text],
    }


def _others(models: pd.DataFrame, contest: Contest, rule: ChampionRule) -> list[str]:
    """The other kinds of criterion, one a kind: scib scores, held-out ELBO, held-out marginal likelihood."""
    others = []
    for kind in _OTHER_CRITERIA:
        found = next((name for name in kind if decides(models, name, rule)), None)
        if found and contest.criterion not in kind:
            others.append(found)
    return others


def _better_baseline(board: pd.DataFrame, baselines: Collection[str], contest: Contest) -> str | None:
    values = board.loc[board.index.isin(baselines), contest.criterion].dropna() * direction(contest.criterion)
    better = values[values > contest.values[contest.champion]]
    return str(better.idxmax()) if len(better) else None


def _check_names(leaderboard: pd.DataFrame, rule: ChampionRule) -> None:
    known = {
        *AGGREGATES, *BIO_CONSERVATION, *BATCH_CORRECTION, *LIKELIHOOD, *CLUSTERS, *COSTS, *_FURTHER_NAMES,
    } - {"device"}  # fmt: skip
    known |= set(leaderboard.select_dtypes(np.number).columns)
    for option, names in (("criteria", rule.criteria), ("tie_breakers", rule.tie_breakers)):
        for name in names:
            if name not in known:
                raise InputError(
                    f"comparison.champion.{option}: '{name}' is no column of the leaderboard"
                    f"{closest(name, sorted(known))}"
                )
