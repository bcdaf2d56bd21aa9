"""Pages in the browser: the report of a study, MLflow, Kedro-Viz. Servers listen on this machine alone."""

from __future__ import annotations

import os
import socket
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from scvi_downstream.command.session import PACKAGE, prepare_kedro
from scvi_downstream.runtime.errors import InputError, closest, require_extra

HOST = "127.0.0.1"


def find_report(folder: Path, study: str | None) -> Path:
    """The report of a study, or the newest, among results in a folder.

    Raises
    ------
    InputError
        There is none; the studies that have one are named.
    """
    found = {path.parent.name: path for path in folder.glob("data/08_reporting/*/report.html")}
    if not found:
        raise InputError(f"there is no report in {folder}; name the folder of the results by --out")
    if study is None:
        return max(found.values(), key=lambda path: path.stat().st_mtime)
    if study not in found:
        raise InputError(f"there is no report of '{study}' in {folder}{closest(study, found)}")
    return found[study]


def serve_tracking(folder: Path, port: int) -> NoReturn:
    """Become MLflow's server, with the runs of the results in a folder (or of ``MLFLOW_TRACKING_URI``).

    Raises
    ------
    InputError
        Nothing was run there, or the port is in use.
    """
    from scvi_downstream.tracking.page import newest_runs
    from scvi_downstream.tracking.runs import tracking_uri

    if not os.environ.get("MLFLOW_TRACKING_URI") and not (folder / "mlflow.db").exists():
        raise InputError(f"there are no runs in {folder}; name the folder of the results by --out")
    uri = tracking_uri(None, folder)
    _say_where(f"MLflow with the runs of {folder}", port)
    for study, address in newest_runs(uri, f"http://{HOST}:{port}").items():
        click.echo(f"newest run of {study}: {address}")
    # One worker serves one reader; MLflow's four and its runner of jobs time out beside a training on a laptop.
    options = {"host": HOST, "port": port, "workers": 1, "backend-store-uri": uri}
    options["uvicorn-opts"] = "--log-level critical"  # else Ctrl-C is told at length
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    quiet = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    quiet["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "ui", *words], os.environ | quiet)


def serve_pipeline(folder: Path, conf: Path | None, parameters: Mapping[str, Any], port: int) -> None:
    """Serve Kedro-Viz with the pipeline of a study until it is interrupted.

    Raises
    ------
    InputError
        It is not installed, or the port is in use.
    """
    require_extra("kedro_viz", "viz", "scvi-downstream viz")
    source = prepare_kedro(conf)
    from kedro_viz.server import run_server

    from scvi_downstream import settings

    settings.CONF_SOURCE = str(source)  # the one way to tell Kedro-Viz
    _say_where("Kedro-Viz", port)
    warnings.filterwarnings("ignore", module="kedro_viz")
    with suppress(KeyboardInterrupt):
        run_server(
            host=HOST,
            port=port,
            env=None if conf is None else str(conf),
            project_path=str(folder),
            include_hooks=True,
            package_name=PACKAGE,
            extra_params=dict(parameters),
        )


def _say_where(what: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise InputError(f"port {port} is in use; name another by --port") from None
    click.echo(f"{what}: http://{HOST}:{port} in a moment (Ctrl-C ends it)")
