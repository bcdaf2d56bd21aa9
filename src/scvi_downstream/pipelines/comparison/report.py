"""The champion, in words with numbers, and the section of the report."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.specification import IDENTITY, TrainingOptions
from scvi_downstream.pipelines.comparison.champion import Contest, decides, deciding_criterion, hold
from scvi_downstream.pipelines.comparison.noise import Evidence, paired_difference, selection_optimism
from scvi_downstream.pipelines.comparison.options import BASELINES, ChampionRule, ComparisonOptions
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import OUTPUT, Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.words import listed, up_to
from scvi_downstream.scoring.criteria import (
    AGGREGATES,
    BATCH_CORRECTION,
    BIO_CONSERVATION,
    CLUSTERS,
    COSTS,
    JUDGED_BY_LABELS,
    LIKELIHOOD,
    SAW_LABELS,
    direction,
    of_cells,
    rows_by_model,
    unit,
)
from scvi_downstream.statistics.differences import Difference

logger = logging.getLogger(__name__)

_FIELDS = dict.fromkeys(option for family in FAMILIES.values() for option in family.model_fields)
_OPTIONS = tuple(option for option in _FIELDS if option not in IDENTITY)
_OF_TRAINING = tuple(f"training.{option}" for option in TrainingOptions.model_fields)
SECTION = Section(
    "Comparison",
    "All models and baselines on one board, by the same metrics on the same cells. In brackets stand 95 % intervals: "
    "how far a score would move with other cells of the same kind, not with another training.",
    (
        Item(
            dataset="leaderboard_figure",
            caption="Scores of all models and baselines.",
            data="leaderboard.csv",
        ),
        Item(
            dataset="pareto_figure",
            caption="What each model is worth against what it costs: nothing beats those on the front in both.",
        ),
        result(
            "leaderboard.csv",
            "Leaderboard. Behind the best: the difference in the criterion that chose the champion, on the "
            "same cells. Mean rank: of bio conservation, batch correction and likelihood.",
            folder="",
            columns=(
                *names("model family kind trial_of"),
                *_OPTIONS,
                *_OF_TRAINING,
                *names("scib_total scib_bio_conservation scib_batch_correction elbo_test marginal_ll_test"),
                *names("behind_best mean_rank pareto seconds peak_memory_mb epochs n_parameters"),
                *BIO_CONSERVATION,
                *BATCH_CORRECTION,
                *names("elbo_validation left_out failed"),
            ),
        ),
        result(
            "benchmarker.csv", "The board's scores by scib-metrics' own Benchmarker.", folder="", folded=True
        ),
        Item(dataset="benchmarker_figure", caption="The same, as the Benchmarker draws them.", folded=True),
        Item(dataset="dimensions_figure", caption="How many latent dimensions the held-out cells call for."),
        Item(
            dataset="correction_figure",
            caption="Whether batches call for correction, and what correcting did.",
        ),
        result("champion.json", "The champion, and why.", folder="", folded=True),
        Item(
            dataset="{primary}.integration",
            caption="Integration metrics of {primary}.",
            file=OUTPUT + "{model}/integration.json",
            folded=True,
        ),
    ),
)

_NUMBERS = {
    *AGGREGATES, *BIO_CONSERVATION, *BATCH_CORRECTION, *LIKELIHOOD, *CLUSTERS, *COSTS, "n_latent", "mean_rank",
} - {"device"}  # fmt: skip
"""Columns that a leaderboard could have, and that a champion could be chosen by."""
_KINDS_OF_CRITERIA = (("scib_total", "scib_bio_conservation"), ("elbo_test",), ("marginal_ll_test",))
# So many models that the best of them is too good even where it is not known by how much.
_MANY = 5
_MOST_NAMES = 4
# Below these, the optimism of a choice is not worth a sentence: nats per cell, and shares.
_LEAST_OPTIMISM = {True: 0.05, False: 0.0005}
_ECONOMIES = {
    "n_latent": "is smaller ({own:,.0f} dimensions against {best:,.0f})",
    "n_parameters": "has fewer parameters ({own:,.0f} against {best:,.0f})",
    "seconds": "took less time to train ({own:,.3g} s against {best:,.3g} s)",
    "peak_memory_mb": "took less memory ({own:,.0f} MB against {best:,.0f} MB)",
}


def choose_champion(
    leaderboard: pd.DataFrame,
    options: ComparisonOptions,
    dimensions: Mapping[str, Any] | None = None,
    correction: Mapping[str, Any] | None = None,
    **evidence: pd.DataFrame,
) -> dict[str, Any]:
    """The most economical of the models that cannot be told from the best by the first criterion there is.

    Baselines cannot be champion, since nothing can be registered or decoded from them; when one is better,
    the reason says so.

    Parameters
    ----------
    leaderboard
        One row a model or baseline.
    options
        ``champion``: criteria, noise, tolerance, tie-breakers; ``baselines``: rows that cannot win.
    dimensions, correction
        Further answers, whose first sentence is added to ``sentences``.
    **evidence
        ``<name>__score_draws`` and ``<name>__cell_likelihood``, as for :func:`.leaderboard.build_leaderboard`; without
        them only equal values, or those within the tolerance, tie.

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
    rule, known = options.champion, Evidence.of_datasets(evidence)
    board = rows_by_model(leaderboard).sort_index()
    _check_names(board, rule)
    models = board[~board.index.isin(options.no_models)]
    criterion = deciding_criterion(models, rule)
    champion: dict[str, Any]
    if criterion is None:
        failed = int(models["failed"].notna().sum()) if "failed" in models else 0
        because = f"; {failed} of {len(models)} failed" if failed else ""
        reason = f"no model has any of {', '.join(rule.criteria)}{because}."
        champion = {
            **dict.fromkeys(("model", "criterion", "value", "runner_up", "better_baseline")),
            "reason": reason,
            "rule": _state_rule(rule),
            "within_noise": [],
            "sentences": [reason],
        }
    else:
        contest = hold(models, criterion, rule, known)
        beaten_by = _better_baseline(board.drop(models.index), contest)
        reason = Explanation(contest, board, rule, known).explain_choice(beaten_by)
        optimism = selection_optimism(models, criterion, list(contest.values.index), known)
        sentences = [
            reason,
            _name_other_choices(contest, _hold_others(models, contest, rule, known)),
            _warn_of_selection(contest, optimism),
        ]
        champion = {
            "model": contest.champion,
            "criterion": criterion,
            "value": float(models.loc[contest.champion, criterion]),
            "reason": reason,
            "runner_up": next((str(name) for name in contest.values.index if name != contest.champion), None),
            "rule": _state_rule(rule),
            "better_baseline": beaten_by,
            "within_noise": [name for name in contest.tied if name != contest.champion],
            "sentences": list(filter(None, sentences)),
        }
    for answer in (dimensions, correction):
        champion["sentences"] += ((answer or {}).get("sentences") or [])[:1]
    logger.info("champion: %s", reason)
    return champion


def _check_names(leaderboard: pd.DataFrame, rule: ChampionRule) -> None:
    known = _NUMBERS | set(leaderboard.select_dtypes(np.number).columns)
    for option in ("criteria", "tie_breakers"):
        for name in getattr(rule, option):
            if name not in known:
                raise InputError(
                    f"comparison.champion.{option}: '{name}' is no column of the leaderboard"
                    f"{closest(name, sorted(known))}"
                )


def _hold_others(
    models: pd.DataFrame, contest: Contest, rule: ChampionRule, evidence: Evidence
) -> list[Contest]:
    """Contests by the other kinds of criterion, one a kind: scib scores, held-out ELBO, marginal likelihood."""
    kinds = [kind for kind in _KINDS_OF_CRITERIA if contest.criterion not in kind]
    firsts = [next((name for name in kind if decides(models, name, rule)), None) for kind in kinds]
    return [hold(models, name, rule, evidence) for name in firsts if name]


def _better_baseline(baselines: pd.DataFrame, contest: Contest) -> str | None:
    values = baselines[contest.criterion].dropna() * direction(contest.criterion)
    better = values[values > contest.values[contest.champion]]
    return str(better.idxmax()) if len(better) else None


def _state_rule(rule: ChampionRule) -> str:
    """The whole rule, whatever it came to here."""
    margins = []
    if rule.noise != "none":
        margin = "its 95 % interval" if rule.noise == "interval" else "one standard error"
        margins.append(f"within {margin} of their paired difference to the best")
    if rule.within or rule.noise == "none":
        margins.append(f"within {rule.within:g} of the best")
    winner = f"the lowest {', then '.join(rule.tie_breakers)}" if rule.tie_breakers else "the best"
    text = (
        f"the first of {', '.join(rule.criteria)} that exists decides; models {' or '.join(margins)} tie, and "
        f"{'of these ' if rule.tie_breakers else ''}{winner} wins"
    )
    if rule.noise != "none":
        text += "; the noise is that of the cells, training again with another seed adds to it"
    text += "; baselines cannot be champion"
    return text + ("" if rule.trained_on_labels else ", nor can models by labels that they were trained on")


@dataclass(frozen=True)
class Explanation:
    """Phrases on how a criterion decided.

    ``board`` holds all rows, ``evidence`` the noise of the difference to a baseline.
    """

    contest: Contest
    board: pd.DataFrame
    rule: ChampionRule
    evidence: Evidence

    def explain_choice(self, beaten_by: str | None) -> str:
        """The champion, what it was compared with, and what speaks against it.

        ``beaten_by`` is the best baseline that has a better value.
        """
        contest = self.contest
        parts = [self._compare_models()]
        if beaten_by:
            parts.append(self._compare_with_baseline(beaten_by))
        family = self.board["family"].get(contest.champion) if "family" in self.board else None
        if contest.criterion in JUDGED_BY_LABELS and family in SAW_LABELS:
            parts.append(
                "It was trained on the labels that it is judged by, so its bio conservation is too good"
            )
        if contest.unfair:
            unfair = ", ".join(f"{model} ({self._value(model)})" for model in contest.unfair)
            parts.append(f"Not considered, being trained on the labels that would judge it: {unfair}")
        return ". ".join(parts) + "."

    def _compare_models(self) -> str:
        contest, champion, best = self.contest, self.contest.champion, self.contest.best
        value = self._value(best)
        if len(contest.values) == 1:
            return f"{best} is the only model with {contest.criterion} ({value})"
        if len(contest.tied) == 1:
            second = str(contest.values.index[1])
            behind = contest.differences[second]
            worse = "" if behind is None else f", worse by {self._size(behind)}"
            return (
                f"{best} has the best {contest.criterion} of the models ({value}; next {second}, "
                f"{self._value(second)}{worse})"
            )
        lead = f"{best} has the best {contest.criterion} ({value})"
        others = [name for name in contest.tied if name not in (best, champion)]
        if champion != best:
            text = f"{lead}, but {self._tie(champion)} and {self._economy()}; choose {champion}"
            return f"{text}. As close to the best: {_list_first(others)}" if others else text
        if len(others) == 1:
            return f"{lead}; {self._tie(others[0])} but is no more economical; choose {best}"
        return f"{lead}; {_list_first(others)} are within noise of it but no more economical; choose {best}"

    def _tie(self, name: str) -> str:
        """``ldvae is within noise of it (difference 0.4 ± 0.6 nats per cell)``."""
        difference = self.contest.differences[name]
        if difference is not None and difference.is_noise(self.rule.noise):
            return f"{name} is within noise of it (difference {self._size(difference)})"
        if self.contest.values[name] == self.contest.values[self.contest.best]:
            return f"{name} equals it"
        return f"{name} is within {self.rule.within:g} of it"

    def _economy(self) -> str:
        column, best = self.contest.decided_by, self.contest.best
        if column is None or pd.isna(self.board.loc[best, column]):
            return "is more economical"
        words = _ECONOMIES.get(column, f"has the lower {column} ({{own:,.4g}} against {{best:,.4g}})")
        return words.format(
            own=self.board.loc[self.contest.champion, column], best=self.board.loc[best, column]
        )

    def _compare_with_baseline(self, baseline: str) -> str:
        value = self._value(baseline)
        difference = paired_difference(
            self.board, self.contest.criterion, baseline, self.contest.champion, self.evidence
        )
        by = "" if difference is None else self._size(difference)
        if difference is not None and difference.is_noise(self.rule.noise):
            return f"The baseline {baseline} is as good ({value}; the difference of {by} is within noise)"
        better = f"{value}, by {by}" if by else value
        return f"The baseline {baseline} is better ({better}): no model improves on it here"

    def _size(self, difference: Difference) -> str:
        of_unit = unit(self.contest.criterion)
        if self.rule.noise == "interval":
            return f"{difference.value:.2g}, 95 % interval {difference.low:.2g} to {difference.high:.2g}{of_unit}"
        return f"{difference.value:.2g} ± {difference.standard_error:.2g}{of_unit}"

    def _value(self, model: str) -> str:
        value = self.board.loc[model, self.contest.criterion]
        return f"{value:,.1f}" if of_cells(self.contest.criterion) else f"{value:,.4g}"


def _name_other_choices(contest: Contest, others: Sequence[Contest]) -> str:
    """Whether other criteria would choose another model; empty when there is no other criterion or model."""
    if not others or len(contest.values) < 2:
        return ""
    by_choice: dict[str, list[str]] = {}
    for other in others:
        by_choice.setdefault(other.champion, []).append(other.criterion)
    alike = by_choice.pop(contest.champion, [])
    if not by_choice:
        return f"By {listed(alike)} the choice would be the same."
    leads = {other.criterion: _describe_lead(other, contest.champion) for other in others}
    parts = [
        f"{listed(criteria)} would choose {name}{leads[criteria[0]]}" for name, criteria in by_choice.items()
    ]
    if alike:
        parts.append(f"{listed(alike)} would choose {contest.champion} as well")
    return f"The choice depends on the criterion: {'; '.join(parts)}."


def _describe_lead(other: Contest, champion: str) -> str:
    """``, 3.1 nats per cell better than scvi``, where the criterion judged the champion."""
    if champion not in other.values:
        return ""
    gain = other.values[other.champion] - other.values[champion]
    if gain < 0:  # it ties with the best, and is more economical than the champion, which is nearer
        return " (within noise of the best, and more economical)"
    return f" ({gain:.2g}{unit(other.criterion)} better)"


def _warn_of_selection(contest: Contest, optimism: float | None) -> str:
    """That the cells which chose the best score make it look too good; empty for a choice among few."""
    among, criterion = len(contest.values), contest.criterion
    opening = f"The cells that score it also chose it among {among} models"
    if optimism is None:
        return f"{opening}, so its {criterion} is slightly optimistic." if among >= _MANY else ""
    if among < 3 or optimism < _LEAST_OPTIMISM[of_cells(criterion) is not None]:
        return ""
    return (
        f"{opening}, which makes the best {criterion} too good by about {optimism:.1g}{unit(criterion)}; "
        "only cells that took no part in the choice can tell the rest."
    )


def _list_first(models: Sequence[str]) -> str:
    return up_to(models, _MOST_NAMES) if len(models) > _MOST_NAMES else listed(list(models))


def findings(contents: Mapping[str, Any], _: Study) -> Iterator[str]:
    """The champion, and why."""
    champion = contents.get("champion")
    if isinstance(champion, Mapping):
        for text in champion.get("sentences") or [champion.get("reason")]:
            if text:  # names of models keep their case
                yield str(text).removesuffix(".") + "."


def headline(contents: Mapping[str, Any], study: Study) -> Headline | None:
    """Which model to take, and whether others or a baseline do as well."""
    champion = contents.get("champion")
    if not champion:
        return None
    if champion["model"] is None:
        return Headline("No model could be scored", Trust.FAILS)
    criterion, digits = champion["criterion"], ".0f" if of_cells(champion["criterion"]) else ".2f"
    text = f"{champion['model']} is the model to take ({criterion} {champion['value']:{digits}})"
    if baseline := champion["better_baseline"]:
        return Headline(f"{text}, but {BASELINES.get(baseline, baseline)} scores better", Trust.FAILS)
    if champion["within_noise"]:
        return Headline(f"{text}; {listed(champion['within_noise'][:3])} within noise", Trust.UNCERTAIN)
    return Headline(f"{text}; beyond noise the best of {len(study.likelihoods)}", Trust.HOLDS)
