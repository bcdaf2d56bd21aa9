"""Trials on Ray Tune: started as suggested, stopped when they fall behind, told of as they go."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import ONE_THREAD, environment, quiet, usable_cores

if TYPE_CHECKING:
    from ray import tune
    from ray.tune.experiment import Trial


EPOCH, VALUE, CURVES, RESULT = "epoch", "value", "curves", "result"
OnEpoch = Callable[[int, Mapping[str, float]], None]
_RESTARTS = 3
_TALKATIVE = ("ray", "ray.tune", "ray.data", "ray.train")


class Watcher(Protocol):
    """Who suggests trials and is told what becomes of them."""

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        """Number and changes of the next trial; ``None``: no more."""

    def started(self, number: int) -> None:
        """A trial begins, or begins again."""

    def epoch(self, number: int, epoch: int, curves: Mapping[str, float]) -> None:
        """A trial ended an epoch."""

    def finished(self, number: int, result: dict[str, Any]) -> None:
        """A trial is over and gave its result."""

    def stopped(self, number: int, seconds: float) -> None:
        """A trial fell behind and was stopped."""

    def lost(self, number: int, reason: str) -> None:
        """A trial's process died more often than it is restarted."""


@dataclass(frozen=True)
class Halving:
    """Asynchronous successive halving: Li et al. (2020), arXiv:1810.05934.

    Trials are compared by the curve ``value``, of which lower is better; none is stopped before ``grace_epochs``, and
    one in ``reduction_factor`` goes on from each rung. Trials of the numbers ``spared`` are compared with others and
    never stopped.
    """

    value: str
    grace_epochs: int
    max_epochs: int
    reduction_factor: float
    spared: frozenset[int] = frozenset()


def run_trials(
    train: Callable[[Any, int, dict[str, Any], OnEpoch], dict[str, Any]],
    task: Any,
    watcher: Watcher,
    *,
    n_trials: int,
    halving: Halving | None,
    earlier: Sequence[Sequence[float]],
    concurrent: int | None,
    gpu: bool,
    folder: Path,
) -> None:
    """Run trials in processes of Ray, which must be running; a trial whose process or machine dies is run again.

    Parameters
    ----------
    train
        ``train(task, number, changes, on_epoch)`` gives a trial's result, as JSON takes it. An importable function:
        it runs in other processes, on a cluster on other machines, where this package must be installed.
    task
        What all trials share; sent once a machine.
    watcher
        Suggests trials and is told of them.
    n_trials
        At most so many.
    halving
        When trials are stopped; ``None``: never.
    earlier
        Curves of trials of an earlier run, which the next ones are compared with, too; lower is better.
    concurrent, gpu
        How many run at a time (``None``: as many as there are cores, of which each has one), and whether they share
        the GPUs.
    folder
        For Ray Tune's own files.
    """
    import ray
    from ray import tune

    found = ray.cluster_resources()
    at_a_time = concurrent or max(int(found.get("CPU", 1)), 1)
    gpus = found.get("GPU", 0) if gpu else 0
    each: dict[str, float] = {"cpu": 1, "gpu": min(1.0, gpus / at_a_time)} if gpus else {"cpu": 1}
    with quiet(_TALKATIVE, logging.CRITICAL):
        shared = tune.with_parameters(_train_one, train=train, task=task, value=halving and halving.value)
        tuner = tune.Tuner(
            tune.with_resources(shared, each),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(watcher),
                scheduler=_scheduler(halving, earlier),
                num_samples=n_trials,
                max_concurrent_trials=at_a_time,  # what is suggested later is suggested by more knowledge
                reuse_actors=True,  # imports of torch and scvi-tools take ten seconds a process
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(folder.absolute()),
                callbacks=[_callback(watcher)],
                failure_config=tune.FailureConfig(max_failures=_RESTARTS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        )
        tuner.fit()


def _train_one(config: dict[str, Any], *, train: Callable, task: Any, value: str | None) -> None:
    from ray import tune

    best: list[float] = []

    def on_epoch(epoch: int, curves: Mapping[str, float]) -> None:
        report = {EPOCH: epoch, CURVES: dict(curves)}
        if value is not None:
            earlier = best if epoch > 1 else []  # a training that diverged begins again
            best[:] = [min([*earlier, curves[value]])]  # the best epoch is the one that is kept
            report[VALUE] = best[0]
        tune.report(report)

    result = train(task, config["number"], config["changes"], on_epoch)
    # Without an epoch: what is finished is not compared any more
    tune.report({RESULT: result, VALUE: None})


def _scheduler(halving: Halving | None, earlier: Sequence[Sequence[float]]) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

    if halving is None:
        return FIFOScheduler()

    spared = halving.spared

    class Sparing(ASHAScheduler):
        """Successive halving that lets some trials go on."""

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            action = super().on_trial_result(tune_controller, trial, result)
            return TrialScheduler.CONTINUE if trial.config["number"] in spared else action

    scheduler = Sparing(
        time_attr=EPOCH,
        metric=VALUE,
        mode="min",
        max_t=halving.max_epochs,
        grace_period=min(halving.grace_epochs, halving.max_epochs),
        reduction_factor=halving.reduction_factor,
        stop_last_trials=False,  # the longest trainings are still to be scored
    )
    for number, curve in enumerate(earlier):
        trial: Any = SimpleNamespace(trial_id=f"earlier_{number}", config={"number": 0})
        controller: Any = None  # successive halving asks it for nothing
        scheduler.on_trial_add(controller, trial)
        for epoch in range(1, len(curve) + 1):
            scheduler.on_trial_result(controller, trial, {EPOCH: epoch, VALUE: min(curve[:epoch])})
    return scheduler


def _searcher(watcher: Watcher) -> Any:
    from ray.tune.search import Searcher

    class Suggested(Searcher):
        """Hands on what the watcher suggests."""

        def __init__(self, watcher: Watcher) -> None:
            super().__init__()
            self._watcher = watcher

        def __getstate__(self) -> dict[str, Any]:
            """Ray Tune keeps a copy on disk, for which the watcher is none of its business."""
            return {}

        def set_search_properties(self, metric: Any, mode: Any, config: dict, **spec: Any) -> bool:
            return True

        def suggest(self, trial_id: str) -> Any:
            suggested = self._watcher.suggest()
            if suggested is None:
                return Searcher.FINISHED
            number, changes = suggested
            return {"number": number, "changes": changes}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:  # noqa: FBT001, FBT002
            """The callback tells the watcher, once for each trial and in every case."""

        def save(self, checkpoint_path: str) -> None:
            """Finished trials are kept by the watcher."""

        def restore(self, checkpoint_path: str) -> None:
            """Finished trials are kept by the watcher."""

    return Suggested(watcher)


def _callback(watcher: Watcher) -> tune.Callback:
    from ray.tune import Callback

    class Telling(Callback):
        """Tells the watcher of starts, epochs and ends."""

        def __init__(self, watcher: Watcher) -> None:
            self._watcher = watcher

        def __getstate__(self) -> dict[str, Any]:
            """As above."""
            return {}

        def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
            self._watcher.started(trial.config["number"])

        def on_trial_result(
            self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
        ) -> None:
            if EPOCH in result:
                self._watcher.epoch(trial.config["number"], result[EPOCH], result[CURVES])

        def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
            last = trial.last_result or {}
            if RESULT in last:
                self._watcher.finished(trial.config["number"], last[RESULT])
            else:
                self._watcher.stopped(trial.config["number"], float(last.get("time_total_s", 0.0)))

        def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
            self._watcher.lost(trial.config["number"], _reason(trial.get_pickled_error()))

    return Telling(watcher)


def _reason(error: Exception | None) -> str:
    # of an error inside the trial; Ray's own text begins with its process
    cause = getattr(error, "cause", None)
    if cause is not None:
        return f"{type(cause).__name__}: {cause}".splitlines()[0]
    return f"its process died more than {_RESTARTS} times ({str(error).splitlines()[0] if error else 'no word of it'})"


_OBJECT_STORE_BYTES = 512 * 2**20
_CONNECT_SECONDS = 10
_LONGEST_TEMPORARY = 24  # sockets below have names of at most 107 characters
_LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's own word for: listen on the loopback address alone
    "RAY_DEDUP_LOGS": "1",
    **ONE_THREAD,
}
_TUNE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one greets at every verbosity
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the search, and not only the trials that run
    "RAY_TQDM_PATCH_PRINT": "0",  # Numba, and with it pynndescent, compiles no other print than Python's
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "20",  # a stopped training leaves at the end of its epoch
}


@contextmanager
def ray_on(
    address: str | None, folder: Path, *, object_store_bytes: int = _OBJECT_STORE_BYTES
) -> Iterator[None]:
    """Have Ray running inside: started here and stopped again, or that of ``address``.

    A local Ray listens on the loopback address alone, shows no dashboard, reports nothing, and keeps its sockets in
    a short temporary folder, which is removed with what an earlier, killed run of the same folder left.

    Parameters
    ----------
    address
        Of a running cluster (``auto``, ``host:port``, ``ray://…``); ``None``: this machine's cores.
    folder
        Where the work's results are kept; tells leftovers of the same work.
    object_store_bytes
        Most memory for what processes share, when Ray is started here.

    Raises
    ------
    InputError
        When nothing answers at ``address``.
    """
    with environment(_TUNE if address else _TUNE | _LOCAL):
        import ray

        if ray.is_initialized():
            yield
            return
        temporary = None if address else _temporary_folder(folder)
        try:
            if address:
                _connect(address)
            else:
                with _on_the_loopback_address():
                    ray.init(
                        num_cpus=usable_cores(),
                        include_dashboard=False,
                        _node_ip_address="127.0.0.1",
                        _temp_dir=str(temporary),
                        object_store_memory=object_store_bytes,
                        logging_level=logging.ERROR,
                        log_to_driver=False,
                    )
            yield
        finally:
            ray.shutdown()
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _on_the_loopback_address() -> Iterator[None]:
    """Ray looks at its environment when it is imported, which may have been before."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _connect(address: str) -> None:
    import ray

    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if address != "auto":  # Ray itself waits for minutes, or for ever
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"search.ray_address '{address}': no Ray cluster answers there ({str(error).splitlines()[0]}); start one "
            "by `ray start --head`, or leave ray_address empty for this machine"
        ) from error


def _temporary_folder(folder: Path) -> Path:
    import psutil

    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_TEMPORARY:
        parent = Path("/tmp")
    work = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
    for left in parent.glob(f"svd{work}_*"):
        process = re.fullmatch(rf"svd{work}_(\d+)", left.name)
        if process and not psutil.pid_exists(int(process[1])):
            shutil.rmtree(left, ignore_errors=True)
    temporary = parent / f"svd{work}_{os.getpid()}"
    temporary.mkdir(mode=0o700, exist_ok=True)
    return temporary
