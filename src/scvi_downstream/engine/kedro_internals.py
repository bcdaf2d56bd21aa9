"""What the project needs of Kedro that Kedro does not offer in public; nothing else touches its private names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline

if TYPE_CHECKING:
    from kedro.io import AbstractDataset, DataCatalog
    from kedro.pipeline import Node
    from pluggy import PluginManager


def requested_pipelines() -> frozenset[str]:
    """Pipelines that the command names; empty: all that the study calls for."""
    from kedro.framework.project import pipelines

    return frozenset(pipelines._requested_pipelines or ())


def register_with(registry: Callable[[], dict[str, Pipeline]]) -> None:
    """Make ``registry`` the function that Kedro asks for the pipelines of this run.

    Kedro calls ``register_pipelines()`` without arguments, and the pipelines of this project follow from the
    parameters of the run.
    """
    from kedro.framework.project import pipelines

    pipelines._get_pipelines_registry_callable = lambda _: registry  # type: ignore[assignment, method-assign]
    pipelines.configure(pipelines._pipelines_module)  # forgets what it has loaded


class LaterPipeline(Pipeline):
    """A pipeline that is made when something of it is first asked for."""

    def __init__(self, make: Callable[[], Pipeline]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        """Take over all that the pipeline consists of, which Kedro keeps in attributes of the object."""
        if name.startswith("__") or "_nodes" in vars(self):
            raise AttributeError(name)
        vars(self).update(vars(self._make()))
        return getattr(self, name)


def stored_path(dataset: AbstractDataset) -> Path | None:
    """Where a dataset is kept; ``None`` when it is not a file or folder."""
    path = getattr(dataset, "_filepath", None)
    return None if path is None else Path(str(path))


def described(dataset: AbstractDataset) -> dict[str, Any]:
    """What a dataset says of itself: file, arguments, source."""
    return dataset._describe()


def places_of_inputs(node: Node) -> list[tuple[int | str, str]]:
    """Position or keyword → dataset, for every argument that a node gives its function."""
    given = node._inputs
    if isinstance(given, dict):
        return list(given.items())
    return list(enumerate([given] if isinstance(given, str) else given or []))


def no_hooks() -> Any:
    """A plugin manager that calls no hook."""
    from kedro.framework.hooks.manager import _NullPluginManager

    return _NullPluginManager()


def run_node(
    node: Node, catalog: DataCatalog, hook_manager: PluginManager | None, run_id: str | None
) -> None:
    """Load the inputs of a node, run it, save its outputs, and call the hooks around these."""
    from kedro.runner.task import Task

    Task(node, catalog, is_async=False, hook_manager=hook_manager, run_id=run_id).execute()
