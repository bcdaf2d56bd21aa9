"""Kedro's session for a folder of results anywhere: whose configuration it reads, and what the user set."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scvi_downstream.pipelines.declaration import DEMO
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.package import ROOT, own_cache, own_conf

PACKAGE = ROOT.name
_KINDS = ("parameters*", "catalog*", "mlflow*")
"""Files that Kedro takes from a folder of configuration."""


def parameters_of(source: str, *, others: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Parameters of the study as ``kedro run --params`` would give them.

    Parameters
    ----------
    source
        Input, from the current folder.
    others
        Parameters by their own names, which come before all else.
    given
        Options of the command; ``None``: not given.
    """
    from scvi_downstream.datasets.counts_input_dataset import input_path

    names = {"batch": "batch_key", "label": "label_key", "sample": "sample_key", "condition": "condition_key"}
    names |= {"layer": "counts_layer"}
    named = {names.get(option, option): value for option, value in given.items() if value is not None}
    return {"input": source if source == DEMO else str(input_path(source)), **named, **others}


def run_study(out: Path, conf: Path | None, parameters: Mapping[str, Any]) -> None:
    """As `kedro run`, with results and tracking in ``out`` and the user's configuration ``conf`` on top of ours."""
    source = prepare_kedro(conf)
    from kedro.framework.session import KedroSession

    from scvi_downstream.engine.runner import StudyRunner

    env = None if conf is None else str(conf)
    session = KedroSession.create(out, env=env, runtime_params=dict(parameters), conf_source=str(source))
    with session:
        session.run(runner=StudyRunner())


def prepare_kedro(conf: Path | None) -> Path:
    """Have Kedro know this package; gives the folder of the configuration: the checkout's, or else the package's own.

    Raises
    ------
    InputError
        Kedro would read nothing in ``conf``.
    """
    if conf is not None:
        _require_configuration(conf)
    is_checkout = _is_checkout(Path.cwd())
    source = Path.cwd() / "conf" if is_checkout else own_conf()
    os.environ.setdefault("KEDRO_LOGGING_CONFIG", str(source / "logging.yml"))
    if not own_cache().is_relative_to(ROOT):  # where Numba would keep code that it compiles
        os.environ.setdefault("NUMBA_CACHE_DIR", str(own_cache() / "numba"))
    from kedro.framework.project import configure_project

    configure_project(PACKAGE)
    return source


def _is_checkout(folder: Path) -> bool:
    """Whether a folder is the project itself, with its source."""
    try:
        pyproject = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return pyproject.get("tool", {}).get("kedro", {}).get("package_name") == PACKAGE


def _require_configuration(conf: Path) -> None:
    if any(part.startswith(".") for part in conf.parts[1:]):
        raise InputError(f"{conf} lies in a hidden folder, where Kedro reads nothing; move it")
    if not any(file.suffix in (".yml", ".yaml") for kind in _KINDS for file in conf.rglob(kind)):
        raise InputError(
            f"{conf} holds no parameters*.yml (nor catalog*.yml, mlflow*.yml); name your file so"
        )
