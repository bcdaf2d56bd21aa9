"""Where nodes run: in this process, or in worker processes that are forked with what they need imported."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING, Any

from kedro.io import DataCatalog, MemoryDataset

from scvi_downstream.engine.incremental import content_of
from scvi_downstream.engine.kedro_internals import no_hooks, run_node, stored_path
from scvi_downstream.runtime import events
from scvi_downstream.runtime.errors import plain_error
from scvi_downstream.runtime.figure_style import choose_style, own_style
from scvi_downstream.runtime.threads import ONE_THREAD, environment, one_thread

if TYPE_CHECKING:
    from kedro.io import AbstractDataset
    from kedro.pipeline import Node

logger = logging.getLogger(__name__)

# Libraries that take long to import: workers are forked with those that at least two nodes are going to use.
SLOW_LIBRARIES = ("anndata", "faiss", "igraph", "matplotlib", "pandas", "scipy", "scvi", "sklearn", "torch")
# Not in a process that goes on after the run: Numba compiles nothing more once this is another than it began with.
_OF_WORKERS = ONE_THREAD | {"NUMBA_NUM_THREADS": "1"}
_UNSWEPT = "scvi_downstream.engine.unswept"
_LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Work:
    """A node and the datasets that it touches."""

    node: Node
    datasets: Mapping[str, AbstractDataset]


@dataclass(frozen=True)
class Made:
    """What a node has left: digests of its files' contents, values that go through memory, and the seconds it took."""

    contents: Mapping[str, str]
    values: Mapping[str, Any]
    seconds: float


def execute(work: Work) -> Made:
    """Load the inputs of a node, run it, save its outputs."""
    catalog = DataCatalog(dict(work.datasets))
    started = time.perf_counter()
    run_node(work.node, catalog, no_hooks(), None)
    seconds = time.perf_counter() - started
    paths = {name: path for name in work.node.outputs if (path := stored_path(catalog[name])) is not None}
    contents = {name: content for name, path in paths.items() if (content := content_of(path)) is not None}
    in_memory = [name for name in work.node.outputs if isinstance(catalog[name], MemoryDataset)]
    return Made(contents, {name: catalog.load(name) for name in in_memory}, seconds)


class InThisProcess:
    """Runs each node where it is asked to, before it returns.

    Parameters
    ----------
    limit_threads
        Whether numerical libraries use one thread, as they do in workers, so that results are the same.
    """

    capacity = 1

    def __init__(self, *, limit_threads: bool) -> None:
        self._surroundings = ExitStack()
        if limit_threads:
            self._surroundings.enter_context(environment(ONE_THREAD))
        self._limit = one_thread if limit_threads else nullcontext

    def submit(self, work: Work) -> Future[Made]:
        """Run a node; its failure is in what is returned."""
        done: Future[Made] = Future()
        try:
            with self._limit():
                done.set_result(execute(work))
        except Exception as error:  # noqa: BLE001  (any failure of a node is its result)
            done.set_exception(error)
        return done

    def wait(self, running: Collection[Future[Made]]) -> set[Future[Made]]:
        """Those of ``running`` that have ended."""
        return set(running)

    def close(self) -> None:
        """Give the process its surroundings back."""
        self._surroundings.close()


class InProcesses:
    """Runs nodes side by side in processes of their own, with one thread each.

    Processes are forked from a server that has imported the slow libraries once. What nodes tell of (epochs) is told
    to the listeners of this process.

    Parameters
    ----------
    workers
        Processes.
    libraries
        Names of modules to import before processes are forked.
    """

    def __init__(self, workers: int, libraries: Iterable[str]) -> None:
        self.capacity = workers
        self._context = begin_imports(libraries)
        self._told = self._context.Queue()
        self._pool = self._start(workers)
        self._busy = False

    def submit(self, work: Work) -> Future[Made]:
        """Begin a node."""
        self._busy = True
        try:
            with environment(_OF_WORKERS):
                return self._pool.submit(_in_worker, work)
        except BrokenProcessPool as error:
            broken: Future[Made] = Future()
            broken.set_exception(error)
            return broken

    def wait(self, running: Collection[Future[Made]]) -> set[Future[Made]]:
        """Those of ``running`` that have ended, after half a second at most; and pass on what nodes tell."""
        done, left = wait(running, timeout=_LOOK_EVERY_SECONDS, return_when=FIRST_COMPLETED)
        self._busy = bool(left)
        self._pass_on()
        return done

    def run_alone(self, work: Work) -> Future[Made]:
        """Run a node in a new process with no other beside it, and begin with new ones afterwards."""
        self._stop()
        self._pool = self._start(1)
        future = self.submit(work)
        while not self.wait([future]):
            pass
        self._stop()
        self._pool = self._start(self.capacity)
        return future

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function answers in a worker."""
        return self._pool.submit(function, *arguments).result()

    def close(self) -> None:
        """End the processes and whatever runs in them."""
        self._pass_on()
        self._stop()
        self._told.close()
        self._told.join_thread()

    def _start(self, workers: int) -> ProcessPoolExecutor:
        given = (_logging(), self._told, own_style()[0])
        return ProcessPoolExecutor(workers, self._context, initializer=_begin_worker, initargs=given)

    def _stop(self) -> None:
        processes = list((self._pool._processes or {}).values())
        if self._busy:
            for process in processes:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def _pass_on(self) -> None:
        while True:
            try:
                events.publish(self._told.get_nowait())
            except Empty:
                return


def begin_imports(libraries: Iterable[str]) -> Any:
    """Start the server that workers are forked from, which imports while this process goes on."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing.forkserver import ensure_running

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_UNSWEPT, *libraries, __name__])
    with environment(_OF_WORKERS):
        ensure_running()
    return context


def _in_worker(work: Work) -> Made:
    """As :func:`execute`; an error reaches the other process as what it is there."""
    try:
        return execute(work)
    except Exception as error:
        plain = plain_error(error)
        if plain is not None:
            raise plain from None
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001  (a class of a stranger may fail in any way)
            raise RuntimeError(f"{type(error).__name__}: {error}").with_traceback(
                error.__traceback__
            ) from None
        raise


def _logging() -> dict[str, Any]:
    from kedro.framework.project import LOGGING

    return dict(LOGGING.data)


def _begin_worker(logging_config: dict[str, Any], told: Any, style: str) -> None:
    from kedro.framework.project import configure_logging

    # partial functions get their names back only after Kedro has looked at them
    warnings.filterwarnings("ignore", message="The node producing outputs")
    if logging_config:
        configure_logging(logging_config)
    gc.freeze()  # what was imported stays: full collections go through all of it, half a second each
    gc.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    choose_style(style)  # the server may have been started for another one
    events.listen(told.put)


def _end_with_parent() -> None:
    """A worker whose run was killed must not go on training."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
