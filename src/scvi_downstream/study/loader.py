"""Kedro's configuration loader with complete parameters and a resolver that lets the catalogue read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from yaml import YAMLError

from scvi_downstream.engine.kedro_internals import requested_pipelines
from scvi_downstream.pipelines import analyses
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.completion import complete_parameters

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*"]},
    "merge_strategy": {"parameters": "soft"},
}


class StudyConfigLoader(OmegaConfigLoader):
    """OmegaConfigLoader whose ``parameters`` are checked and completed before anything runs.

    The catalogue reads any top-level parameter as ``${param:study}``, so that one word of the user
    (a file of ``conf/<study>/`` or ``--params``) moves every output.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._complete: dict[str, Any] | None = None
        OmegaConf.register_resolver("param", lambda name: self["parameters"][name], replace=True)
        OmegaConf.register_resolver("mlflow", lambda name: dict(self["mlflow"]).get(name), replace=True)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Configuration of one kind; ``parameters`` are complete."""
        if key != "parameters":
            return self._read(key)
        if self._complete is None:
            self._complete = complete_parameters(_asked_for_by_name(self._read("parameters")))
        return self._complete

    def _read(self, key: str) -> dict[str, Any]:
        try:
            return super().__getitem__(key)
        except YAMLError as error:  # names the file and the line
            raise InputError(str(error)) from None


def _asked_for_by_name(raw: dict[str, Any]) -> dict[str, Any]:
    """What is left out unless a model is named for it is done on the primary one when asked for by name."""
    asked = {}
    for analysis in analyses():
        given = raw.get(analysis.options_key) or {}
        option = analysis.asked_for
        if option and analysis.name in requested_pipelines() and not given.get(option):
            primary = raw.get("primary")
            asked[analysis.options_key] = {**given, option: [primary] if option == "models" else primary}
    return {**raw, **asked}


def load_parameters(conf: Path, env: str | None = None) -> dict[str, Any]:
    """Complete parameters of an environment above ``base`` (``None``: ``local``), for commands that have no session.

    Where the folder ``conf`` holds no such environment, an InputError says so.
    """
    try:
        return StudyConfigLoader(str(conf), env=env, **CONFIG_LOADER_ARGS)["parameters"]
    except MissingConfigException:
        raise InputError(f"there is no environment '{env}' in {conf}") from None
