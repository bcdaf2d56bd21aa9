"""Kedro's configuration loader with complete parameters and a resolver that lets the catalogue read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.completion import complete_parameters

_OF_LISTED_MODELS = ("cross_validation", "stability")


class StudyConfigLoader(OmegaConfigLoader):
    """OmegaConfigLoader whose ``parameters`` are checked and completed before anything runs.

    The catalogue reads any top-level parameter as ``${param:study}``, so that one word of the user
    (a file of ``conf/<study>/`` or ``--params``) moves every output.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._complete: dict[str, Any] | None = None
        OmegaConf.register_resolver("param", self._top_level_parameter, replace=True)
        OmegaConf.register_resolver("mlflow", self._of_tracking, replace=True)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Configuration of one kind; ``parameters`` are complete."""
        if key != "parameters":
            return super().__getitem__(key)
        if self._complete is None:
            self._complete = complete_parameters(_asked_for_by_name(super().__getitem__("parameters")))
        return self._complete

    def _of_tracking(self, name: str) -> Any:
        return self["mlflow"].get(name)

    def _top_level_parameter(self, name: str) -> Any:
        return self["parameters"][name]


def requested_pipelines() -> frozenset[str]:
    """Pipelines that the command names; empty: all that the study calls for."""
    from kedro.framework.project import pipelines

    return frozenset(pipelines._requested_pipelines or ())


def _asked_for_by_name(raw: dict[str, Any]) -> dict[str, Any]:
    """What is left out unless a model is named for it is done on the primary one when asked for by name."""
    primary = raw.get("primary")
    named = {name: {"models": [primary]} for name in _OF_LISTED_MODELS} | {"search": {"model": primary}}
    asked = {
        name: {**(raw.get(name) or {}), **models}
        for name, models in named.items()
        if name in requested_pipelines() and not any((raw.get(name) or {}).get(key) for key in models)
    }
    return {**raw, **asked}


def load_parameters(project: Path, env: str | None = None) -> dict[str, Any]:
    """Complete parameters of an environment, for commands that have no session.

    Parameters
    ----------
    project
        Folder that holds ``conf/``.
    env
        Environment above ``base``; ``None``: ``local``.

    Raises
    ------
    InputError
        When there is no such environment.
    """
    from scvi_downstream.settings import CONFIG_LOADER_ARGS

    try:
        return StudyConfigLoader(str(project / "conf"), env=env, **CONFIG_LOADER_ARGS)["parameters"]
    except MissingConfigException:
        raise InputError(f"there is no environment '{env}' in {project / 'conf'}") from None
