"""The search: trials are suggested, run and kept."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.bridges.ray_tune import Halving, OnEpoch, ray_on, run_trials
from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore, RecordFolder
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import epochs_for
from scvi_downstream.models.search_space import Choice, Range, SearchSpace, read_space
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.pipelines.search.trial import (
    AS_CONFIGURED,
    CURVE,
    TrialRecord,
    TrialTask,
    run_trial,
    trial_name,
)
from scvi_downstream.runtime import events
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import Accelerator
from scvi_downstream.runtime.progress import Progress

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

# Draws that were all drawn before, after which a space is taken for exhausted.
_ATTEMPTS = 200
# Trials that are drawn at random before the estimators know enough: a third of them, within these bounds.
_LEAST_RANDOM, _RANDOM_FIRST = 4, 10


def run_search(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    models: Mapping[str, Mapping[str, Any]],
    primary: str,
    keys: Keys,
    search: SearchOptions,
    embedding: EmbeddingOptions,
    comparison: ComparisonOptions,
    evaluation: EvaluationOptions,
    seed: int,
    accelerator: Accelerator,
    store: CheckpointStore,
) -> dict[str, Any]:
    """Train and score the trials of a search; those that are there already are not run again.

    Parameters
    ----------
    counts
        Checked counts, ``n_cells × n_genes``.
    pca_latent
        Cells × principal components before integration.
    models
        Complete options of all models, by name.
    primary
        The model that is varied when ``search.model`` is empty.
    keys
        obs columns of the study.
    search
        Space, algorithm, objectives.
    embedding, comparison, evaluation
        Options of the neighbours, the integration metrics and the likelihoods.
    seed
        The study's seed: of the split, the trainings and the draws.
    accelerator
        ``auto``, ``cpu``, ``gpu`` or ``mps``.
    store
        Where trials that are over are kept.

    Returns
    -------
    ``model``; ``trials``: :class:`.trial.TrialRecord` of each as a dictionary, by number.

    Raises
    ------
    InputError
        A space, a model or an objective that cannot be, or no trial that came to an end.
    """
    base = search.find_base(models, primary)
    search.check_objectives(parse_spec(base), keys)
    task = TrialTask(
        genes=counts[:, counts.var["highly_variable"]].copy(),
        before=pca_latent.loc[counts.obs_names].to_numpy(np.float32),
        base=base,
        keys=keys,
        objectives=search.objectives,
        embedding=embedding,
        comparison=comparison,
        evaluation=evaluation,
        seed=seed,
        accelerator=accelerator,
    )
    records = search_models(task, search, store)
    return {"model": base["name"], "trials": [record.plain() for record in records.values()]}


def _train_for_ray(
    task: TrialTask, number: int, changes: dict[str, Any], on_epoch: OnEpoch
) -> dict[str, Any]:
    """One trial in a process of Ray's."""
    return run_trial(task, number, changes, on_epoch).plain()


def search_models(
    task: TrialTask,
    options: SearchOptions,
    store: CheckpointStore,
    *,
    train: Callable[[TrialTask, int, dict[str, Any], OnEpoch], dict[str, Any]] = _train_for_ray,
) -> dict[int, TrialRecord]:
    """Run the trials of a search that have not been run yet; records of all, by number.

    What each trial is given depends on the seed alone with ``random`` and ``asha``, so that a search that was killed
    and run again ends as one that was not, but for which trials ``asha`` stops: that depends on the order in which
    they come to an epoch, and is the same for one trial at a time only. ``bayesian`` draws by what it knows at that
    time: a search that goes on knows all trials that were over, and draws others than it would have.

    Records are kept in ``store``. ``train`` gives one as :meth:`.trial.TrialRecord.plain`; it is called in other
    processes.

    Raises
    ------
    InputError
        When no trial came to an end.
    """
    space = read_space(options.space, task.base)
    spec = parse_spec(task.base)
    current = space.current(spec)
    drawn = draw_trials(space, current, options.trials, task.seed)
    n_trials = len(drawn)
    folder = RecordFolder.of(store, _identify(task, options))
    kept = folder.read()
    done = {number: TrialRecord.of(kept[number]) for number in kept if number <= n_trials}
    suggestions = (
        BayesianSuggestions(space, current, options.objectives, n_trials, task.seed, done)
        if options.algorithm == "bayesian"
        else RandomSuggestions(drawn, done)
    )
    watcher = _Watcher(spec.name, folder, suggestions, n_trials, done)
    if len(done) < n_trials:
        if n_trials < options.trials:
            logger.info("search of %s: the space holds no more than %d combinations", spec.name, n_trials)
        if done:
            logger.info("search of %s: %d of %d trials are there already", spec.name, len(done), n_trials)
        halving = Halving(
            value=CURVE,
            grace_epochs=options.grace_epochs,
            max_epochs=spec.training.max_epochs or epochs_for(task.genes.n_obs),
            reduction_factor=options.reduction_factor,
            spared=frozenset({AS_CONFIGURED}),
        )
        work = store.path / "ray"
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        with ray_on(options.ray_address, work):
            try:
                run_trials(
                    train,
                    task,
                    watcher,
                    n_trials=n_trials - len(done),
                    halving=halving if options.halves else None,
                    earlier=[[-value for value in record.curve] for record in done.values()],
                    concurrent=options.concurrent,
                    gpu=task.accelerator in ("auto", "gpu"),
                    folder=work,
                )
            finally:
                shutil.rmtree(work, ignore_errors=True)
    records = dict(sorted(watcher.records.items()))
    if not any(record.status == "finished" for record in records.values()):
        reasons = [record.reason for record in records.values() if record.status == "failed"]
        because = f": {reasons[0]}" if reasons else ""
        raise InputError(f"search: none of {len(records)} trials came to an end{because}")
    return records


class _Watcher:
    """Keeps what is over, tells whoever listens, and says how far it is."""

    def __init__(
        self,
        model: str,
        folder: RecordFolder,
        suggestions: RandomSuggestions | BayesianSuggestions,
        n_trials: int,
        done: Mapping[int, TrialRecord],
    ) -> None:
        self.records = dict(done)
        self._model = model
        self._folder = folder
        self._suggestions = suggestions
        self._running: dict[int, tuple[dict[str, Any], list[float]]] = {}
        self._told: set[int] = set()
        self._progress = Progress(f"search of {model}: trials", n_trials - len(done))

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        suggested = self._suggestions.suggest()
        if suggested is not None:
            number, changes = suggested
            self._running[number] = (changes, [])
        return suggested

    def started(self, number: int) -> None:
        changes, curve = self._running[number]
        curve.clear()
        if number not in self._told:
            self._told.add(number)
            events.publish(events.TrialStarted(trial_name(self._model, number), changes))

    def epoch(self, number: int, epoch: int, curves: Mapping[str, float]) -> None:
        curve = self._running[number][1]
        del curve[epoch - 1 :]  # of a training that began anew
        curve.append(-curves[CURVE])
        events.publish(events.EpochEnded(trial_name(self._model, number), epoch, curves))

    def finished(self, number: int, result: dict[str, Any]) -> None:
        self._end(TrialRecord.of(result))

    def stopped(self, number: int, seconds: float) -> None:
        changes, curve = self._running[number]
        best = int(np.argmax(curve)) + 1
        scores = {CURVE: max(curve), "epochs": len(curve), "best_epoch": best, "seconds": seconds}
        reason = f"stopped after {len(curve)} epochs, when it had fallen behind"
        self._end(TrialRecord(number, changes, "stopped", scores, tuple(curve), reason=reason))

    def lost(self, number: int, reason: str) -> None:
        changes, curve = self._running[number]
        self._end(TrialRecord(number, changes, "failed", curve=tuple(curve), reason=reason))

    def _end(self, record: TrialRecord) -> None:
        self._running.pop(record.number, None)
        self.records[record.number] = record
        self._folder.write(record.plain())
        self._suggestions.tell(record)
        name = trial_name(self._model, record.number)
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[record.status]
        events.publish(events.TrialEnded(name, status, record.scores, record.reason))  # type: ignore[arg-type]
        if record.status == "failed":
            logger.warning("%s failed: %s", name, record.reason)
        self._progress.advance(note=self._describe_best())

    def _describe_best(self) -> str:
        finished = [record for record in self.records.values() if record.status == "finished"]
        if not finished:
            return ""
        best = max(finished, key=lambda record: record.scores[CURVE])
        return f"best validation ELBO {best.scores[CURVE]:.1f} by {trial_name(self._model, best.number)}"


def _identify(task: TrialTask, options: SearchOptions) -> list[Any]:
    """All that the score of a trial depends on, besides its changes."""
    from importlib.metadata import version

    counts = task.genes.X
    return [
        *(np.ascontiguousarray(part).tobytes() for part in (counts.data, counts.indices, counts.indptr)),
        "\n".join([*task.genes.obs_names, "", *task.genes.var_names]).encode(),
        np.ascontiguousarray(task.before).tobytes(),
        pd.util.hash_pandas_object(task.genes.obs.astype(str)).to_numpy().tobytes(),
        task.keys.model_dump(mode="json"),
        dict(task.base),
        task.seed,
        task.accelerator,
        options.model_dump(mode="json", exclude={"trials", "concurrent", "ray_address", "model"}),
        task.embedding.model_dump(mode="json", include={"n_neighbors", "n_neighbors_metrics", "exact_up_to"}),
        task.comparison.model_dump(mode="json", include={"max_cells", "leiden_optimisation", "n_bootstrap"}),
        task.evaluation.model_dump(mode="json"),
        [version("scvi-tools"), version("torch")],
    ]


def draw_trials(
    space: SearchSpace, current: Mapping[str, Any], trials: int, seed: int
) -> list[dict[str, Any]]:
    """Changes of every trial: none, then distinct draws, fewer when the space holds no more.

    ``current`` are the options' values in the model as it is configured, which is the first of the ``trials``; with one
    seed, more trials begin with the same draws.
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


class RandomSuggestions:
    """The draws of :func:`draw_trials`, which depend on the seed alone, without the numbers that are done."""

    def __init__(self, drawn: Sequence[dict[str, Any]], done: Mapping[int, TrialRecord]) -> None:
        self._waiting = [trial for trial in enumerate(drawn, start=1) if trial[0] not in done][::-1]

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        """Number and changes of the next trial; ``None``: there is nothing left to try."""
        return self._waiting.pop() if self._waiting else None

    def tell(self, record: TrialRecord) -> None:
        """Draws do not depend on what was found."""


class BayesianSuggestions:
    """Draws near what was good, by tree-structured Parzen estimators.

    With several objectives the estimators follow the Pareto front. Trials that are over are told first, so that a
    search that goes on knows all that it knew.

    Parameters
    ----------
    space, current, trials, seed
        As for :func:`draw_trials`.
    objectives
        Names of scores, higher is better.
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
            # constant_liar, for trials at the same time, is called experimental
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.TPESampler(
                seed=own_seed, n_startup_trials=random_first, constant_liar=True
            )
        self._study = optuna.create_study(sampler=sampler, directions=["maximize"] * len(objectives))
        for record in done.values():
            self.tell(record)

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        """The unchanged model first, then what the estimators draw, each once; ``None``: nothing is left to try."""
        if not self._free:
            return None
        if self._free[-1] == 1:
            self._seen.add(repr(self._current))
            return self._free.pop(), {}
        for _ in range(_ATTEMPTS):
            asked = self._study.ask(fixed_distributions=self._distributions)
            changes = {
                name: domain.rounded(asked.params[name]) if isinstance(domain, Range) else asked.params[name]
                for name, domain in self._space.options.items()
            }
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
        if asked is not None:
            self._forget(asked)
        values, outcome = self._values(record.changes), self._outcome(record)
        inside = all(domain.holds(values[name]) for name, domain in self._space.options.items())
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


def _distribution(domain: Choice | Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
