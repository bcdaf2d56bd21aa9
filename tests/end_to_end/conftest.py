"""One run of the whole graph by the command line, whose outputs the end-to-end tests look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kedro.io import DataCatalog

PROJECT = Path(__file__).resolve().parents[2]
STUDY = "test"


@dataclass(frozen=True)
class StudyRun:
    """What a run left: its printed lines and where its files and its tracking store are."""

    output: str
    data_root: Path
    tracking_uri: str

    def folder(self, layer: str) -> Path:
        """Folder of the study in one of the data layers."""
        return self.data_root / layer / STUDY

    @property
    def params(self) -> str:
        """``--params`` of further commands on the same study."""
        return f"data_root={self.data_root}"


def run_kedro(*arguments: str, tracking_uri: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Run a kedro command in a process of its own."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": tracking_uri, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kedro", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=cwd, check=False, timeout=600
    )


@pytest.fixture(scope="session")
def kedro() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a kedro command in a process of its own."""
    return run_kedro


@pytest.fixture(scope="session")
def study_run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The demonstration's cells through the whole graph in the `test` environment."""
    root = tmp_path_factory.mktemp("study")
    uri = f"sqlite:///{root / 'tracking.db'}"
    done = run_kedro("run", "--env", "test", "--params", f"data_root={root / 'data'}", tracking_uri=uri)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return StudyRun(output=done.stdout + done.stderr, data_root=root / "data", tracking_uri=uri)


@pytest.fixture
def run_part(study_run: StudyRun, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a selection of the study's nodes in this process, on the outputs that are there."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    monkeypatch.setenv("MLFLOW_TRACKING_URI", study_run.tracking_uri)
    monkeypatch.chdir(PROJECT)

    def run(params: dict[str, Any] | None = None, **selection: Any) -> Any:
        bootstrap_project(PROJECT)
        runtime = {"data_root": str(study_run.data_root), **(params or {})}
        with KedroSession.create(PROJECT, env="test", runtime_params=runtime) as session:
            return session.run(**selection)

    return run


@pytest.fixture
def catalog(study_run: StudyRun) -> DataCatalog:
    """The catalogue of the study."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(PROJECT)
    runtime = {"data_root": str(study_run.data_root)}
    with KedroSession.create(PROJECT, env="test", runtime_params=runtime) as session:
        return session.load_context().catalog
