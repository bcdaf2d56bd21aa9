"""How one criterion chooses a model: the most economical of those that cannot be told from the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from scvi_downstream.pipelines.comparison.noise import Evidence, paired_difference
from scvi_downstream.pipelines.comparison.options import ChampionRule
from scvi_downstream.scoring.criteria import JUDGED_BY_LABELS, SAW_LABELS, direction
from scvi_downstream.statistics.differences import Difference


@dataclass(frozen=True)
class Contest:
    """How one criterion decided.

    Attributes
    ----------
    criterion
        Column of the board.
    values
        Of the models that were judged, more is better, the best first.
    differences
        From the best to each other model; ``None`` where the noise is not known.
    tied
        Models that cannot be told from the best, which comes first.
    champion
        The most economical of these.
    decided_by
        Column in which the champion is more economical than the best; ``None`` when it is the best.
    unfair
        Models not judged, as they were trained on the labels that would judge them.
    """

    criterion: str
    values: pd.Series
    differences: Mapping[str, Difference | None]
    tied: tuple[str, ...]
    champion: str
    decided_by: str | None
    unfair: tuple[str, ...]

    @property
    def best(self) -> str:
        """The model with the best value."""
        return self.tied[0]


def hold(models: pd.DataFrame, criterion: str, rule: ChampionRule, evidence: Evidence) -> Contest:
    """Let a criterion that :func:`decides` choose among the models.

    Parameters
    ----------
    models
        Rows by model, without baselines.
    criterion
        Column to judge by.
    rule
        Noise, tolerance and tie-breakers: the lowest wins, NaN last; then the better value, then the name.
    evidence
        Bootstrap draws and per-cell likelihoods.
    """
    unfair = _judged_by_own_labels(models, criterion, rule)
    values = direction(criterion) * models.sort_index()[criterion].drop(unfair).dropna()
    values = values.sort_values(ascending=False, kind="stable")
    best, *others = map(str, values.index)
    differences = {name: paired_difference(models, criterion, best, name, evidence) for name in others}

    def ties(name: str) -> bool:
        difference = differences[name]
        return values[name] >= values[best] - rule.within or (
            difference is not None and difference.is_noise(rule.noise)
        )

    tied = (best, *filter(ties, others))
    breakers = [column for column in rule.tie_breakers if column in models]

    def costs(name: str) -> list[float]:
        found = (float(models.loc[name, column]) for column in breakers)
        return [math.inf if math.isnan(cost) else cost for cost in found]

    champion = min(tied, key=costs)  # of equals the first, which has the better value
    compared = zip(breakers, costs(champion), costs(best), strict=True)
    decided_by = next((column for column, own, of_best in compared if own != of_best), None)
    return Contest(criterion, values, differences, tied, champion, decided_by, tuple(unfair))


def decides(models: pd.DataFrame, criterion: str, rule: ChampionRule) -> bool:
    """Whether any model may be judged by a criterion."""
    if criterion not in models:
        return False
    return bool(models[criterion].drop(_judged_by_own_labels(models, criterion, rule)).notna().any())


def deciding_criterion(models: pd.DataFrame, rule: ChampionRule) -> str | None:
    """The first criterion of the rule by which any model may be judged."""
    return next((name for name in rule.criteria if decides(models, name, rule)), None)


def _judged_by_own_labels(models: pd.DataFrame, criterion: str, rule: ChampionRule) -> list[str]:
    """Models that a criterion would judge by labels that they were trained on."""
    if rule.trained_on_labels or criterion not in JUDGED_BY_LABELS or "family" not in models:
        return []
    return [str(name) for name in models.index[models["family"].isin(SAW_LABELS)]]
