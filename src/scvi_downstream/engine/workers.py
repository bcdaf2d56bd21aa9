"""Groups of nodes, one a trial, run in worker processes; a group that fails says why and stops no other."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from queue import Empty
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.engine.kedro_internals import no_hooks, run_node
from scvi_downstream.runtime import events
from scvi_downstream.runtime.errors import plain_error
from scvi_downstream.runtime.threads import environment, usable_cores

if TYPE_CHECKING:
    from kedro.io import AbstractDataset
    from kedro.pipeline import Node

logger = logging.getLogger(__name__)


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class TrialGroup:
    """Nodes of one trial in the order to run them, the datasets that they touch, the trials that come before."""

    name: str
    nodes: Sequence[Node]
    datasets: Mapping[str, AbstractDataset]
    after: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Outcome:
    """A trial that is over; ``reason`` says why it failed."""

    name: str
    reason: str | None


def run_nodes(group: TrialGroup, run_id: str | None) -> str | None:
    """Run the nodes of a group in this process; returns why it failed, if it did."""
    from kedro.io import DataCatalog

    catalog = DataCatalog(dict(group.datasets))
    for node in group.nodes:
        try:
            run_node(node, catalog, no_hooks(), run_id)
        except Exception as error:
            plain = plain_error(error)
            if plain is None:
                logger.error("%s failed", node.name, exc_info=True)
            return f"{node.name}: {plain or f'{type(error).__name__}: {error}'}"
    return None


def run_groups(groups: Sequence[TrialGroup], workers: int, run_id: str | None) -> Iterator[Outcome]:
    """Run every group, beginning in their order, as many at a time as there are workers, and yield each as it ends.

    A group whose process dies is tried once more by itself, before it counts as failed, and what starts from it after
    it. Each worker uses its share of the cores; with one, trials run in this process.
    """
    if workers == 1:
        yield from _one_by_one(groups, run_id)
        return
    died: list[TrialGroup] = []
    for group, reason in _in_processes(groups, workers, run_id):
        if reason is _DIED:
            died.append(group)
        else:
            yield Outcome(group.name, reason)
    failed: set[str] = set()
    for group in died:
        reason = _why_not(group, failed)
        if reason is None:
            ((_, reason),) = _in_processes([group], 1, run_id)
        if reason is _DIED:
            reason = "its process died twice; is there enough memory?"
        if reason:
            failed.add(group.name)
        yield Outcome(group.name, reason)


_DIED = "the process died"


def _why_not(group: TrialGroup, failed: set[str]) -> str | None:
    before = sorted(group.after & failed)
    return f"it starts from {before[0]}, which failed" if before else None


def _one_by_one(groups: Sequence[TrialGroup], run_id: str | None) -> Iterator[Outcome]:
    failed: set[str] = set()
    for group in groups:
        reason = _why_not(group, failed) or run_nodes(group, run_id)
        if reason:
            failed.add(group.name)
        yield Outcome(group.name, reason)


def _in_processes(
    groups: Sequence[TrialGroup], workers: int, run_id: str | None
) -> Iterator[tuple[TrialGroup, str | None]]:
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    waiting = list(groups)
    running: dict[Future, TrialGroup] = {}
    failed: set[str] = set()
    died: set[str] = set()
    over: set[str] = set()
    names = {group.name for group in groups}
    with environment(dict.fromkeys(_THREADS, str(max(1, usable_cores() // workers)))):
        pool = ProcessPoolExecutor(workers, context, initializer=_begin_worker, initargs=(_settings(), told))
        try:
            while waiting or running:
                for group in [group for group in waiting if group.after & names <= over]:
                    waiting.remove(group)
                    reason = _DIED if group.after & died else _why_not(group, failed)
                    if reason is None:
                        running[_submit(pool, group, run_id)] = group
                        continue
                    over.add(group.name)
                    (died if reason is _DIED else failed).add(group.name)
                    yield group, reason
                done, _ = wait(running, timeout=_LOOK_EVERY_SECONDS, return_when=FIRST_COMPLETED)
                _pass_on(told)
                for future in done:
                    group = running.pop(future)
                    reason = _reason(future)
                    over.add(group.name)
                    if reason:
                        (died if reason is _DIED else failed).add(group.name)
                    yield group, reason
        finally:
            pool.shutdown(wait=not waiting and not running, cancel_futures=True)
            for process in (pool._processes or {}).values():
                process.terminate()


def _submit(pool: ProcessPoolExecutor, group: TrialGroup, run_id: str | None) -> Future:
    try:
        return pool.submit(run_nodes, group, run_id)
    except BrokenProcessPool as error:
        broken: Future = Future()
        broken.set_exception(error)
        return broken


def _reason(future: Future) -> str | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return _DIED


def _pass_on(told: Any) -> None:
    while True:
        try:
            events.publish(told.get_nowait())
        except Empty:
            return


def _settings() -> tuple[str | None, dict[str, Any]]:
    from kedro.framework.project import LOGGING, PACKAGE_NAME

    return PACKAGE_NAME, dict(LOGGING.data)


def _begin_worker(settings: tuple[str | None, dict[str, Any]], told: Any) -> None:
    from kedro.framework.project import configure_logging, configure_project

    # partial functions get their names back only after Kedro has looked at them
    warnings.filterwarnings("ignore", message="The node producing outputs")
    package, logging_config = settings
    if package:
        configure_project(package)
    if logging_config:
        configure_logging(logging_config)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    events.listen(told.put)


def _end_with_parent() -> None:
    """A worker whose run was killed must not go on training."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_DESCRIBING = ("family", "trial_of", "seed", "n_latent", "n_layers", "n_hidden")


def failed_output(dataset: str, spec: Mapping[str, Any], reason: str) -> dict[str, Any] | pd.DataFrame:
    """A record with the reason for the dataset ``<trial>.scores``; an empty table for every other one.

    ``spec`` are the options of the trial, ``reason`` says why there are no results.
    """
    trial, _, kind = dataset.rpartition(".")
    if kind != "scores":
        return pd.DataFrame()
    described = {name: spec[name] for name in _DESCRIBING if spec.get(name) is not None}
    return {"model": trial, **described, "failed": reason}
