"""Which trial to take: the best, or what cannot be told from it and is better otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from scvi_downstream.models.families import FAMILIES, parse_spec
from scvi_downstream.models.search_space import TRAINING, changed, read_space
from scvi_downstream.models.specification import IDENTITY, TrainingOptions
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.pipelines.search.report import describe_search
from scvi_downstream.pipelines.search.trial import AS_CONFIGURED, TrialRecord, TrialState, trial_name
from scvi_downstream.scoring.criteria import pareto_front
from scvi_downstream.statistics.association import associate
from scvi_downstream.statistics.differences import Difference, drawn_difference, mean_difference

# Fewer finished trials than these say nothing of an option.
MIN_TRIALS = 8
_EFFECT = ["option", "kind", "n", "rho", "eta2", "effect", "p", "p_adjusted"]


def choose_trial(
    search_records: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    search: SearchOptions,
    training: TrainingOptions,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any]]:
    """One row a trial, what the search found, and the recommended trial as an entry of ``models:``.

    Parameters
    ----------
    search_records
        Of :func:`.search.run_search`.
    models
        Complete options of all models, by name.
    search
        Space and objectives.
    training
        Of the study's models.

    Returns
    -------
    See :func:`tabulate_trials`; a summary with ``sentences``; see :func:`model_entry`.
    """
    model, base = search_records["model"], models[search_records["model"]]
    records = {plain["number"]: TrialRecord.of(plain) for plain in search_records["trials"]}
    finished = [record for record in records.values() if record.status == "finished"]
    space = read_space(search.space, base)
    current = space.current(parse_spec(base))
    choice = choose(finished, search.objectives)
    taken, configured = records[choice.recommended], records.get(AS_CONFIGURED)
    on_test = None
    if configured is not None and configured.status == "finished" and taken is not configured:
        on_test = difference(taken, configured, "elbo_validation", share="test")
    table = tabulate_trials(list(records.values()), model, current, search.objectives, choice)
    summary = {
        "model": model,
        "algorithm": search.algorithm,
        "halving": search.halves,
        "objectives": list(search.objectives),
        "options": list(current),
        "n_trials": len(table),
        **{f"n_{status}": int((table["status"] == status).sum()) for status in get_args(TrialState)},
        "best": trial_name(model, choice.best),
        "recommended": trial_name(model, choice.recommended),
        "recommended_name": _best_name(model),
        "changes": dict(taken.changes),
        "within_noise": [trial_name(model, number) for number in choice.within_noise],
        "test_elbo_gain": on_test and on_test.value,
        "test_elbo_gain_low": on_test and on_test.low,
        "test_elbo_gain_high": on_test and on_test.high,
        "option_effects": option_effects(finished, current, search.objectives[0]),
        "seconds_of_trials": float(sum(record.scores.get("seconds", 0.0) for record in records.values())),
    }
    summary["sentences"] = describe_search(table, summary, space)
    return table, summary, model_entry(base, taken.changes, training)


def difference(better: TrialRecord, worse: TrialRecord, score: str, share: str = "validation") -> Difference:
    """Paired difference of two finished trials by an objective.

    Likelihoods are compared cell by cell, of the cells of a ``share``, integration metrics draw by draw of the same
    resampled cells. Seeds are not drawn anew: what another initialisation would change is not part of the error.
    """
    trials = (better, worse)
    cells = [np.array(record.by_cell.get(score, {}).get(share, []), dtype=float) for record in trials]
    if all(map(len, cells)):
        of_cells = cells[0] - cells[1]
        of_cells = of_cells[np.isfinite(of_cells)]
        return mean_difference(of_cells) if len(of_cells) > 1 else Difference(float(of_cells.mean()))
    value = float(better.scores[score] - worse.scores[score])
    draws = [np.array(record.draws.get(score, []), dtype=float) for record in trials]
    if not all(map(len, draws)):
        return Difference(value)
    return drawn_difference(value, draws[0] - draws[1])


@dataclass(frozen=True)
class Recommendation:
    """Numbers of the best trial, of the one to take, and of those that cannot be told from the best.

    The best has the highest first objective and is among ``within_noise``; ``behind`` says by how much each of the
    other trials is behind it.
    """

    best: int
    recommended: int
    within_noise: tuple[int, ...]
    behind: Mapping[int, Difference]


def choose(records: Sequence[TrialRecord], objectives: tuple[str, ...]) -> Recommendation:
    """The one-standard-error rule, on paired differences of finished trials.

    The best trial has the highest first objective. Trials behind it by no more than one standard error of the paired
    difference are taken as equal; of these, that with the highest second objective is recommended (then the third …),
    or, with one objective, that with the fewest parameters. Breiman et al. (1984), Classification and regression trees,
    section 3.4.3.
    """
    first, *others = objectives
    best = max(records, key=lambda record: (record.scores[first], -record.number))
    behind = {record.number: difference(best, record, first) for record in records if record is not best}
    equal = [
        record for record in records if record is best or behind[record.number].is_noise("one_standard_error")
    ]

    def rank(record: TrialRecord) -> tuple[float, ...]:
        further = [float(record.scores[name]) for name in others]
        return (*further, -float(record.scores["n_parameters"]), -float(record.number))

    return Recommendation(
        best=best.number,
        recommended=max(equal, key=rank).number,
        within_noise=tuple(sorted(record.number for record in equal)),
        behind=behind,
    )


def tabulate_trials(
    records: Sequence[TrialRecord],
    model: str,
    current: Mapping[str, Any],
    objectives: tuple[str, ...],
    choice: Recommendation,
) -> pd.DataFrame:
    """One row a trial, in the order of their numbers, and what was chosen among the finished ones.

    ``current`` are the varied options' values in the model as it is configured.

    Returns
    -------
    Indexed by ``trial``: ``status``; the varied options; objectives; ``behind`` the best by the first objective with
    its ``behind_se``; ``pareto``, ``recommended``; other scores, costs; ``reason`` why it failed or was stopped.
    """
    finished = [record for record in records if record.status == "finished"]
    front = pareto_front(np.array([[record.scores[name] for name in objectives] for record in finished]))
    on_front = {record.number for record, on in zip(finished, front, strict=True) if on}
    rows = []
    for record in records:
        behind = choice.behind.get(record.number)
        rows.append(
            {
                "trial": trial_name(model, record.number),
                "status": record.status,
                **{name: record.changes.get(name, value) for name, value in current.items()},
                **{name: record.scores.get(name) for name in objectives},
                "behind": 0.0 if record.number == choice.best else behind and behind.value,
                "behind_se": behind and behind.standard_error,
                "pareto": record.number in on_front,
                "recommended": record.number == choice.recommended,
                **{name: value for name, value in record.scores.items() if name not in objectives},
                "reason": record.reason,
            }
        )
    table = pd.DataFrame(rows).set_index("trial")
    return table[[*table.columns.drop("reason"), "reason"]]


def option_effects(
    records: Sequence[TrialRecord], current: Mapping[str, Any], objective: str
) -> list[dict[str, Any]]:
    """Association of every varied option with an objective, the strongest first; none of fewer than 8 finished trials.

    Each option alone: Spearman's correlation for numbers, Kruskal–Wallis for words. It is no effect of the option where
    another one was varied along, and finished trials are a selection where bad ones are stopped. ``current`` are the
    options' values in the model as it is configured.

    Returns
    -------
    ``option``, ``kind``, ``n`` trials, ``rho`` (numbers) or ``eta2`` (words), ``effect`` (their size), ``p``,
    ``p_adjusted`` (Benjamini–Hochberg over options).
    """
    if len(records) < MIN_TRIALS:
        return []
    scores = pd.DataFrame({objective: [record.scores[objective] for record in records]})
    drawn = pd.DataFrame([{**current, **record.changes} for record in records], columns=list(current))
    table = associate(scores.astype(float), drawn).rename(columns={"covariate": "option"})
    return table.sort_values("p", kind="stable")[_EFFECT].to_dict("records")


def model_entry(
    base: Mapping[str, Any], changes: Mapping[str, Any], usual_training: TrainingOptions
) -> dict[str, Any]:
    """A model with changes, as an entry: ``{scvi_best: {family: SCVI, n_latent: 20, training: {lr: 0.002}}}``.

    It holds what differs from the family's own defaults and from the study's training, and what was varied, so that the
    entry gives the same model in the study.
    """
    spec = parse_spec(changed(base, changes)).model_dump(mode="json")
    defaults = FAMILIES[spec["family"]].model_construct().model_dump(mode="json", exclude=set(IDENTITY))
    own = {name: spec[name] for name in defaults if name in changes or spec[name] != defaults[name]}
    usual, given = usual_training.model_dump(mode="json"), spec["training"]
    training = {
        name: given[name] for name in given if f"{TRAINING}{name}" in changes or given[name] != usual[name]
    }
    entry = {"family": spec["family"], **own} | ({"training": training} if training else {})
    return {_best_name(str(base["name"])): entry}


def _best_name(model: str) -> str:
    """Name of the model that a search of ``model`` found."""
    return f"{model}_best"
