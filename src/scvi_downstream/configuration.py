"""Kedro's configuration loader with complete parameters and a resolver that lets the catalogue read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf

from scvi_downstream.errors import InputError
from scvi_downstream.study import complete_parameters


class StudyConfigLoader(OmegaConfigLoader):
    """OmegaConfigLoader whose ``parameters`` are checked and completed before anything runs.

    The catalogue reads any top-level parameter as ``${param:study}``, so that one word of the user
    (a file of ``conf/<study>/`` or ``--params``) moves every output.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._complete: dict[str, Any] | None = None
        OmegaConf.register_resolver("param", self._top_level_parameter, replace=True)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Configuration of one kind; ``parameters`` are complete."""
        if key != "parameters":
            return super().__getitem__(key)
        if self._complete is None:
            self._complete = complete_parameters(super().__getitem__("parameters"))
        return self._complete

    def _top_level_parameter(self, name: str) -> Any:
        return self["parameters"][name]


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
