"""The champion by the rule stated in the configuration."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.errors import InputError, closest
from scvi_downstream.parameters import ChampionRule

from .leaderboard import LOWER_IS_BETTER

_SAW_LABELS = ("SCANVI",)
_JUDGED_BY_LABELS = ("scib_total", "scib_bio_conservation")


def crown(leaderboard: pd.DataFrame, rule: ChampionRule, baselines: tuple[str, ...]) -> dict[str, Any]:
    """The best model by the first criterion that any model has; near ties go to the tie-breaker.

    Baselines cannot be champion, since nothing can be registered or decoded from them; when one is better,
    the reason says so.

    Parameters
    ----------
    leaderboard
        Rows by model, columns by metric.
    rule
        Criteria, tolerance and tie-breaker.
    baselines
        Rows that are not models.

    Returns
    -------
    ``model``, ``criterion``, ``value``, ``reason``, ``runner_up``, ``rule``, ``better_baseline``; ``model`` is ``None``
    when no model has any of the criteria.

    Raises
    ------
    InputError
        When a criterion or the tie-breaker is no numeric column that the leaderboard could have.
    """
    _check_names(leaderboard, rule)
    models = leaderboard[~leaderboard.index.isin(baselines)]
    criterion = next((name for name in rule.criteria if _decides(models, name, rule)), None)
    text = (
        f"the first of {', '.join(rule.criteria)} that exists; models within {rule.within:g} of the best tie "
        f"and the lowest {rule.tie_breaker} wins; baselines cannot be champion"
        + ("" if rule.trained_on_labels else ", nor can models by labels that they were trained on")
    )
    if criterion is None:
        reason = f"no model has any of {', '.join(rule.criteria)}"
        return {
            "model": None,
            "criterion": None,
            "value": None,
            "reason": reason,
            "runner_up": None,
            "rule": text,
            "better_baseline": None,
        }
    sign = -1.0 if criterion in LOWER_IS_BETTER else 1.0
    unfair = _judged_by_own_labels(models, criterion, rule)
    values = sign * models[criterion].drop(unfair).dropna()
    tied = values[values >= values.max() - rule.within]
    ranks = models.loc[tied.index].assign(_value=-tied)
    by = [column for column in (rule.tie_breaker,) if column in ranks]
    champion = str(ranks.sort_values([*by, "_value"], kind="stable", na_position="last").index[0])
    others = values.drop(champion)
    runner_up = str(others.idxmax()) if len(others) else None
    beaten_by = _better_baseline(leaderboard, baselines, criterion, sign, values[champion])
    return {
        "model": champion,
        "criterion": criterion,
        "value": float(models.loc[champion, criterion]),
        "reason": _reason(leaderboard, champion, criterion, tied, runner_up, beaten_by, rule, unfair),
        "runner_up": runner_up,
        "rule": text,
        "better_baseline": beaten_by,
    }


def _judged_by_own_labels(models: pd.DataFrame, criterion: str, rule: ChampionRule) -> list[str]:
    if rule.trained_on_labels or criterion not in _JUDGED_BY_LABELS or "family" not in models:
        return []
    return [str(name) for name in models.index[models["family"].isin(_SAW_LABELS)]]


def _decides(models: pd.DataFrame, criterion: str, rule: ChampionRule) -> bool:
    if criterion not in models:
        return False
    unfair = _judged_by_own_labels(models, criterion, rule)
    return bool(models[criterion].drop(unfair).notna().any())


def _check_names(leaderboard: pd.DataFrame, rule: ChampionRule) -> None:
    from .leaderboard import AGGREGATES, BATCH_CORRECTION, BIO_CONSERVATION, CLUSTERS, COSTS, LIKELIHOOD

    known = {*AGGREGATES, *BIO_CONSERVATION, *BATCH_CORRECTION, *LIKELIHOOD, *CLUSTERS, *COSTS} - {"device"}
    known |= set(leaderboard.select_dtypes("number").columns)
    for option, names in (("criteria", rule.criteria), ("tie_breaker", (rule.tie_breaker,))):
        for name in names:
            if name not in known:
                raise InputError(
                    f"comparison.champion.{option}: '{name}' is no column of the leaderboard"
                    f"{closest(name, sorted(known))}"
                )


def _better_baseline(
    leaderboard: pd.DataFrame, baselines: tuple[str, ...], criterion: str, sign: float, value: float
) -> str | None:
    of_baselines = sign * leaderboard.loc[leaderboard.index.isin(baselines), criterion].dropna()
    better = of_baselines[of_baselines > value]
    return str(better.idxmax()) if len(better) else None


def _reason(
    leaderboard: pd.DataFrame,
    champion: str,
    criterion: str,
    tied: pd.Series,
    runner_up: str | None,
    beaten_by: str | None,
    rule: ChampionRule,
    unfair: list[str],
) -> str:
    def shown(model: str, column: str = criterion) -> str:
        return f"{leaderboard.loc[model, column]:,.4g}"

    if len(tied) > 1:
        names = " and ".join(str(name) for name in tied.index) if len(tied) == 2 else f"{len(tied)} models"
        reason = f"{names} lie within {rule.within:g} of the best {criterion}; "
        reason += f"{champion} has the lowest {rule.tie_breaker}"
        reason += f" ({shown(champion, rule.tie_breaker)})" if rule.tie_breaker in leaderboard else ""
    elif runner_up:
        reason = f"{champion} has the best {criterion} of the models "
        reason += f"({shown(champion)}; next {runner_up}, {shown(runner_up)})"
    else:
        reason = f"{champion} is the only model with {criterion} ({shown(champion)})"
    if beaten_by:
        reason += f". The baseline {beaten_by} is better ({shown(beaten_by)}): no model improves on it here"
    if criterion in _JUDGED_BY_LABELS and leaderboard.get("family", pd.Series()).get(champion) in _SAW_LABELS:
        reason += ". It was trained on the labels that it is judged by, so its bio conservation is too good"
    if unfair:
        names = ", ".join(f"{model} ({shown(model)})" for model in unfair)
        reason += f". Not considered, being trained on the labels that would judge it: {names}"
    return reason + "."
