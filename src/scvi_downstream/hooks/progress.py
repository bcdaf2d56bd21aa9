"""What a finished run says last: where the results are and what to do next."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from scvi_downstream.runtime import events
from scvi_downstream.runtime.progress import QUIET_SECONDS, duration
from scvi_downstream.study.current import CurrentStudy

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

logger = logging.getLogger(__name__)


_FOR_PEOPLE = {
    "report": "report, for the browser",
    "analysed": "all results in one AnnData, for scanpy and CELLxGENE",
    "leaderboard": "models compared",
    "search_trials": "trials of the search",
    "search_best": "the best of them, as an entry of models:",
    "run_comparison": "runs compared",
    "hub": "model and its card, for scvi-hub",
    "de_results": "differential expression",
    "markers": "markers",
    "cell_types": "cell types",
    "cluster_names": "names of clusters by marker genes",
    "mapped": "cells mapped onto the reference",
    "factors": "genes of the latent factors",
    "factor_associations": "what latent dimensions follow",
    "batch_effects": "batch structure before and after",
    "composition_tests": "composition by metadata",
    "metadata_genes": "expression by metadata",
    "trajectory": "pseudotime, lineages and fates",
    "sample_distances": "distances between samples",
    "predicted_expression": "expression under other conditions",
    "protein_expression": "denoised proteins",
    "expression": "denoised expression",
}
_MAY_BE_EMPTY = ("composition_tests", "metadata_genes", "sample_distances", "predicted_expression")
# Summaries whose first sentence is worth a line.
_SPEAKING = {
    "annotation_scores": "Cell types",
    "naming_summary": "Marker names",
    "mapping_summary": "Mapping",
    "batch_summary": "Batch effects",
    "factor_summary": "Factors",
    "metadata_summary": "Metadata",
    "trajectory_summary": "Trajectory",
    "sample_summary": "Samples",
    "prediction_summary": "Prediction",
    "protein_summary": "Proteins",
    "predictive_summary": "Predictive checks",
    "cv_summary": "Cross-validation",
    "stability_summary": "Stability",
    "search_summary": "Search",
    "run_comparison_summary": "Runs",
}


def run_summary(
    parameters: Mapping[str, Any], pipeline: Pipeline, catalog: DataCatalog, seconds: float
) -> str:
    """Plain lines for the terminal.

    Parameters
    ----------
    parameters
        Complete parameters of the study.
    pipeline
        What was run.
    catalog
        Where its outputs are.
    seconds
        Wall time of the run.
    """
    written = pipeline.all_outputs()
    lines = [
        "",
        f"Study '{parameters.get('study')}' is done: {len(pipeline.nodes)} steps in {duration(seconds)}.",
    ]
    for name, what in _FOR_PEOPLE.items():
        if name in written and not _is_empty(name, catalog):
            lines.append(f"  {what:<52} {_short(stored_at(catalog, name))}")
    lines += _findings(written, catalog)
    first = (
        "open the report"
        if "report" in written
        else "`kedro run --pipelines reporting` joins it to the report"
    )
    lines += [f"Next: {first}; `make ui` compares the models in MLflow; `make viz` shows the pipeline.", ""]
    return "\n".join(lines)


def _is_empty(name: str, catalog: DataCatalog) -> bool:
    """Whether a table that an analysis may leave without rows has none."""
    return name in _MAY_BE_EMPTY and not len(catalog[name].load())


def stored_at(catalog: DataCatalog, name: str) -> Path:
    """File or folder of a dataset."""
    return Path(str(getattr(catalog[name], "_filepath")))  # noqa: B009 - Kedro's base class does not declare it


def _findings(written: set[str], catalog: DataCatalog) -> list[str]:
    lines = [f"  Champion: {catalog['champion'].load().get('reason', '')}"] if "champion" in written else []
    for name in sorted(written):
        topic = _SPEAKING.get(name.rpartition(".")[2])
        if topic:
            lines += [f"  {topic}: {text}" for text in (catalog[name].load().get("sentences") or [])[:1]]
    return lines


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


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
