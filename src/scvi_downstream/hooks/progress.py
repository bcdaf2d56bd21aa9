"""What a finished run says last: where the results are and what to do next."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.utils import is_kedro_project

from scvi_downstream.engine.kedro_internals import stored_path
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.declaration import PLAN
from scvi_downstream.runtime import events
from scvi_downstream.runtime.progress import QUIET_SECONDS, duration

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

logger = logging.getLogger(__name__)


def _run_summary(
    run_params: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog, seconds: float
) -> str:
    """Plain lines for the terminal on a run of a pipeline and its wall time, and the session's parameters."""
    from scvi_downstream.pipelines.reporting.findings import lines as headlines

    written, parameters = pipeline.all_outputs(), catalog.load("parameters")
    found = headlines(Stored(pipeline.datasets(), catalog), catalog.load(PLAN))
    done = f"{len(pipeline.nodes)} steps in {duration(seconds)}"
    lines = ["", f"Study '{parameters.get('study')}' is done: {done}."]
    # what is left for people to open, the report first
    for analysis in sorted(analyses(), key=lambda analysis: analysis.name != "reporting"):
        for name, what in analysis.files.items():
            may_be_empty = name in analysis.may_be_empty
            if name in written and not (may_be_empty and not len(catalog[name].load())):
                lines.append(f"  {what:<52} {short(path_of(catalog, name))}")
    width = max((len(line.trust) for line in found), default=0)
    lines += [f"  {line.trust:<{width}}  {line.section.title}: {line.text}" for line in found]
    lines += [_next(Path(run_params["project_path"]), has_report="report" in written), ""]
    return "\n".join(lines)


def _next(project: Path, *, has_report: bool) -> str:
    joining = "`kedro run --pipelines reporting` joins it to the report"
    if is_kedro_project(project):
        first, of_pages = "open the report" if has_report else joining, "make {}"
    else:
        elsewhere = "" if project == Path.cwd() else f" --out {shlex.quote(str(project))}"
        of_pages = f"scvi-downstream {{}}{elsewhere}"
        first = f"`{of_pages.format('report')}` opens the report"
    pages = f"`{of_pages.format('ui')}` compares the models in MLflow; `{of_pages.format('viz')}` shows the pipeline"
    return f"Next: {first}; {pages}."


def path_of(catalog: DataCatalog, name: str) -> Path:
    """File or folder of a dataset.

    Raises
    ------
    ValueError
        It is kept in memory.
    """
    path = stored_path(catalog[name])
    if path is None:
        raise ValueError(f"{name} is not kept in a file")
    return path


class Stored(Mapping[str, Any]):
    """Contents of the datasets of a pipeline that has run, read when they are asked for."""

    def __init__(self, names: set[str], catalog: DataCatalog) -> None:
        self._names, self._catalog = names, catalog

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._catalog[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def short(path: Path) -> str:
    """A path as it is written from the project's folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


class ProgressHooks:
    """One line a node that takes its time, and a summary at the end."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._waiting: dict[str, Timer] = {}
        self._done: set[str] = set()
        self._total = 0
        self._begin = 0.0
        self._listening = ExitStack()

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Count the nodes."""
        self._done, self._total, self._begin = set(), len(pipeline.nodes), time.perf_counter()
        self._listening.enter_context(events.listening(self._hear))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Start the node's clock, and say that it runs when it takes more than a moment."""
        self._started[node.name] = time.perf_counter()
        position = f"[{len(self._done) + 1}/{self._total}]"
        timer = Timer(QUIET_SECONDS, logger.info, ("%s %s …", position, node.name))
        timer.daemon = True
        timer.start()
        self._waiting[node.name] = timer

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Say how long a node took when it took more than a moment."""
        self._done.add(node.name)
        self._stop_waiting(node)
        seconds = time.perf_counter() - self._started.pop(node.name, time.perf_counter())
        if seconds >= QUIET_SECONDS:
            logger.info("[%d/%d] %s: %s", len(self._done), self._total, node.name, duration(seconds))

    @hook_impl
    def on_node_error(self, node: Node) -> None:
        """Say nothing more of a node that failed."""
        self._stop_waiting(node)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Listen no more."""
        self._listening.close()

    def _hear(self, event: events.Event) -> None:
        if isinstance(event, events.DatasetsReused):
            self._done.update(event.nodes)

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
        print(_run_summary(run_params, pipeline, catalog, seconds))
