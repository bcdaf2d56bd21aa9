"""One run of the whole graph by the command line, whose outputs the end-to-end tests look at."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kedro.io import DataCatalog

PROJECT = Path(__file__).resolve().parents[2]
STUDY = "test"
PAGE = PROJECT / "docs" / "adding-an-analysis.md"


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


@pytest.fixture(scope="session")
def study_copy(study_run: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The finished study once more, for commands that add models to it."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(study_run.data_root, root / "data")
    shutil.copy(study_run.data_root.parent / "tracking.db", root)
    return replace(study_run, data_root=root / "data", tracking_uri=f"sqlite:///{root / 'tracking.db'}")


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


@dataclass(frozen=True)
class Extended:
    """A copy of the project with one analysis more, and of a study that was run before it."""

    project: Path
    data_root: Path
    tracking_uri: str

    def run(self, *arguments: str) -> str:
        """What a kedro command of the copy prints."""
        done = run_kedro(*arguments, tracking_uri=self.tracking_uri, cwd=self.project)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr


def pieces_of_page() -> dict[str, str]:
    """File → content, as the page on adding an analysis gives them."""
    blocks = re.findall(r"```\w+\n(?:# |\{# )(\S+)(?: #\})?\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 9
    return dict(blocks)


def copy_project(project: Path) -> None:
    """Configuration and source, which is all that kedro needs."""
    for name in ("conf", "src"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", project)


def add_analysis(project: Path) -> None:
    """Write the pieces of the page into a copy of the project."""
    for name, content in pieces_of_page().items():
        file = project / name
        if file.name == "__init__.py" and file.parent.name == "pipelines":
            file.write_text(file.read_text().replace('    "reporting",\n', f'{content}    "reporting",\n'))
        elif file.exists():
            file.write_text(file.read_text() + content)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)


@pytest.fixture(scope="session")
def extended(study_run: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Extended:
    """The project and the study, with the analysis of the page."""
    root = tmp_path_factory.mktemp("extended")
    copy_project(root / "project")
    add_analysis(root / "project")
    shutil.copytree(study_run.data_root, root / "data")
    return Extended(root / "project", root / "data", f"sqlite:///{root / 'tracking.db'}")
