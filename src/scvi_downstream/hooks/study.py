"""The study's parameters, handed to the registry and the nodes; what is refused before anything runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import MemoryDataset

from scvi_downstream.datasets.user_table_dataset import user_path
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.completion import typed_options
from scvi_downstream.study.current import CurrentStudy
from scvi_downstream.study.graph import study_graph
from scvi_downstream.study.loader import requested_pipelines

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog

logger = logging.getLogger(__name__)


def stored_datasets(catalog: Mapping[str, Any], project: Path) -> Callable[[str], bool]:
    """A function that says whether a dataset's file or folder exists.

    Parameters
    ----------
    catalog
        Entries and patterns of ``conf/*/catalog*.yml``.
    project
        Folder that relative paths start from.
    """
    from kedro.io import CatalogConfigResolver

    resolver = CatalogConfigResolver(dict(catalog))

    def is_stored(name: str) -> bool:
        path = resolver.resolve_pattern(name).get("filepath")
        return path is not None and (project / path).exists()

    return is_stored


_USER_PATHS = ("metadata", "marker_table", "reference", "reference_counts")
_LAYERS = ("03_primary", "04_feature", "06_models", "07_model_output", "08_reporting")


class StudyHooks:
    """Hands the study's parameters to the registry and checks that outputs can be written."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the complete parameters for the registry; Kedro builds the pipelines after this."""
        from kedro.framework.project import pipelines

        CurrentStudy.parameters = context.config_loader["parameters"]
        CurrentStudy.project = Path(context.project_path)
        CurrentStudy.requested = requested_pipelines()
        CurrentStudy.is_stored = None
        if "reporting" in CurrentStudy.requested:  # of what there is
            catalog = context.config_loader["catalog"]
            CurrentStudy.is_stored = stored_datasets(catalog, CurrentStudy.project)
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
        graph = study_graph(parameters)
        if "sweep" in CurrentStudy.requested and not graph.swept:
            raise InputError(
                "sweep is empty: name lists of values to cross over a model, such as "
                f'--params "sweep.{graph.primary}.n_latent=5;10;30"'
            )
        for name, reason in graph.left_out.items():
            logger.info("%s is left out: %s", name, reason)
        for name in _USER_PATHS:
            if parameters.get(name) and not user_path(str(parameters[name])).exists():
                raise InputError(
                    f"{name} '{parameters[name]}' does not exist: no {user_path(str(parameters[name]))}"
                )
        root = Path(run_params["project_path"]) / parameters["data_root"]
        for layer in _LAYERS:
            _check_writable(root / layer / parameters["study"])


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
