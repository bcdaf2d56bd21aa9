"""Tells the tracker what was run and what came out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from scvi_downstream.hooks.progress import Stored, path_of, short
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.copies import model_of
from scvi_downstream.pipelines.declaration import PLAN
from scvi_downstream.runtime import events
from scvi_downstream.scoring.criteria import rows_by_model

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

    from scvi_downstream.tracking.runs import StudyTracker


logger = logging.getLogger(__name__)


class TrackingHooks:
    """Opens the runs of a `kedro run`, logs to them as results are made, and closes them.

    All this is done by a thread of its own, in order, so that nothing waits for MLflow.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "tracking")
        self._told: list[Future[None]] = []
        self._tracker: StudyTracker | None = None
        self._opening: Callable[[], StudyTracker] | None = None
        self._catalog: DataCatalog | None = None
        self._champion: dict[str, Any] | None = None
        self._listening = ExitStack()
        self._metrics = {name: prefix for found in analyses() for name, prefix in found.metrics.items()}
        self._tracked = {name for found in analyses() for name in found.tracked}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read where to track to."""
        self._options = context.config_loader["mlflow"]
        self._parameters = context.config_loader["parameters"]
        self._project = Path(context.project_path)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Keep the catalogue: figures are logged from where they were saved."""
        self._catalog = catalog

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Listen; runs are opened when there is something to tell of, which is never where all is up to date."""
        self._champion, self._tracker, self._told = None, None, []
        self._opening = partial(self._open, run_params, pipeline)
        self._listening.enter_context(events.listening(partial(self._later, self._hear)))

    def _open(self, run_params: dict[str, Any], pipeline: Pipeline) -> StudyTracker:
        """Open the parent run, and a child for every model that this run touches."""
        from scvi_downstream.tracking.runs import StudyTracker, tracking_uri

        study = self._parameters["study"]
        tracker = StudyTracker(
            tracking_uri(self._options.get("tracking_uri"), self._project),
            self._options.get("experiment") or study,
            self._project / "mlartifacts",
        )
        models = sorted({model_of(node) for node in pipeline.nodes} - {""})
        tracker.start(f"{study} {run_params['run_id']}", models, _tags(run_params))
        tracker.log_parameters(None, self._parameters)
        for model in models:
            spec = self._parameters["models"].get(model, {"family": model.upper()})
            of_study = {"seed": self._parameters["seed"], "study": study}
            given = {name: value for name, value in spec.items() if value is not None}
            tracker.log_parameters(model, of_study | given)
        return tracker

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Log curves, scores, figures and the report as they are made."""
        self._later(self._log_numbers, dataset_name)
        self._later(self._log_files, dataset_name)
        if dataset_name == "champion":
            self._later(self._register, new=True)

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Name the node in its model's run."""
        if model_of(node):
            self._later(self._name_failed, node, error)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Register the champion if it is not, say what was found, and close the runs."""
        self._later(self._register, new=False)
        self._later(self._describe, pipeline)
        self._close("FINISHED")
        for done in self._told:
            done.result()

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the runs as failed, with the reason."""
        if self._opening is not None:
            self._later(self._open_tracker)
        self._close("FAILED", str(error))
        for failed in [told.exception() for told in self._told if told.exception() is not None][:1]:
            logger.warning("not all of the run is in MLflow: %s", failed)

    def _later(self, function: Callable[..., Any], *given: Any, **named: Any) -> None:
        self._told.append(self._thread.submit(function, *given, **named))

    def _name_failed(self, node: Node, error: Exception) -> None:
        self._open_tracker().finish_failed_model(model_of(node), f"{node.name}: {error}")

    def _open_tracker(self) -> StudyTracker:
        if self._tracker is None:
            if self._opening is None:
                raise RuntimeError("a pipeline is begun before its nodes are")
            self._tracker = self._opening()
        return self._tracker

    def _register(self, *, new: bool) -> None:
        """Register the champion, where it is not the one of an earlier run."""
        tracker, study, champion = self._tracker, self._parameters["study"], self._champion or {}
        model = str(champion.get("model") or "")
        if tracker is None or not model or not self._options.get("register_champion"):
            return
        if not new and not tracker.lacks_champion(study):
            return
        tracker.register_champion(
            study,
            path_of(self._made, f"{model}.fitted"),
            str(champion.get("reason", "")),
            rows_by_model(self._made.load("leaderboard")).loc[model].dropna().to_dict(),
            self._made.load("counts") if self._options.get("champion_example") else None,
        )

    def _describe(self, pipeline: Pipeline) -> None:
        from scvi_downstream.pipelines.reporting.findings import lines

        if self._tracker is not None:
            stored = Stored(pipeline.datasets(), self._made)
            report = short(path_of(self._made, "report")) if "report" in pipeline.all_outputs() else None
            self._tracker.describe(lines(stored, self._made.load(PLAN)), report, stored.get("leaderboard"))

    def _close(self, status: str, reason: str | None = None) -> None:
        self._listening.close()
        self._later(self._finish, status, reason)
        wait(self._told)
        self._opening = None

    def _finish(self, status: str, reason: str | None) -> None:
        if self._tracker is not None:
            self._tracker.finish(status, reason)

    def _hear(self, event: events.Event) -> None:
        tracker = self._open_tracker()
        if isinstance(event, events.EpochEnded):
            tracker.log_epoch(event.model, event.epoch, event.values)
        elif isinstance(event, events.DatasetsReused):
            for name in event.names:
                self._log_numbers(name)
        elif isinstance(event, events.TrialStarted):
            tracker.start_child(event.name)
            tracker.log_parameters(event.name, event.parameters)
        elif isinstance(event, events.TrialEnded):
            tracker.log_metrics(event.name, event.scores)
            tracker.finish_child(event.name, event.status, event.reason)

    def _log_numbers(self, dataset: str) -> None:
        """Scores; also those that an earlier run has made, so that the models of a run can be compared."""
        model, _, kind = dataset.rpartition(".")
        if kind in self._metrics:
            prefix, found = self._metrics[kind], self._made.load(dataset)
            found = {prefix: _numbers_and_words(found)} if prefix else found
            self._open_tracker().log_metrics(model or None, found)
        elif kind == "champion":
            self._champion = self._made.load(dataset)
            self._open_tracker().log_metrics(None, {"champion": _numbers_and_words(self._champion)})
        elif kind == "preparation_summary":
            source = str(self._parameters["input"])
            self._open_tracker().log_data(self._parameters["study"], source, self._made.load(dataset))

    def _log_files(self, dataset: str) -> None:
        """Curves, figures and reports, which stay with the run that has made them."""
        model, _, kind = dataset.rpartition(".")
        if kind == "history":
            self._open_tracker().log_curves(model, self._made.load(dataset))
        elif kind.endswith("_figure"):
            self._open_tracker().log_file(model or None, path_of(self._made, dataset), "figures")
        elif kind in self._tracked:
            self._open_tracker().log_file(model or None, path_of(self._made, dataset), "reports")

    @property
    def _made(self) -> DataCatalog:
        if self._catalog is None:
            raise RuntimeError("the catalogue is made before anything runs")
        return self._catalog


def _numbers_and_words(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if not isinstance(value, list)}


def _tags(run_params: dict[str, Any]) -> dict[str, str]:
    from importlib.metadata import version

    packages = ("scvi-downstream", "scvi-tools", "torch", "scanpy", "anndata")
    selection = ("pipeline_names", "namespaces", "tags", "env", "run_id")
    given = {f"kedro.{name}": str(run_params[name]) for name in selection if run_params.get(name)}
    return {f"version.{name}": version(name) for name in packages} | given
