"""One line a node that takes its time, and a summary at the end."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from threading import Timer
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from scvi_downstream import events
from scvi_downstream.graph import CurrentStudy
from scvi_downstream.progress import QUIET_SECONDS, duration
from scvi_downstream.summary import run_summary

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

logger = logging.getLogger(__name__)


class ProgressHooks:
    """One line a node that takes its time, and a summary at the end."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._waiting: dict[str, Timer] = {}
        self._done = 0
        self._total = 0
        self._begin = 0.0
        self._listening = ExitStack()

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Count the nodes."""
        self._done, self._total, self._begin = 0, len(pipeline.nodes), time.perf_counter()
        self._listening.enter_context(events.listening(self._hear))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the node's clock, and say that it runs when it takes more than a moment."""
        self._started[node.name] = time.perf_counter()
        position = f"[{self._done + 1}/{self._total}]"
        timer = Timer(QUIET_SECONDS, logger.info, ("%s %s …", position, node.name))
        timer.daemon = True
        timer.start()
        self._waiting[node.name] = timer

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Say how long a node took when it took more than a moment."""
        self._done += 1
        self._stop_waiting(node)
        seconds = time.perf_counter() - self._started.pop(node.name, time.perf_counter())
        if seconds >= QUIET_SECONDS:
            logger.info("[%d/%d] %s: %s", self._done, self._total, node.name, duration(seconds))

    @hook_impl
    def on_node_error(self, node: Node) -> None:
        """Say nothing more of a node that failed."""
        self._stop_waiting(node)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Listen no more."""
        self._listening.close()

    def _hear(self, event: events.Event) -> None:
        if isinstance(event, events.DatasetsReady):
            self._done += event.nodes

    def _stop_waiting(self, node: Node) -> None:
        timer = self._waiting.pop(node.name, None)
        if timer is not None:
            timer.cancel()

    @hook_impl(trylast=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], catalog: DataCatalog, pipeline: Pipeline
    ) -> None:
        """Print where the results are and what to do next."""
        self._listening.close()
        seconds = time.perf_counter() - self._begin
        print(run_summary(CurrentStudy.parameters or {}, pipeline, catalog, seconds))
