"""Which values to try next: drawn at random, or by what was good so far."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from scvi_downstream.models.search_records import TrialRecord
from scvi_downstream.models.search_space import Choice, Range, SearchSpace

_ATTEMPTS = 200
_RANDOM_FIRST = 10
_LEAST_RANDOM = 4


class Suggestions(Protocol):
    """A sequence of trials that may depend on how earlier ones ended."""

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        """Number and changes of the next trial; ``None``: there is nothing left to try."""

    def tell(self, record: TrialRecord) -> None:
        """Take in how a trial ended."""


class RandomSuggestions:
    """Distinct draws that depend on the seed alone; those that are done are left out.

    Parameters
    ----------
    space
        What is drawn from.
    current
        The options' values in the model as it is configured, the first trial.
    trials
        Number of trials, the first included.
    seed
        Of the draws.
    done
        Trials that are over, by number.
    """

    def __init__(
        self,
        space: SearchSpace,
        current: Mapping[str, Any],
        trials: int,
        seed: int,
        done: Mapping[int, TrialRecord],
    ) -> None:
        drawn = enumerate(draw_trials(space, current, trials, seed), start=1)
        self._waiting = [(number, changes) for number, changes in drawn if number not in done]
        self._waiting.reverse()

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        """The next draw."""
        return self._waiting.pop() if self._waiting else None

    def tell(self, record: TrialRecord) -> None:
        """Draws do not depend on what was found."""


def draw_trials(
    space: SearchSpace, current: Mapping[str, Any], trials: int, seed: int
) -> list[dict[str, Any]]:
    """Changes of every trial: none, then distinct draws, fewer when the space holds no more.

    Parameters
    ----------
    space
        What is drawn from.
    current
        The options' values without changes.
    trials
        Number of trials, the unchanged model included.
    seed
        Of the draws: more trials begin with the same ones.
    """
    rng = np.random.default_rng(seed)
    drawn: list[dict[str, Any]] = [{}]
    seen = {repr(dict(current))}
    misses = 0
    while len(drawn) < trials and len(seen) < space.size + 1 and misses < _ATTEMPTS:
        changes = space.draw(rng)
        if repr(changes) in seen:
            misses += 1
            continue
        misses = 0
        seen.add(repr(changes))
        drawn.append(changes)
    return drawn


class BayesianSuggestions:
    """Draws near what was good, by tree-structured Parzen estimators.

    With several objectives the estimators follow the Pareto front. Trials that are over are told first, so that a
    search that goes on knows all that it knew.

    Parameters
    ----------
    space
        What is drawn from.
    current
        The options' values in the model as it is configured, the first trial.
    objectives
        Names of scores, higher is better.
    trials
        Number of trials, the first included.
    seed
        Of the draws.
    done
        Trials that are over, by number.

    References
    ----------
    Bergstra et al. (2011), Algorithms for hyper-parameter optimization; Ozaki et al. (2022),
    doi:10.1613/jair.1.13188.
    """

    def __init__(
        self,
        space: SearchSpace,
        current: Mapping[str, Any],
        objectives: tuple[str, ...],
        trials: int,
        seed: int,
        done: Mapping[int, TrialRecord],
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._current = dict(current)
        self._objectives = objectives
        self._free = [number for number in range(trials, 0, -1) if number not in done]
        self._seen = {repr(self._values(record.changes)) for record in done.values()}
        self._asked: dict[int, Any] = {}
        self._distributions = {name: _distribution(domain) for name, domain in space.options.items()}
        # Once more with the same seed would draw what is done already
        own_seed = int(np.random.SeedSequence([seed, len(done)]).generate_state(1)[0])
        random_first = min(_RANDOM_FIRST, max(_LEAST_RANDOM, trials // 3))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # constant_liar, for trials at the same time, is called experimental
            sampler = optuna.samplers.TPESampler(
                seed=own_seed, n_startup_trials=random_first, constant_liar=True
            )
        self._study = optuna.create_study(sampler=sampler, directions=["maximize"] * len(objectives))
        for record in done.values():
            self.tell(record)

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        """The unchanged model first, then what the estimators draw, each once."""
        if not self._free:
            return None
        if self._free[-1] == 1:
            self._seen.add(repr(self._current))
            return self._free.pop(), {}
        for _ in range(_ATTEMPTS):
            asked = self._study.ask(fixed_distributions=self._distributions)
            changes = {name: self._written(name, asked.params[name]) for name in self._space.options}
            if repr(changes) not in self._seen:
                self._seen.add(repr(changes))
                number = self._free.pop()
                self._asked[number] = asked
                return number, changes
            self._forget(asked)
        return None

    def tell(self, record: TrialRecord) -> None:
        """Give the estimators a trial's objectives; nothing of one that has none."""
        import optuna

        asked = self._asked.pop(record.number, None)
        values = self._values(record.changes)
        inside = all(domain.holds(values[name]) for name, domain in self._space.options.items())
        outcome = self._outcome(record)
        if asked is not None:
            self._forget(asked)
        if outcome is None or not inside:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.add_trial(
                optuna.trial.create_trial(params=values, distributions=self._distributions, **outcome)
            )

    def _outcome(self, record: TrialRecord) -> dict[str, Any] | None:
        import optuna

        values = [record.scores.get(name) for name in self._objectives]
        if record.status == "finished" and all(value is not None for value in values):
            return {"values": values, "state": optuna.trial.TrialState.COMPLETE}
        if record.status == "stopped" and self._objectives == ("elbo_validation",) and record.curve:
            so_far = {len(record.curve): max(record.curve)}
            return {"intermediate_values": so_far, "state": optuna.trial.TrialState.PRUNED}
        return None

    def _forget(self, asked: Any) -> None:
        import optuna

        self._study.tell(asked, state=optuna.trial.TrialState.FAIL)

    def _values(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return {name: changes.get(name, self._current[name]) for name in self._space.options}

    def _written(self, name: str, value: Any) -> Any:
        domain = self._space.options[name]
        return domain.rounded(value) if isinstance(domain, Range) else value


def _distribution(domain: Choice | Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
