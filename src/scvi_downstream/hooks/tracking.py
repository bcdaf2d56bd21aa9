"""Tells the tracker what was run and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from scvi_downstream.hooks.progress import path_of
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.copies import model_of
from scvi_downstream.runtime import events
from scvi_downstream.scoring.criteria import rows_by_model

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

    from scvi_downstream.tracking.runs import StudyTracker


class TrackingHooks:
    """Opens the runs of a `kedro run`, logs to them as results are made, and closes them."""

    def __init__(self) -> None:
        self._tracker: StudyTracker | None = None
        self._catalog: DataCatalog | None = None
        self._champion: dict[str, Any] | None = None
        self._crowned = False
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
        """Open the parent run, and a child for every model that this run touches."""
        from scvi_downstream.tracking.runs import StudyTracker, tracking_uri

        study = self._parameters["study"]
        self._champion, self._crowned = None, False
        self._tracker = StudyTracker(
            tracking_uri(self._options.get("tracking_uri"), self._project),
            self._options.get("experiment") or study,
            self._project / "mlartifacts",
        )
        models = sorted({model_of(node) for node in pipeline.nodes} - {""})
        self._tracker.start(f"{study} {run_params['run_id']}", models, _tags(run_params))
        self._tracker.log_parameters(None, self._parameters)
        for model in models:
            spec = self._parameters["models"].get(model, {"family": model.upper()})
            of_study = {"seed": self._parameters["seed"], "study": study}
            given = {name: value for name, value in spec.items() if value is not None}
            self._tracker.log_parameters(model, of_study | given)
        self._listening.enter_context(events.listening(self._hear))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Log curves, scores, figures and the report as they are made."""
        self._log(dataset_name, lambda: data)
        if dataset_name == "champion":
            self._crowned = True

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Name the node in its model's run."""
        if self._tracker is not None and model_of(node):
            self._tracker.finish_failed_model(model_of(node), f"{node.name}: {error}")

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Register the champion and close the runs."""
        if self._tracker is None:
            return
        if self._champion and self._options.get("register_champion") and self._champion.get("model"):
            self._register(str(self._champion["model"]), str(self._champion.get("reason", "")))
        self._close("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the runs as failed, with the reason."""
        self._close("FAILED", str(error))

    def _register(self, model: str, reason: str) -> None:
        tracker, study = self._tracker, self._parameters["study"]
        if tracker is None or not (self._crowned or tracker.lacks_champion(study)):
            return  # nothing has changed: another version would be the same
        scores = rows_by_model(self._load("leaderboard"))
        tracker.register_champion(
            study,
            self._path(f"{model}.fitted"),
            reason,
            scores.loc[model].dropna().to_dict(),
            self._load("counts") if self._options.get("champion_example") else None,
        )

    def _close(self, status: str, reason: str | None = None) -> None:
        self._listening.close()
        if self._tracker is not None:
            self._tracker.finish(status, reason)

    def _hear(self, event: events.Event) -> None:
        tracker = self._tracker
        if tracker is None:
            return
        if isinstance(event, events.EpochEnded):
            tracker.log_epoch(event.model, event.epoch, event.values)
        elif isinstance(event, events.DatasetsReady):
            for name in event.names:
                self._log(name, partial(self._load, name))
        elif isinstance(event, events.TrialStarted):
            tracker.start_child(event.name)
            tracker.log_parameters(event.name, event.parameters)
        else:
            tracker.log_metrics(event.name, event.scores)
            tracker.finish_child(event.name, event.status, event.reason)

    def _log(self, dataset_name: str, data: Callable[[], Any]) -> None:
        if self._tracker is None:
            return
        model, _, kind = dataset_name.rpartition(".")
        owner = model or None
        if kind == "history":
            self._tracker.log_curves(model, data())
        elif kind in self._metrics:
            prefix = self._metrics[kind]
            found = {prefix: _numbers_and_words(data())} if prefix else data()
            self._tracker.log_metrics(owner, found)
        elif kind == "champion":
            self._champion = data()
            self._tracker.log_metrics(owner, {"champion": _numbers_and_words(self._champion)})
            self._tracker.describe(f"Champion: {self._champion['reason']}")
        elif kind == "preparation_summary":
            self._tracker.log_data(self._parameters["study"], str(self._parameters["input"]), data())
        elif kind.endswith("_figure"):
            self._tracker.log_file(owner, self._path(dataset_name), "figures")
        elif kind in self._tracked:
            self._tracker.log_file(owner, self._path(dataset_name), "reports")

    def _load(self, dataset_name: str) -> Any:
        return self._made.load(dataset_name)

    def _path(self, dataset_name: str) -> Path:
        return path_of(self._made, dataset_name)

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
