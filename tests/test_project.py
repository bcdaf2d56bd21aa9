"""What holds for the project as a whole: pins, imports, telemetry, documented commands."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scvi_downstream.engine import fingerprints

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = PROJECT / "src" / "scvi_downstream"


def locked() -> dict[str, str]:
    lines = (PROJECT / "requirements.lock").read_text().splitlines()
    pins = [line.split(";")[0].strip() for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.split("==")[0]): pin.split("==")[1] for pin in pins}


def declared() -> list[Requirement]:
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    groups = pyproject["dependency-groups"]
    wanted = [*pyproject["project"]["dependencies"]]
    wanted += [entry for extra in pyproject["project"]["optional-dependencies"].values() for entry in extra]
    wanted += [entry for group in groups.values() for entry in group if isinstance(entry, str)]
    return [Requirement(entry) for entry in wanted]


def test_every_pin_lies_in_the_declared_range() -> None:
    pins = locked()
    for requirement in declared():
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} but {version}"


NOT_IMPORTED = {
    "python-dateutil": "botocore, of s3fs and boto3, asks for an older one than pandas would bring",
    "scikit-misc": "highly variable genes of scanpy's flavor seurat_v3",
}
NOT_DECLARED = {"scanorama": "a baseline that the user installs, as it needs a compiler"}


def test_what_is_imported_is_what_is_declared() -> None:
    """In types alone a library of a library may be named: it is not imported when the project runs."""
    imported = {fingerprints.DISTRIBUTIONS.get(name, name) for name in fingerprints.PROJECT.imported()}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(x for extra in project["optional-dependencies"].values() for x in extra),
    ]
    named = {canonicalize_name(Requirement(entry).name) for entry in wanted}
    assert {canonicalize_name(name) for name in imported} | {*NOT_IMPORTED, "kedro-viz"} == named | {
        *NOT_DECLARED
    }


def test_the_lock_holds_names_and_versions_only() -> None:
    text = (PROJECT / "requirements.lock").read_text()
    assert not re.search(r"://|@ |--", text)
    assert all("==" in line for line in text.splitlines() if line)


def test_what_is_installed_is_what_is_pinned() -> None:
    from importlib.metadata import version

    pins = locked()
    for requirement in declared():
        assert version(requirement.name) == pins[canonicalize_name(requirement.name)], requirement.name


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("done", "light"),
    [
        (
            "pass",
            {"numpy", "pandas", "scipy", "pyarrow", "zarr"},
        ),  # `kedro registry list`, `kedro run --help`
        ("[pipeline.nodes for pipeline in registered.values()]", set()),  # `kedro run`
    ],
)
def test_commands_do_not_wait_for_heavy_imports(done: str, light: set[str]) -> None:
    heavy = {"torch", "scvi", "scanpy", "anndata", "matplotlib", "mlflow", "sklearn", "jax", "umap"} | light
    script = (
        "import sys; import scvi_downstream.settings; import scvi_downstream.pipeline_registry as registry;"
        f"registered = registry.register_pipelines(); sorted(registered); {done};"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    assert found.stdout.strip() == "[]"


def test_mlflow_is_imported_in_one_folder() -> None:
    importing = {
        path.parent.name
        for path in SOURCE.rglob("*.py")
        if re.search(r"^\s*(import|from) mlflow", path.read_text(), re.M)
    }
    assert importing == {"tracking"}


UPWARDS = {("hooks", "pipeline_registry"), ("datasets", "tracking")}
"""Within functions: a hook hands the registry the study of the session, and a dataset reads what MLflow knows."""


def places_from_the_top() -> dict[str, int]:
    """Folders and root modules in the order of docs/architecture.md."""
    page = (PROJECT / "docs" / "architecture.md").read_text()
    rows = [
        line.split("|")[1] for line in page.splitlines() if line.startswith("| `") and "conf/" not in line
    ]
    named = [name for row in rows for name in re.findall(r"`(\w+)(?:/|\.py)`", row)]
    return {name: position for position, name in enumerate(named)}


def test_imports_run_downwards() -> None:
    places = places_from_the_top()
    kept = {path for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {path.stem for path in kept} - {"__init__"} == set(places)
    assert len([path for path in kept if path.suffix == ".py" and path.name != "__init__.py"]) <= 6
    for path in SOURCE.rglob("*.py"):
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        named = re.findall(r"^\s*(?:from|import) scvi_downstream(?:\.| import )(\w+)", path.read_text(), re.M)
        upwards = {name for name in named if name in places and own in places and places[name] < places[own]}
        assert not {(own, name) for name in upwards} - UPWARDS, path


def test_nodes_know_nothing_of_kedro_and_of_files() -> None:
    for path in (SOURCE / "pipelines").rglob("*.py"):
        if path.name == "pipeline.py" or path.parent.name == "pipelines":
            continue
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) kedro", text, re.M), path
        assert not re.search(r"\bopen\(|\.write_text\(|\.to_csv\(|\.to_parquet\(|\.write_h5ad\(", text), path


def test_source_files_are_small() -> None:
    long = {
        path.name: count
        for path in SOURCE.rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 520
    }
    assert not long


def test_telemetry_is_off() -> None:
    from scvi_downstream import settings

    assert (PROJECT / ".telemetry").read_text().strip() == "consent: false"
    assert "kedro-telemetry" in settings.DISABLE_HOOKS_FOR_PLUGINS


def documented_make_targets() -> list[str]:
    pages = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]
    return sorted(
        {target for page in pages for target in re.findall(r"(?:`|^)make ([a-z]+)\b", page.read_text(), re.M)}
    )


@pytest.mark.thorough
@pytest.mark.parametrize("target", documented_make_targets())
def test_documented_make_targets_exist(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], capture_output=True, text=True, check=False, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr


def test_links_between_pages_lead_somewhere() -> None:
    for page in (PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
