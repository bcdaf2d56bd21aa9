"""The wheel in an environment of its own, away from the project: all that a user of `pip install` has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", PROJECT.parent / "shared" / "data"))
KANG = DATA / "kang_ifnb.h5ad"
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel."""

    root: Path

    @property
    def site_packages(self) -> Path:
        (found,) = (self.root / "env").glob("lib/python*/site-packages")
        return found

    def run(self, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A program of the environment, with nothing of this project's on the path of imports."""
        known = _environment() | {"XDG_CACHE_HOME": str(self.root / "cache"), "OMP_NUM_THREADS": "1"}
        known.pop("MLFLOW_TRACKING_URI", None)
        command = [str(self.root / "env" / "bin" / str(words[0])), *map(str, words[1:])]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=known, check=False)

    def files(self) -> set[Path]:
        """Of the package, but for what Python compiles."""
        return {path for path in self.site_packages.rglob("*") if path.suffix != ".pyc"}


def _environment() -> dict[str, str]:
    """Without the path that Kedro puts in for other tests: pip would find the package there and install nothing."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built from an sdist; all other packages are those of this environment."""
    root = tmp_path_factory.mktemp("installed")
    for name in ("conf", "src"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "local")
        shutil.copytree(PROJECT / name, root / "project" / name, ignore=ignored)
    (root / "project" / "conf" / "local").mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "conf/local/.gitkeep"):
        shutil.copy(PROJECT / name, root / "project" / name)
    build = [
        "-m",
        "build",
        "--no-isolation",
        "--skip-dependency-check",
        "--outdir",
        root / "dist",
        root / "project",
    ]
    subprocess.run([sys.executable, *build], check=True, capture_output=True, env=_environment())
    venv.create(root / "env", symlinks=True)
    found = Installed(root)
    (wheel,) = (root / "dist").glob("*.whl")
    pip = ["-m", "pip", "--python", root / "env", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, *pip], check=True, capture_output=True, env=_environment())
    (found.site_packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    shutil.rmtree(root / "project")
    return found


def test_the_wheel_is_what_is_imported(installed: Installed, tmp_path: Path) -> None:
    script = "import scvi_downstream; from scvi_downstream.runtime.package import own_conf; print(own_conf())"
    said = installed.run("python", "-c", script, cwd=tmp_path)
    assert said.stdout.strip() == str(installed.site_packages / "scvi_downstream" / "conf")
    shipped = {
        path.name for path in (installed.site_packages / "scvi_downstream" / "conf" / "base").iterdir()
    }
    assert shipped == {path.name for path in (PROJECT / "conf" / "base").iterdir()}


@pytest.mark.skipif(not KANG.exists(), reason=f"{KANG.name} is not in {DATA} (set SCVI_DOWNSTREAM_DATA)")
def test_check_and_run_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    import anndata

    anndata.read_h5ad(KANG)[::5].copy().write_h5ad(tmp_path / KANG.name)
    before = installed.files()
    checked = installed.run("scvi-downstream", "check", KANG.name, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    keys = "--batch donor --label cell_type_transferred --sample donor --condition condition"
    assert checked.stdout.endswith(f"  scvi-downstream run {KANG.name} {keys}\n")
    page = (PROJECT / "docs" / "conditions.md").read_text()
    (command,) = re.findall(r"^scvi-downstream run .*$", page, re.M)
    assert set(command.split()) == {"scvi-downstream", "run", KANG.name, *keys.split()}

    (tmp_path / "mine").mkdir()
    settings = (PROJECT / "conf" / "test" / "parameters.yml").read_text().replace("study: test\n", "")
    (tmp_path / "mine" / "parameters.yml").write_text(settings)
    few = ("preparation.n_top_genes=100", "training.max_epochs=2", "clustering.leiden_resolutions=[1.0]")
    words = [*command.split(), "--conf", "mine", *(word for name in few for word in ("--set", name))]
    ran = installed.run(*words, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    said = set(re.findall(r"^  (?:holds|uncertain|does not hold) +([A-Z][\w -]+): ", ran.stdout, re.M))
    assert set(re.findall(r"\*\*([A-Z][\w -]+)\*\*", page)) <= said
    assert "`scvi-downstream report` opens the report" in ran.stdout
    named = {
        Path(path).name: tmp_path / path for path in re.findall(r"^  \S.* (data/\S+)$", ran.stdout, re.M)
    }
    report = tmp_path / "data/08_reporting/kang_ifnb/report.html"
    assert named["report.html"] == report
    assert anndata.read_h5ad(named["analysed.h5ad"]).n_obs == 400
    assert installed.run("scvi-downstream", "report", "--no-open", cwd=tmp_path).stdout == f"{report}\n"

    again = installed.run(*words, cwd=tmp_path)
    assert re.search(r"(\d+) of \1 steps are up to date", again.stdout), again.stdout
    assert installed.files() == before
    assert {path.name for path in tmp_path.iterdir()} == {
        KANG.name,
        "mine",
        "data",
        "mlflow.db",
        "mlartifacts",
    }
