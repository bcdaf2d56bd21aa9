"""The study's parameters, handed to the registry and the nodes; what is refused before anything runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import MemoryDataset

from scvi_downstream.datasets.user_table_dataset import user_path
from scvi_downstream.engine.incremental import PROVENANCE
from scvi_downstream.engine.kedro_internals import register_with, requested_pipelines
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.declaration import PLAN
from scvi_downstream.runtime.errors import InputError, require_extra
from scvi_downstream.runtime.figure_style import choose_style
from scvi_downstream.study.plan import plan_study

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import CatalogConfigResolver, DataCatalog
    from kedro.pipeline import Pipeline

    from scvi_downstream.pipelines.declaration import Study

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredDatasets:
    """Says whether a dataset's file or folder exists.

    ``catalog`` holds the entries and patterns of ``conf/*/catalog*.yml``; relative paths start from ``project``.
    """

    catalog: Mapping[str, Any]
    project: Path

    def __call__(self, name: str) -> bool:
        """Of a dataset's name."""
        path = self._resolver.resolve_pattern(name).get("filepath")
        return path is not None and (self.project / path).exists()

    @cached_property
    def _resolver(self) -> CatalogConfigResolver:
        from kedro.io import CatalogConfigResolver

        return CatalogConfigResolver(dict(self.catalog))


_USER_PATHS = ("metadata", "marker_table", "reference", "reference_counts", "figure_style")
_LAYERS = ("03_primary", "04_feature", "06_models", "07_model_output", "08_reporting")


class StudyHooks:
    """Plans the study, hands it to the registry and the nodes, and checks that outputs can be written."""

    def __init__(self) -> None:
        self._study: Study | None = None
        self._project = Path()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Plan the study from its complete parameters; Kedro builds the pipelines after this."""
        from scvi_downstream.pipeline_registry import register_pipelines

        self._project = Path(context.project_path)
        requested = requested_pipelines()
        is_stored = None
        if "reporting" in requested:  # of what there is
            is_stored = StoredDatasets(context.config_loader["catalog"], self._project)
        self._study = plan_study(context.config_loader["parameters"], requested, is_stored)
        register_with(partial(register_pipelines, self._study))

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Give nodes the study and its typed options.

        Kedro types parameters by the nodes' annotations, for which it would have to import scvi-tools and scanpy at
        every command; the study's own schema holds the same types.
        """
        study = self._planned
        given: dict[str, Any] = {f"params:{name}": options for name, options in study.options.items()}
        given |= {"parameters": dict(study.parameters), PLAN: study}
        given[PROVENANCE] = self._folder("06_models") / PROVENANCE
        for name, value in given.items():
            catalog[name] = MemoryDataset(value, copy_mode="assign")

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Say what is left out and why; refuse before hours are spent what is not installed or cannot be written."""
        study = self._planned
        for analysis in analyses():
            if any(node.func.__module__.startswith(f"{analysis.package}.") for node in pipeline.nodes):
                for library, extra in analysis.extra.items():
                    require_extra(library, extra, f"the pipeline {analysis.name}")
        if "sweep" in study.requested and not study.swept:
            raise InputError(
                "sweep is empty: name lists of values to cross over a model, such as "
                f'--params "sweep.{study.primary}.n_latent=5;10;30"'
            )
        for name, reason in study.left_out.items():
            logger.info("%s is left out: %s", name, reason)
        for name in _USER_PATHS:
            given = study.parameters.get(name)
            if given and not (path := user_path(str(given))).exists():
                raise InputError(f"{name} '{given}' does not exist: no {path}")
        _use_style(study.parameters["figure_style"])
        for layer in _LAYERS:
            _check_writable(self._folder(layer))

    @property
    def _planned(self) -> Study:
        if self._study is None:
            raise RuntimeError("Kedro makes the context before the catalogue and the run")
        return self._study

    def _folder(self, layer: str) -> Path:
        parameters = self._planned.parameters
        return self._project / parameters["data_root"] / layer / parameters["study"]


def _use_style(given: str | None) -> None:
    """Let figures be drawn by the user's style file, which is refused here if it is wrong."""
    choose_style(str(user_path(given).resolve()) if given else "")
    if given:
        from scvi_downstream.plots.style_file import style_settings

        style_settings()


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to {folder} ({error.strerror}): give a folder that you may write to, --out … (kedro run: "
            "--params data_root=…)"
        ) from None
