"""One parent run a `kedro run`, one child run a model."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping
from itertools import batched
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.tracking.page import PARENT_TAG, REPORT, experiment_tags, run_text

if TYPE_CHECKING:
    from anndata import AnnData
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric

    from scvi_downstream.pipelines.reporting.findings import Line

# MLflow honours only this spelling; it must be set before the first import.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

SQLITE = "sqlite:///"
_MOST_METRICS_A_CALL = 1000
_MOST_PARAMS_A_CALL = 100
_LONGEST_PARAM = 6000
_LONGEST_NAME = 250
_LIVE_EVERY_SECONDS = 10.0
_PROCESS_TAG = "process"
_DESCRIPTION_TAG = "mlflow.note.content"
_SOURCE = {"mlflow.source.name": "kedro run", "mlflow.source.type": "PROJECT"}
# By which training is stopped; the parent's page shows that of every model.
_HELD_OUT_CURVE = "curves/elbo_validation"
# Longer texts are sentences, which stand in the report.
_LONGEST_WORD = 60


def tracking_uri(configured: str | None, project: Path) -> str:
    """``MLFLOW_TRACKING_URI``, else the configured address, else SQLite at an absolute path in the project."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or configured
    return given or f"{SQLITE}{(project / 'mlflow.db').resolve()}"


def open_store(uri: str) -> MlflowClient:
    """Client of a tracking store and its registry, without MLflow's own remarks."""
    from mlflow import MlflowClient

    for talkative in ("alembic", "mlflow"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    file = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not file.exists():
        _create_whole(file)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create_whole(file: Path) -> None:
    """Make a store's tables beside it first: MLflow cannot open one whose process was killed while making them."""
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        begun = Path(folder) / file.name
        MlflowClient(tracking_uri=f"{SQLITE}{begun}").search_experiments(max_results=1)
        try:
            file.hardlink_to(begun)
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # a file system without links
            begun.replace(file)


class StudyTracker:
    """Runs of one `kedro run` in a tracking store; its experiment is the study.

    ``artifacts`` is the folder of the artifacts when the store is a file of this machine.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        self.uri = uri
        self._client = open_store(uri)
        self._experiment = self._find_or_create(experiment, artifacts if uri.startswith("sqlite") else None)
        self._parent: str | None = None
        self._children: dict[str, str] = {}
        self._models: frozenset[str] = frozenset()
        self._tags: dict[str, str] = {}
        self._data: DatasetInput | None = None
        self._live: dict[str, list[Metric]] = {}
        self._drawn: dict[str, int] = {}
        self._sent: dict[str, float] = {}

    def start(self, name: str, models: Iterable[str], tags: Mapping[str, str]) -> None:
        """Open the parent run and a child for each model, after closing runs whose process is gone."""
        self._close_abandoned()
        self._tags = {**tags, _PROCESS_TAG: _this_process(), **_SOURCE}
        self._parent = self._create(name, self._tags)
        self._models = frozenset(models)
        for model in models:
            self.start_child(model)

    def start_child(self, model: str) -> None:
        """Open the run of one more model or trial."""
        parent = self._run(None)
        self._children[model] = self._create(model, {**self._tags, PARENT_TAG: parent, "model": model})
        if self._data is not None:
            self._client.log_inputs(self._children[model], datasets=[self._data])

    def finish_child(self, model: str, status: str, reason: str = "") -> None:
        """Close the run of a model or trial, with the reason where it failed."""
        if model not in self._children:
            return
        self._send(model, self._live.pop(model, []))
        if reason:
            self._client.set_tag(self._children[model], "error", reason[:_LONGEST_PARAM])
        self._end(self._children.pop(model), status)

    def log_parameters(self, model: str | None, parameters: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names, to the model's run or (``None``) to the parent."""
        from mlflow.entities import Param

        flat = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in flatten(parameters).items()]
        for some in batched(flat, _MOST_PARAMS_A_CALL):
            self._client.log_batch(self._run(model), params=list(some))

    def log_metrics(self, model: str | None, metrics: Mapping[str, Any]) -> None:
        """Log the finite numbers among ``metrics``; words are tags."""
        from mlflow.entities import Metric, RunTag

        now = _milliseconds()
        numbers, words = [], []
        for name, value in flatten(metrics).items():
            if len(name) > _LONGEST_NAME:
                continue
            if isinstance(value, bool | str):
                if len(str(value)) <= _LONGEST_WORD:
                    words.append(RunTag(name, str(value)))
            elif isinstance(value, int | float) and math.isfinite(value):
                numbers.append(Metric(_metric_name(name), float(value), now, 0))
        self._client.log_batch(self._run(model), metrics=numbers, tags=words)

    def log_curves(self, model: str, history: pd.DataFrame) -> None:
        """Log every column of ``history`` as ``curves/<column>`` by its index, the epoch."""
        drawn = self._drawn.pop(model, 0)
        epochs = history[history.index > drawn].to_dict("index")
        points = [point for epoch, values in epochs.items() for point in _points(int(epoch), values)]
        self._send(model, [*self._live.pop(model, []), *points])

    def log_epoch(self, model: str, epoch: int, values: Mapping[str, float]) -> None:
        """Draw one more epoch of a model's curves; sent every few seconds, and a model without a run is ignored."""
        if model not in self._children:
            return
        self._live.setdefault(model, []).extend(_points(epoch, values))
        self._drawn[model] = max(epoch, self._drawn.get(model, 0))
        if time.monotonic() - self._sent.get(model, 0.0) > _LIVE_EVERY_SECONDS:
            self._sent[model] = time.monotonic()
            self._send(model, self._live.pop(model))

    def _send(self, model: str, points: list[Metric]) -> None:
        held_out = [point for point in points if model in self._models and point.key == _HELD_OUT_CURVE]
        of_parent = [_renamed(point, f"{_HELD_OUT_CURVE}/{model}") for point in held_out]
        for run, found in ((self._run(model), points), (self._run(None), of_parent)):
            for some in batched(found, _MOST_METRICS_A_CALL):
                self._client.log_batch(run, metrics=list(some))

    def describe(self, lines: Iterable[Line], report: str | None, board: pd.DataFrame | None) -> None:
        """Say on the page of the parent run what was found; see :func:`.page.run_text`."""
        text = run_text(self._experiment, self._run(None), lines, report, board)
        self._client.set_tag(self._run(None), _DESCRIPTION_TAG, text)

    def log_file(self, model: str | None, path: Path, folder: str) -> None:
        """Keep a file with the run; the report in no folder, where it is seen at once."""
        self._client.log_artifact(self._run(model), str(path), None if path.name == REPORT else folder)

    def log_data(self, study: str, source: str, summary: Mapping[str, Any]) -> None:
        """Record which counts went in: name, source, fingerprint and shape."""
        from mlflow.entities import Dataset, DatasetInput

        profile = {name: summary[name] for name in ("n_cells", "n_genes") if name in summary}
        data = Dataset(
            name=study,
            digest=str(summary.get("data_fingerprint", ""))[:36],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        self._data = DatasetInput(data, [])
        for model in (None, *self._children):
            self._client.log_inputs(self._run(model), datasets=[self._data])

    def lacks_champion(self, name: str) -> bool:
        """Whether no champion of that name is registered."""
        from scvi_downstream.tracking.registry import lacks_champion

        return lacks_champion(self._client, name)

    def register_champion(
        self,
        name: str,
        folder: Path,
        description: str,
        scores: Mapping[str, Any],
        counts_example: AnnData | None = None,
    ) -> str:
        """Register a saved model as the champion; see :func:`scvi_downstream.tracking.registry.register_champion`."""
        from scvi_downstream.tracking.registry import register_champion

        return register_champion(
            self._client, self._run(None), name, folder, description, scores, counts_example
        )

    def finish(self, status: str, reason: str | None = None) -> None:
        """Close the children and the parent as ``FINISHED``, ``FAILED`` or ``KILLED``; once."""
        for model, points in self._live.items():
            self._send(model, points)
        for run in filter(None, [*self._children.values(), self._parent]):
            if reason:
                self._client.set_tag(run, "error", reason[:_LONGEST_PARAM])
            self._end(run, status)
        self._parent, self._children, self._live = None, {}, {}

    def _end(self, run: str, status: str) -> None:
        self._client.set_terminated(run, status=status)
        self._client.delete_tag(run, _PROCESS_TAG)

    def finish_failed_model(self, model: str, reason: str) -> None:
        """Say in the run of the model whose node failed why it did."""
        if model in self._children:
            self._client.set_tag(self._children[model], "failed_node", reason[:_LONGEST_PARAM])

    def _find_or_create(self, experiment: str, artifacts: Path | None) -> str:
        found = self._client.get_experiment_by_name(experiment)
        if found is not None and found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        if found is None:
            location = (artifacts / experiment).resolve().as_uri() if artifacts else None
            return str(self._client.create_experiment(experiment, location, dict(experiment_tags())))
        for name, value in experiment_tags().items():
            if name not in found.tags:
                self._client.set_experiment_tag(found.experiment_id, name, value)
        return str(found.experiment_id)

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        return str(self._client.create_run(self._experiment, run_name=name, tags=dict(tags)).info.run_id)

    def _run(self, model: str | None) -> str:
        run = self._parent if model is None else self._children.get(model)
        if run is None:
            raise KeyError(f"no open run for {model or 'the study'}")
        return run

    def _close_abandoned(self) -> None:
        """Mark as KILLED what processes of this machine left open when they died."""
        for run in self._client.search_runs([self._experiment], "attributes.status = 'RUNNING'"):
            if _is_gone(run.data.tags.get(_PROCESS_TAG, "")):
                self._client.set_terminated(run.info.run_id, status="KILLED")


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def _points(epoch: int, values: Mapping[str, float]) -> list[Metric]:
    """Points of curves; those that are not finite are left out."""
    from mlflow.entities import Metric

    now = _milliseconds()
    finite = {curve: float(value) for curve, value in values.items() if math.isfinite(value)}
    return [Metric(f"curves/{curve}", value, now, epoch) for curve, value in finite.items()]


def _renamed(point: Metric, name: str) -> Metric:
    from mlflow.entities import Metric

    return Metric(name, point.value, point.timestamp, point.step)


def _metric_name(name: str) -> str:
    """MLflow takes no other characters, such as the + of a cell type."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _this_process() -> str:
    import psutil

    return f"{platform.node()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def _is_gone(process: str) -> bool:
    import psutil

    node, _, rest = process.rpartition(":")[0].rpartition(":")
    created = process.rpartition(":")[2]
    if node != platform.node() or not rest.isdigit():
        return False
    try:
        return f"{psutil.Process(int(rest)).create_time():.0f}" != created
    except psutil.NoSuchProcess:
        return True


def _milliseconds() -> int:
    return int(time.time() * 1000)
