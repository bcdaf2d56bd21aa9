"""Which trial to take: the best, or what cannot be told from it and is better otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.models.families import FAMILIES, parse_spec
from scvi_downstream.models.search_space import TRAINING, TrialRecord, changed
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.statistics.association import associate

_INTERVAL = 0.95


@dataclass(frozen=True)
class Difference:
    """How much better one trial is than another, on the same cells.

    Attributes
    ----------
    mean
        Of the score, higher is better.
    standard_error
        Over cells; ``None`` where the score has no such measure.
    low, high
        95 % interval.
    """

    mean: float
    standard_error: float | None
    low: float | None
    high: float | None

    @property
    def is_noise(self) -> bool:
        """Whether it is no more than one standard error."""
        return self.mean <= (self.standard_error or 0.0)


def difference(better: TrialRecord, worse: TrialRecord, score: str, share: str = "validation") -> Difference:
    """Paired difference of two trials.

    Likelihoods are compared cell by cell, integration metrics draw by draw of the same resampled cells. Seeds are
    not drawn anew: what another initialisation would change is not part of the error.

    Parameters
    ----------
    better, worse
        Trials that are finished.
    score
        An objective.
    share
        ``validation`` or ``test``, for likelihoods.
    """
    from scipy import stats

    cells = [
        np.array(record.by_cell.get(score, {}).get(share, []), dtype=float) for record in (better, worse)
    ]
    if all(len(values) for values in cells):
        of_cells = cells[0] - cells[1]
        of_cells = of_cells[np.isfinite(of_cells)]
        mean, n = float(of_cells.mean()), len(of_cells)
        if n < 2:
            return Difference(mean, None, None, None)
        error = float(of_cells.std(ddof=1) / np.sqrt(n))
        reach = float(stats.t.ppf((1 + _INTERVAL) / 2, n - 1)) * error
        return Difference(mean, error, mean - reach, mean + reach)
    mean = float(better.scores[score] - worse.scores[score])
    draws = [np.array(record.draws.get(score, []), dtype=float) for record in (better, worse)]
    if not all(len(values) for values in draws):
        return Difference(mean, None, None, None)
    of_draws = draws[0] - draws[1]
    low, high = np.quantile(of_draws, [(1 - _INTERVAL) / 2, (1 + _INTERVAL) / 2])
    return Difference(mean, float(of_draws.std(ddof=1)), float(low), float(high))


@dataclass(frozen=True)
class Recommendation:
    """The best trial, those that cannot be told from it, and the one to take."""

    best: int
    recommended: int
    within_noise: tuple[int, ...]
    behind: Mapping[int, Difference]


def choose(records: Sequence[TrialRecord], objectives: tuple[str, ...]) -> Recommendation:
    """The one-standard-error rule, on paired differences.

    The best trial has the highest first objective. Trials behind it by no more than one standard error of the paired
    difference are taken as equal; of these, that with the highest second objective is recommended (then the third …),
    or, with one objective, that with the fewest parameters.

    Parameters
    ----------
    records
        Finished trials.
    objectives
        Names of scores, higher is better.

    References
    ----------
    Breiman et al. (1984), Classification and regression trees, section 3.4.3.
    """
    first, *others = objectives
    best = max(records, key=lambda record: (record.scores[first], -record.number))
    behind = {record.number: difference(best, record, first) for record in records if record is not best}
    equal = [best, *(record for record in records if record is not best and behind[record.number].is_noise)]

    def rank(record: TrialRecord) -> tuple[float, ...]:
        further = [float(record.scores[name]) for name in others]
        return (*further, -float(record.scores["n_parameters"]), -float(record.number))

    return Recommendation(
        best=best.number,
        recommended=max(equal, key=rank).number,
        within_noise=tuple(sorted(record.number for record in equal)),
        behind=behind,
    )


def pareto_front(scores: np.ndarray) -> np.ndarray:
    """Which rows no other row beats: none is at least as high everywhere and higher somewhere.

    Parameters
    ----------
    scores
        ``(n_trials, n_objectives)``, higher is better.
    """
    at_least = (scores[:, None] >= scores[None]).all(axis=2)
    higher = (scores[:, None] > scores[None]).any(axis=2)
    return ~(at_least & higher).any(axis=0)


def tabulate_trials(
    records: Sequence[TrialRecord],
    names: Mapping[int, str],
    current: Mapping[str, Any],
    objectives: tuple[str, ...],
    choice: Recommendation,
) -> pd.DataFrame:
    """One row a trial, in the order of their numbers.

    Parameters
    ----------
    records
        All trials.
    names
        Number → name.
    current
        The varied options' values in the model as it is configured.
    objectives
        Scores that are sought.
    choice
        Of the finished ones.

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
        further = {name: value for name, value in record.scores.items() if name not in objectives}
        rows.append(
            {
                "trial": names[record.number],
                "status": record.status,
                **{name: record.changes.get(name, value) for name, value in current.items()},
                **{name: record.scores.get(name) for name in objectives},
                "behind": 0.0 if record.number == choice.best else behind and behind.mean,
                "behind_se": behind and behind.standard_error,
                "pareto": record.number in on_front,
                "recommended": record.number == choice.recommended,
                **further,
                "reason": record.reason,
            }
        )
    table = pd.DataFrame(rows).set_index("trial")
    last = [name for name in ("reason",) if name in table]
    return table[[*(name for name in table if name not in last), *last]]


MIN_TRIALS = 8
_COLUMNS = ["option", "kind", "n", "rho", "eta2", "effect", "p", "p_adjusted"]


def option_effects(
    records: Sequence[TrialRecord], current: Mapping[str, Any], objective: str
) -> list[dict[str, Any]]:
    """Association of every varied option with an objective, the strongest first.

    Each option alone: Spearman's correlation for numbers, Kruskal–Wallis for words. It is no effect of the option
    where another one was varied along, and finished trials are a selection where bad ones are stopped.

    Parameters
    ----------
    records
        Finished trials; with fewer than 8 nothing is tested.
    current
        The varied options' values in the model as it is configured.
    objective
        Name of a score.

    Returns
    -------
    ``option``, ``kind``, ``n`` trials, ``rho`` (numbers) or ``eta2`` (words), ``effect`` (their size), ``p``,
    ``p_adjusted`` (Benjamini–Hochberg over options).
    """
    if len(records) < MIN_TRIALS:
        return []
    scores = pd.DataFrame({objective: [record.scores[objective] for record in records]})
    drawn = pd.DataFrame(
        {name: [record.changes.get(name, value) for record in records] for name, value in current.items()}
    )
    table = associate(scores.astype(float), drawn).rename(columns={"covariate": "option"})
    return table.sort_values("p", kind="stable")[_COLUMNS].to_dict("records")


_NAMES = ("name", "family", "training", "trial_of", "init_from")


def model_entry(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``{scvi_best: {family: SCVI, n_latent: 20, training: {lr: 0.002}}}``.

    Parameters
    ----------
    base
        Complete options of the model that was varied.
    changes
        Option → value.

    Returns
    -------
    What differs from the defaults and what was varied, so that the entry gives the same model in any study.
    """
    spec = parse_spec(changed(base, changes)).model_dump(mode="json")
    defaults = FAMILIES[spec["family"]].model_construct().model_dump(mode="json", exclude=set(_NAMES))
    own = {
        name: value
        for name, value in spec.items()
        if name not in _NAMES and (name in changes or value != defaults[name])
    }
    usual = TrainingOptions().model_dump(mode="json")
    training = {
        name: value
        for name, value in spec["training"].items()
        if f"{TRAINING}{name}" in changes or value != usual[name]
    }
    entry = {"family": spec["family"], **own} | ({"training": training} if training else {})
    return {best_name(str(base["name"])): entry}


def best_name(model: str) -> str:
    """Name of the model that a search of ``model`` found."""
    return f"{model}_best"
