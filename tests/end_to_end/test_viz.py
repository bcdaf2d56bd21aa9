"""Kedro-Viz: a static build with layers, previews and a first look of one screen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .browsing import served

pytestmark = pytest.mark.slow
# A letter shape that it would fetch from elsewhere, and what a static build lacks.
FORGIVEN = ("fonts.googleapis.com", "api/metadata", "metadata fetch error")
BOXES = {
    "preparation", "models", "annotation", "de", "factors", "batch_effects", "trajectory", "imputation", "reporting",
}  # fmt: skip


@pytest.fixture(scope="module")
def build(extended: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with its data, with the analysis that the docs add."""
    project = tmp_path_factory.mktemp("viz") / "project"
    shutil.copytree(extended.project, project)
    parameters = project / "conf" / "base" / "parameters.yml"
    text = parameters.read_text().replace("study: null ", "study: test ")
    parameters.write_text(text.replace("data_root: data ", f"data_root: {extended.data_root} "))
    replace(extended, project=project).run("viz", "build", "--include-previews")
    return project / "build"


@pytest.fixture(scope="module")
def graph(build: Path) -> dict[str, Any]:
    """The graph that the browser reads."""
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
    assert boxes >= BOXES
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


def test_the_browser_draws_the_boxes_and_opens_one(build: Path, open_page: Callable[..., Any]) -> None:
    with served(build) as address:
        page = open_page(address, forgiven=FORGIVEN)
        boxes = page.locator(".pipeline-node--modularPipeline")
        boxes.first.wait_for()
        assert {*boxes.all_text_contents()} == BOXES | {"complexity"}
        boxes.filter(has_text="preparation").click()
        page.locator(".pipeline-node--task", has_text="prepare_counts").wait_for()
        page.locator(".pipeline-node--data", has_text="report").last.click()
        page.locator(".pipeline-metadata").get_by_text("report.html").first.wait_for()
