"""The search: what is varied, what runs, what is kept of it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream import events
from scvi_downstream.bridges.ray_cluster import ray_on
from scvi_downstream.bridges.ray_tune import Halving, OnEpoch, Placement, run_trials
from scvi_downstream.errors import InputError
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import epochs_for
from scvi_downstream.models.search_records import RecordFolder, TrialRecord
from scvi_downstream.models.search_space import SearchSpace, read_space
from scvi_downstream.parameters import SearchOptions
from scvi_downstream.progress import Progress

from .suggestions import BayesianSuggestions, RandomSuggestions, Suggestions, draw_trials
from .trial import CURVE, TrialTask, run_trial

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
AS_CONFIGURED = 1
"""Number of the trial without changes."""


def train_for_ray(task: TrialTask, number: int, changes: dict[str, Any], on_epoch: OnEpoch) -> dict[str, Any]:
    """One trial in a process of Ray's."""
    return run_trial(task, number, changes, on_epoch).plain()


def search_models(
    task: TrialTask,
    options: SearchOptions,
    store: CheckpointStore,
    *,
    train: Callable[[TrialTask, int, dict[str, Any], OnEpoch], dict[str, Any]] = train_for_ray,
) -> dict[int, TrialRecord]:
    """Run the trials that have not been run yet; records of all, by number.

    What each trial is given depends on the seed alone with ``random`` and ``asha``, so that a search that was killed
    and run again ends as one that was not, but for which trials ``asha`` stops: that depends on the order in which
    they come to an epoch, and is the same for one trial at a time only. ``bayesian`` draws by what it knows at that
    time: a search that goes on knows all trials that were over, and draws others than it would have.

    Parameters
    ----------
    task
        What trials share.
    options
        Space, algorithm, number of trials.
    store
        Where trials that are over are kept.
    train
        Gives the record of a trial, as :meth:`.records.TrialRecord.plain`; called in other processes.

    Raises
    ------
    InputError
        When no trial came to an end.
    """
    space = read_space(options.space, task.base)
    spec = parse_spec(task.base)
    current = space.current(spec)
    n_trials = min(options.trials, len(draw_trials(space, current, options.trials, task.seed)))
    folder = RecordFolder.of(store, _identity(task, options))
    done = {number: record for number, record in folder.read().items() if number <= n_trials}
    watcher = _Watcher(
        str(task.base["name"]),
        folder,
        _suggestions(space, current, task, options, n_trials, done),
        n_trials,
        done,
    )
    if len(done) < n_trials:
        _say_what_runs(spec.name, options, n_trials, len(done))
        max_epochs = spec.training.max_epochs or epochs_for(task.genes.n_obs)
        work = store.path / "ray"
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        with ray_on(options.ray_address, work):
            try:
                run_trials(
                    train,
                    task,
                    watcher,
                    n_trials=n_trials - len(done),
                    halving=_halving(options, max_epochs) if options.halves else None,
                    earlier=[[-value for value in record.curve] for record in done.values()],
                    placement=Placement(options.concurrent, gpu=task.accelerator in ("auto", "gpu")),
                    folder=work,
                )
            finally:
                shutil.rmtree(work, ignore_errors=True)
    records = dict(sorted(watcher.records.items()))
    _require_an_end(records)
    return records


def _require_an_end(records: Mapping[int, TrialRecord]) -> None:
    if any(record.status == "finished" for record in records.values()):
        return
    failed = [record.reason for record in records.values() if record.status == "failed"]
    because = f": {failed[0]}" if failed else ""
    raise InputError(f"search: none of {len(records)} trials came to an end{because}")


def trial_name(model: str, number: int) -> str:
    """``scvi_search_007``."""
    return f"{model}_search_{number:03d}"


class _Watcher:
    """Keeps what is over, tells whoever listens, and says how far it is."""

    def __init__(
        self,
        model: str,
        folder: RecordFolder,
        suggestions: Suggestions,
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
        best = max(curve)
        scores = {
            CURVE: best,
            "epochs": len(curve),
            "best_epoch": int(np.argmax(curve)) + 1,
            "seconds": seconds,
        }
        reason = f"stopped after {len(curve)} epochs, when it had fallen behind"
        self._end(TrialRecord(number, changes, "stopped", scores, tuple(curve), reason=reason))

    def lost(self, number: int, reason: str) -> None:
        changes, curve = self._running[number]
        self._end(TrialRecord(number, changes, "failed", curve=tuple(curve), reason=reason))

    def _end(self, record: TrialRecord) -> None:
        self._running.pop(record.number, None)
        self.records[record.number] = record
        self._folder.write(record)
        self._suggestions.tell(record)
        name = trial_name(self._model, record.number)
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[record.status]
        events.publish(events.TrialEnded(name, status, record.scores, record.reason))  # type: ignore[arg-type]
        if record.status == "failed":
            logger.warning("%s failed: %s", name, record.reason)
        self._progress.advance(note=self._best())

    def _best(self) -> str:
        values = {
            number: record.scores[CURVE]
            for number, record in self.records.items()
            if record.status == "finished"
        }
        if not values:
            return ""
        best = max(values, key=lambda number: values[number])
        return f"best validation ELBO {values[best]:.1f} by {trial_name(self._model, best)}"


def _suggestions(
    space: SearchSpace,
    current: Mapping[str, Any],
    task: TrialTask,
    options: SearchOptions,
    n_trials: int,
    done: Mapping[int, TrialRecord],
) -> Suggestions:
    if options.algorithm == "bayesian":
        return BayesianSuggestions(space, current, options.objectives, n_trials, task.seed, done)
    return RandomSuggestions(space, current, n_trials, task.seed, done)


def _halving(options: SearchOptions, max_epochs: int) -> Halving:
    return Halving(
        value=CURVE,
        grace_epochs=options.grace_epochs,
        max_epochs=max_epochs,
        reduction_factor=options.reduction_factor,
        spared=frozenset({AS_CONFIGURED}),
    )


def _say_what_runs(model: str, options: SearchOptions, n_trials: int, n_done: int) -> None:
    if n_trials < options.trials:
        logger.info("search of %s: the space holds no more than %d combinations", model, n_trials)
    if n_done:
        logger.info("search of %s: %d of %d trials are there already", model, n_done, n_trials)


def _identity(task: TrialTask, options: SearchOptions) -> list[Any]:
    from importlib.metadata import version

    keys = task.keys.model_dump(mode="json")
    return [
        *counts_identity(task.genes),
        np.ascontiguousarray(task.before).tobytes(),
        pd.util.hash_pandas_object(task.genes.obs.astype(str)).to_numpy().tobytes(),
        keys,
        dict(task.base),
        task.seed,
        task.accelerator,
        options.model_dump(mode="json", exclude={"trials", "concurrent", "ray_address", "model"}),
        task.embedding.model_dump(mode="json", include={"n_neighbors", "n_neighbors_metrics", "exact_up_to"}),
        task.comparison.model_dump(mode="json", include={"max_cells", "leiden_optimisation", "n_bootstrap"}),
        task.evaluation.model_dump(mode="json"),
        [version("scvi-tools"), version("torch")],
    ]


def counts_identity(genes: AnnData) -> list[bytes]:
    """The counts and the names of cells and genes, for a digest."""
    counts = genes.X
    arrays = [np.ascontiguousarray(part).tobytes() for part in (counts.data, counts.indices, counts.indptr)]
    names = "\n".join([*genes.obs_names, "", *genes.var_names])
    return [*arrays, names.encode()]
