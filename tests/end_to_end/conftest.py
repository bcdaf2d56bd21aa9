"""One run of the whole graph by the command line, whose outputs the end-to-end tests look at."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from filelock import FileLock

from .browsing import browser, open_page

if TYPE_CHECKING:
    from kedro.io import DataCatalog

__all__ = ["browser", "open_page"]
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
        """``--params`` of further commands on the same study, in one process: other tests have the other cores."""
        return f"data_root={self.data_root},workers=1"


def run_kedro(*arguments: str, tracking_uri: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Run a kedro command in a process of its own."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": tracking_uri, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kedro", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=cwd, check=False, timeout=600
    )


def run_kedro_here(*arguments: str, tracking_uri: str) -> subprocess.CompletedProcess[str]:
    """Run a kedro command in this process, which has imported what takes half of the time of a small one."""
    from kedro.framework.startup import bootstrap_project

    from scvi_downstream.cli import cli

    environment = {"MLFLOW_TRACKING_URI": tracking_uri, "OMP_NUM_THREADS": "1"}
    with contextlib.chdir(PROJECT):
        bootstrap_project(PROJECT)
        done = CliRunner(env=environment).invoke(cli, list(arguments))
    unforeseen = done.exception if not isinstance(done.exception, SystemExit) else None
    raised = "".join(traceback.format_exception(unforeseen)) if unforeseen else ""
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr + raised)


@pytest.fixture(scope="session")
def kedro() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a kedro command in this process."""
    return run_kedro_here


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The demonstration's cells through the whole graph in the `test` environment, once for all processes of tests."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "study"
    uri = f"sqlite:///{root / 'tracking.db'}"
    with FileLock(f"{root}.lock"):
        if not (root / "output.txt").exists():
            root.mkdir(exist_ok=True)
            given = f"data_root={root / 'data'}"
            done = run_kedro("run", "--env", "test", "--params", given, tracking_uri=uri)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
            (root / "output.txt").write_text(done.stdout + done.stderr)
    return StudyRun(output=(root / "output.txt").read_text(), data_root=root / "data", tracking_uri=uri)


def copy_of(study: StudyRun, root: Path) -> StudyRun:
    """A finished study once more."""
    shutil.copytree(study.data_root, root / "data")
    shutil.copy(study.data_root.parent / "tracking.db", root)
    return replace(study, data_root=root / "data", tracking_uri=f"sqlite:///{root / 'tracking.db'}")


@pytest.fixture(scope="session")
def study_run(first_run: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The finished study, of which parts are run again."""
    return copy_of(first_run, tmp_path_factory.mktemp("again"))


@pytest.fixture(scope="session")
def study_copy(first_run: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The finished study once more, for commands that add models to it."""
    return copy_of(first_run, tmp_path_factory.mktemp("copy"))


@pytest.fixture
def run_part(study_run: StudyRun, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a selection of the study's nodes in this process, on the outputs that are there."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    monkeypatch.setenv("MLFLOW_TRACKING_URI", study_run.tracking_uri)
    monkeypatch.chdir(PROJECT)

    def run(params: dict[str, Any] | None = None, **selection: Any) -> Any:
        bootstrap_project(PROJECT)
        runtime = {"data_root": str(study_run.data_root), "workers": 1, **(params or {})}
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
    """Configuration and source, with what was compiled of it, which is all that kedro needs."""
    for name in ("conf", "src"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("*.tmp.*", "*.pyc.*"))
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
def extended(first_run: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Extended:
    """The project and the study, with the analysis of the page."""
    root = tmp_path_factory.mktemp("extended")
    copy_project(root / "project")
    add_analysis(root / "project")
    shutil.copytree(first_run.data_root, root / "data")
    return Extended(root / "project", root / "data", f"sqlite:///{root / 'tracking.db'}")
