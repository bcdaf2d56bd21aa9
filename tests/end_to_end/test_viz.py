"""Kedro-Viz: a static build with layers, previews and a first look of one screen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def graph(extended: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The graph that the browser would read, with the analysis that the docs add."""
    project = tmp_path_factory.mktemp("viz") / "project"
    shutil.copytree(extended.project, project)
    parameters = project / "conf" / "base" / "parameters.yml"
    text = parameters.read_text().replace("study: null ", "study: test ")
    parameters.write_text(text.replace("data_root: data ", f"data_root: {extended.data_root} "))
    replace(extended, project=project).run("viz", "build", "--include-previews")
    build = project / "build"
    assert (build / "index.html").exists()
    main = json.loads((build / "api" / "main").read_text())
    main["nodes_by_id"] = {
        path.name: json.loads(path.read_text())
        for path in (build / "api" / "nodes").iterdir()
        if path.is_file()
    }
    return main


def test_an_analysis_that_was_added_is_shown(graph: dict[str, Any]) -> None:
    assert {"measure_complexity", "complexity", "complexity_figure"} <= {
        node["name"] for node in graph["nodes"]
    }


def test_layers_run_from_raw_to_reporting(graph: dict[str, Any]) -> None:
    assert graph["layers"] == ["raw", "primary", "feature", "models", "model_output", "reporting"]


def test_the_first_look_is_one_screen_of_boxes_that_open(graph: dict[str, Any]) -> None:
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    inside = graph["modular_pipelines"]
    first = [child for child in inside["__root__"]["children"] if child["type"] != "parameters"]
    assert len(first) <= 35 + 2, sorted(
        names[child["id"]] for child in first
    )  # of the added analysis: box, hand-over
    boxes = {child["id"] for child in first if child["type"] == "modularPipeline"}
    assert {"preparation", "models", "annotation", "de", "factors", "trajectory", "reporting"} <= boxes
    assert not [child for child in first if child["type"] == "task"]
    of_models = {child["id"] for child in inside["models"]["children"] if child["type"] == "modularPipeline"}
    assert of_models == {f"models.{name}" for name in ("scvi", "ldvae", "scanvi", "pca", "harmony")}


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
