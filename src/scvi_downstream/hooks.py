"""What happens around the nodes: the study's parameters, tracking, progress."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import MemoryDataset

from scvi_downstream.datasets.user_paths import user_path
from scvi_downstream.errors import InputError
from scvi_downstream.graph import CurrentStudy, study_graph
from scvi_downstream.progress import QUIET_SECONDS, duration
from scvi_downstream.study import typed_options
from scvi_downstream.summary import run_summary, stored_at

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

    from scvi_downstream.tracking import StudyTracker

logger = logging.getLogger(__name__)
# Dataset of numbers → prefix of its metrics.
_SUMMARIES = {
    "imputation_scores": "imputation",
    "annotation_scores": "annotation",
    "naming_summary": "marker_naming",
    "mapping_summary": "mapping",
    "factor_summary": "factors",
    "batch_summary": "batch",
    "metadata_summary": "metadata",
    "trajectory_summary": "trajectory",
    "sample_summary": "samples",
    "prediction_summary": "prediction",
    "protein_summary": "proteins",
}
_USER_PATHS = ("metadata", "marker_table", "reference", "reference_counts")
_LAYERS = ("03_primary", "04_feature", "06_models", "07_model_output", "08_reporting")


class StudyHooks:
    """Hands the study's parameters to the registry and checks that outputs can be written."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the complete parameters for the registry; Kedro builds the pipelines after this."""
        from kedro.framework.project import pipelines

        CurrentStudy.parameters = context.config_loader["parameters"]
        pipelines.configure(f"{context._package_name}.pipeline_registry")

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Give nodes typed options.

        Kedro types parameters by the nodes' annotations, for which it would have to import scvi-tools and scanpy at
        every command; the study's own schema holds the same types.
        """
        parameters = CurrentStudy.parameters or {}
        for name, options in typed_options(parameters).items():
            catalog[f"params:{name}"] = MemoryDataset(options, copy_mode="assign")
        catalog["parameters"] = MemoryDataset(dict(parameters))

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Say what is left out and why; refuse folders that cannot be written before hours are spent."""
        parameters = CurrentStudy.parameters or {}
        for name, reason in study_graph(parameters).left_out.items():
            logger.info("%s is left out: %s", name, reason)
        for name in _USER_PATHS:
            if parameters.get(name) and not user_path(str(parameters[name])).exists():
                raise InputError(
                    f"{name} '{parameters[name]}' does not exist: no {user_path(str(parameters[name]))}"
                )
        root = Path(run_params["project_path"]) / parameters["data_root"]
        for layer in _LAYERS:
            _check_writable(root / layer / parameters["study"])


class TrackingHooks:
    """Tells the tracker what was run and what came out."""

    def __init__(self) -> None:
        self._tracker: StudyTracker | None = None
        self._catalog: DataCatalog | None = None
        self._champion: dict[str, Any] | None = None

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
        from scvi_downstream.tracking import StudyTracker, tracking_uri

        study = self._parameters["study"]
        self._champion = None
        self._tracker = StudyTracker(
            tracking_uri(self._options.get("tracking_uri"), self._project),
            self._options.get("experiment") or study,
            self._project / "mlartifacts",
        )
        models = sorted({node.namespace.split(".")[0] for node in pipeline.nodes if node.namespace})
        self._tracker.start(f"{study} {run_params['run_id']}", models, _tags(run_params))
        self._tracker.log_parameters(None, self._parameters)
        for model in models:
            spec = self._parameters["models"].get(model, {"family": model.upper()})
            self._tracker.log_parameters(model, {**spec, "seed": self._parameters["seed"], "study": study})

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Log curves, scores, figures and the report as they are made."""
        if self._tracker is None:
            return
        model, _, kind = dataset_name.rpartition(".")
        owner = model or None
        if kind == "history":
            self._tracker.log_curves(model, data)
        elif kind in {"scores", "training_summary"}:
            self._tracker.log_metrics(owner, data)
        elif kind in _SUMMARIES:
            self._tracker.log_metrics(owner, {_SUMMARIES[kind]: _numbers_and_words(data)})
        elif kind == "champion":
            self._champion = data
            self._tracker.log_metrics(owner, {"champion": data})
            self._tracker.describe(f"Champion: {data['reason']}")
        elif kind == "preparation_summary":
            self._tracker.log_data(self._parameters["study"], str(self._parameters["input"]), data)
        elif kind.endswith("_figure"):
            self._tracker.log_file(owner, self._path(dataset_name), "figures")
        elif kind in {"leaderboard", "report", "methods", "references"}:
            self._tracker.log_file(owner, self._path(dataset_name), "reports")

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Name the node in its model's run."""
        if self._tracker is not None and node.namespace:
            self._tracker.finish_failed_model(node.namespace.split(".")[0], f"{node.name}: {error}")

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Register the champion and close the runs."""
        if self._tracker is None:
            return
        if self._champion and self._options.get("register_champion") and self._champion.get("model"):
            folder = self._path(f"{self._champion['model']}.fitted")
            self._tracker.register_champion(
                self._parameters["study"], folder, str(self._champion.get("reason", ""))
            )
        self._tracker.finish("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the runs as failed, with the reason."""
        if self._tracker is not None:
            self._tracker.finish("FAILED", str(error))

    def _path(self, dataset_name: str) -> Path:
        if self._catalog is None:
            raise RuntimeError("the catalogue is made before anything is saved")
        return stored_at(self._catalog, dataset_name)


class ProgressHooks:
    """One line a node that takes its time, and a summary at the end."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._waiting: dict[str, Timer] = {}
        self._done = 0
        self._total = 0
        self._begin = 0.0

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Count the nodes."""
        self._done, self._total, self._begin = 0, len(pipeline.nodes), time.perf_counter()

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

    def _stop_waiting(self, node: Node) -> None:
        timer = self._waiting.pop(node.name, None)
        if timer is not None:
            timer.cancel()

    @hook_impl(trylast=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], catalog: DataCatalog, pipeline: Pipeline
    ) -> None:
        """Print where the results are and what to do next."""
        seconds = time.perf_counter() - self._begin
        print(run_summary(CurrentStudy.parameters or {}, pipeline, catalog, seconds))


def _numbers_and_words(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if not isinstance(value, list)}


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder} ({error.strerror}): give a folder that you may write to, --params data_root=…"
        ) from None


def _tags(run_params: dict[str, Any]) -> dict[str, str]:
    from importlib.metadata import version

    versions = {
        f"version.{name}": version(name)
        for name in ("scvi-downstream", "scvi-tools", "torch", "scanpy", "anndata")
    }
    selection = {
        f"kedro.{name}": str(run_params[name])
        for name in ("pipeline_names", "namespaces", "tags", "env", "run_id")
        if run_params.get(name)
    }
    return versions | selection
