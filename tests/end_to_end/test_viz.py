"""Kedro-Viz: a static build with layers, previews and one group a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def graph(study_run: Any, kedro: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The graph that the browser would read."""
    saved = tmp_path_factory.mktemp("viz") / "build"
    project = saved.parent / "project"
    shutil.copytree(PROJECT / "conf", project / "conf")
    shutil.copytree(PROJECT / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", project)
    parameters = project / "conf" / "base" / "parameters.yml"
    text = parameters.read_text().replace("study: null ", "study: test ")
    parameters.write_text(text.replace("data_root: data ", f"data_root: {study_run.data_root} "))
    done = kedro("viz", "build", "--include-previews", tracking_uri=study_run.tracking_uri, cwd=project)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    build = project / "build"
    assert (build / "index.html").exists()
    main = json.loads((build / "api" / "main").read_text())
    main["nodes_by_id"] = {
        path.name: json.loads(path.read_text())
        for path in (build / "api" / "nodes").iterdir()
        if path.is_file()
    }
    return main


def test_layers_run_from_raw_to_reporting(graph: dict[str, Any]) -> None:
    assert graph["layers"] == ["raw", "primary", "feature", "models", "model_output", "reporting"]


def test_models_and_baselines_are_collapsible_groups(graph: dict[str, Any]) -> None:
    groups = {node["name"].lower() for node in graph["nodes"] if node["type"] == "modularPipeline"}
    assert {"scvi", "ldvae", "scanvi", "pca", "harmony"} <= {name.replace(" ", "") for name in groups}


def test_tables_and_figures_have_previews(graph: dict[str, Any]) -> None:
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    previews = {
        names[identifier]: details.get("preview_type")
        for identifier, details in graph["nodes_by_id"].items()
        if identifier in names and details.get("preview")
    }
    assert previews["counts"] == "TablePreview"
    assert previews["de_results"] == "TablePreview"
    assert previews["leaderboard"] == "TablePreview"
    assert previews["qc_figure"] == "ImagePreview"
    assert previews["champion"] == "JSONPreview"
