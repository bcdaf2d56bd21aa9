"""What is tried next: the same draws for a seed, each once; estimators that find a planted optimum."""

from __future__ import annotations

import numpy as np
import pytest

from scvi_downstream.models.search_space import Choice, Range, SearchSpace
from scvi_downstream.pipelines.search.search import BayesianSuggestions, RandomSuggestions, draw_trials
from scvi_downstream.pipelines.search.trial import TrialRecord

SPACE = SearchSpace(
    {
        "n_latent": Range(2, 40, log=False, integer=True),
        "training.lr": Range(1e-4, 1e-1, log=True, integer=False),
        "gene_likelihood": Choice(("zinb", "nb")),
    }
)
CURRENT = {"n_latent": 10, "training.lr": 1e-3, "gene_likelihood": "zinb"}


def score(changes: dict) -> float:
    """Best at 30 dimensions, a learning rate of 0.01 and nb."""
    values = CURRENT | changes
    return (
        -(((values["n_latent"] - 30) / 40) ** 2)
        - (np.log10(values["training.lr"]) + 2) ** 2
        - 0.3 * (values["gene_likelihood"] == "zinb")
    )


def record(number: int, changes: dict, **scores: float) -> TrialRecord:
    return TrialRecord(number, changes, "finished", {"elbo_validation": score(changes), **scores})


def bayesian(seed: int, trials: int = 25, done: dict | None = None) -> BayesianSuggestions:
    return BayesianSuggestions(SPACE, CURRENT, ("elbo_validation",), trials, seed, done or {})


def run(suggestions: BayesianSuggestions) -> list[TrialRecord]:
    records = []
    while (suggested := suggestions.suggest()) is not None:
        records.append(record(*suggested))
        suggestions.tell(records[-1])
    return records


def test_draws_begin_as_configured_are_distinct_and_depend_on_the_seed_alone() -> None:
    few, many = draw_trials(SPACE, CURRENT, 10, seed=3), draw_trials(SPACE, CURRENT, 40, seed=3)
    assert few[0] == {}
    assert many[:10] == few
    assert len({repr(changes) for changes in many}) == 40
    assert draw_trials(SPACE, CURRENT, 10, seed=4) != few


def test_a_small_space_is_tried_out_once() -> None:
    space = SearchSpace({"n_latent": Choice((5, 10, 20)), "gene_likelihood": Choice(("zinb", "nb"))})
    drawn = draw_trials(space, {"n_latent": 10, "gene_likelihood": "zinb"}, 100, seed=0)
    assert len(drawn) == 6
    outside = draw_trials(space, {"n_latent": 7, "gene_likelihood": "zinb"}, 100, seed=0)
    assert len(outside) == 7


def test_random_suggestions_leave_out_what_is_done() -> None:
    everything = draw_trials(SPACE, CURRENT, 6, seed=0)
    done = {number: record(number, everything[number - 1]) for number in (1, 4)}
    suggestions = RandomSuggestions(everything, done)
    suggested = [suggestions.suggest() for _ in range(4)]
    assert suggested == [(number, everything[number - 1]) for number in (2, 3, 5, 6)]
    assert suggestions.suggest() is None


@pytest.mark.thorough
def test_estimators_find_a_planted_optimum_better_than_chance() -> None:
    seeds = range(12)
    found = [max(one.scores["elbo_validation"] for one in run(bayesian(seed))) for seed in seeds]
    drawn = [max(map(score, draw_trials(SPACE, CURRENT, 25, seed))) for seed in seeds]
    assert np.median(found) > np.median(drawn)
    assert np.mean(np.array(found) > np.array(drawn)) >= 0.6


def test_estimators_are_reproducible_and_try_nothing_twice() -> None:
    first, second = run(bayesian(1)), run(bayesian(1))
    assert first == second
    assert [one.number for one in first] == list(range(1, 26))
    assert len({repr(CURRENT | dict(one.changes)) for one in first}) == 25


def test_estimators_that_go_on_know_what_was_found() -> None:
    earlier = {one.number: one for one in run(bayesian(2, trials=15))}
    rest = run(bayesian(2, trials=25, done=earlier))
    assert [one.number for one in rest] == list(range(16, 26))
    seen = {repr(CURRENT | dict(one.changes)) for one in earlier.values()}
    assert not seen & {repr(CURRENT | dict(one.changes)) for one in rest}
    assert np.median([score(dict(one.changes)) for one in rest]) > np.median(
        [score(dict(one.changes)) for one in earlier.values()]
    )


def test_what_failed_or_has_no_second_score_teaches_nothing() -> None:
    suggestions = BayesianSuggestions(SPACE, CURRENT, ("elbo_validation", "scib_total"), 30, 0, {})
    for _ in range(6):
        number, changes = suggestions.suggest()
        suggestions.tell(TrialRecord(number, changes, "failed", reason="the loss becomes NaN"))
    for _ in range(2):
        number, changes = suggestions.suggest()
        suggestions.tell(TrialRecord(number, changes, "stopped", {"elbo_validation": -1.0}, (-2.0, -1.0)))
    number, changes = suggestions.suggest()
    suggestions.tell(record(number, changes, scib_total=0.5))
    complete = [trial for trial in suggestions._study.trials if trial.state.name == "COMPLETE"]
    assert [trial.values for trial in complete] == [[pytest.approx(score(changes)), 0.5]]


@pytest.mark.thorough
def test_two_objectives_are_followed_to_their_front() -> None:
    """One optimum at few, the other at many dimensions: estimators go to between, and to the best learning rate."""

    def scores(changes: dict) -> dict[str, float]:
        values = CURRENT | changes
        rate = -((np.log10(values["training.lr"]) + 2) ** 2)
        return {
            "elbo_validation": rate - abs(values["n_latent"] - 12) / 40,
            "scib_total": rate - abs(values["n_latent"] - 20) / 40,
        }

    rates = []
    for seed in range(5):
        suggestions = BayesianSuggestions(SPACE, CURRENT, ("elbo_validation", "scib_total"), 40, seed, {})
        late = []
        while (suggested := suggestions.suggest()) is not None:
            number, changes = suggested
            suggestions.tell(TrialRecord(number, changes, "finished", scores(changes)))
            if number > 20:
                late.append(abs(np.log10(changes["training.lr"]) + 2))
        rates.append(np.median(late))
    assert np.median(rates) < 0.5  # of three decades; 0.75 by chance
