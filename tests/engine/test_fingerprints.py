"""A node is made anew when its own code or the libraries that this uses have changed, and not otherwise."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

from scvi_downstream.engine import fingerprints
from scvi_downstream.engine.fingerprints import DISTRIBUTIONS, closure, code_fingerprint, module_fingerprint

ROOT = Path(fingerprints.__file__).parents[1]
TRAINING = "scvi_downstream.pipelines.training.nodes"
EMBEDDING = "scvi_downstream.pipelines.embedding.nodes"
REPORTING = "scvi_downstream.pipelines.reporting.nodes"


def files_of(module: str) -> set[str]:
    return {str(file.relative_to(ROOT)) for file in closure(module)[0]}


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Fingerprint of a module, had a file of the project other contents."""

    def fingerprint(module: str, file: str) -> str:
        with monkeypatch.context() as change:
            change.setattr(fingerprints, "_content", lambda path: f"{path}{path == ROOT / file}")
            return module_fingerprint.__wrapped__(module)

    return fingerprint


def test_a_figure_retrains_no_model(edited) -> None:
    other = "engine/workers.py"  # imported by none of them
    for file in ("pipelines/training/plots.py", "pipelines/comparison/plots.py", "report/tables.py"):
        assert edited(TRAINING, file) == edited(TRAINING, other)
    plots = "scvi_downstream.pipelines.training.plots"
    assert edited(plots, "pipelines/training/plots.py") != edited(plots, other)


@pytest.mark.parametrize("file", ["models/fitting.py", "models/families.py", "models/fast_likelihood.py"])
def test_what_a_training_imports_retrains(edited, file: str) -> None:
    assert edited(TRAINING, file) != edited(TRAINING, "engine/workers.py")


def test_data_files_beside_the_code_count() -> None:
    assert "report/references.bib" in files_of("scvi_downstream.report.bibliography")
    assert "bridges/monocle_r.R" in files_of("scvi_downstream.bridges.monocle_r")


def test_the_report_hangs_on_every_capability() -> None:
    everything = {str(file.relative_to(ROOT)) for file in ROOT.rglob("*.py")}
    assert everything <= files_of(REPORTING)
    assert "pipelines/proteins/methods.jinja" in files_of(REPORTING)


def test_libraries_that_decide_numbers_count_with_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"faiss", "sklearn"} <= closure(EMBEDDING)[1]
    found = fingerprints._versions(["faiss", "pynndescent"])
    assert found["faiss-cpu"] == version("faiss-cpu")
    assert {"pynndescent", "numba", "numpy", "scipy"} <= set(found)
    before = module_fingerprint.__wrapped__(EMBEDDING)
    monkeypatch.setitem(DISTRIBUTIONS, "faiss", "another-library")
    assert module_fingerprint.__wrapped__(EMBEDDING) != before


def test_another_version_of_matplotlib_retrains_no_model() -> None:
    assert "matplotlib" not in closure(TRAINING)[1]
    assert "matplotlib" in closure("scvi_downstream.pipelines.training.plots")[1]


def imported(tree: ast.AST) -> Iterator[str]:
    """As Python itself reads the imports that are not for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from imported(ast.Module(node.orelse, []))
        else:
            yield from imported(node)


@pytest.mark.thorough
def test_imports_are_those_that_python_reads() -> None:
    for file in ROOT.rglob("*.py"):
        text = file.read_text()
        missed = set(imported(ast.parse(text))) - set(fingerprints._imported(text))
        assert not missed, file


def test_every_library_has_its_distribution() -> None:
    known = packages_distributions()
    used = set().union(*(closure(f"scvi_downstream.{'.'.join(file.relative_to(ROOT).with_suffix('').parts)}")[1]
                         for file in ROOT.rglob("*.py") if file.name != "__init__.py"))  # fmt: skip
    installed = {name for name in used if name in known}
    assert {"anndata", "igraph", "scanpy", "scvi", "sklearn"} <= installed
    for name in installed:
        brought = {distribution.lower().replace("_", "-") for distribution in known[name]}
        assert DISTRIBUTIONS.get(name, name).lower().replace("_", "-") in brought, name


def test_functions_of_other_projects_count_by_their_file() -> None:
    assert closure(__name__)[0] == {Path(sys.modules[__name__].__file__)}
    assert code_fingerprint(files_of) != code_fingerprint(json_like)


def json_like() -> None:
    """Stands in another module, as far as its name goes."""


json_like.__module__ = "json"


def test_a_copy_elsewhere_has_the_same_fingerprints(tmp_path: Path) -> None:
    shutil.copytree(ROOT, tmp_path / ROOT.name, ignore=shutil.ignore_patterns("__pycache__"))
    asked = (
        "from scvi_downstream.engine import fingerprints as f; "
        f"print(f.__file__, f.module_fingerprint('{TRAINING}'))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    place, fingerprint = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert fingerprint == module_fingerprint(TRAINING)
