"""Kedro's private names that the project uses: a new Kedro that lacks one fails here, and says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import pipelines
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from scvi_downstream.datasets.json_dataset import JSONDataset
from scvi_downstream.engine import kedro_internals


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_pipelines_module", "_requested_pipelines", "_get_pipelines_registry_callable"):
        assert hasattr(pipelines, name), f"kedro.framework.project.pipelines has no {name} any more"
        monkeypatch.setattr(pipelines, name, getattr(pipelines, name))
    monkeypatch.setattr(pipelines, "_pipelines_module", "scvi_downstream.pipeline_registry")


def test_the_registry_of_a_session_is_the_one_that_kedro_asks() -> None:
    mine = {"__default__": Pipeline([])}
    kedro_internals.register_with(lambda: mine)
    assert dict(pipelines) == mine
    other = {"__default__": Pipeline([]), "more": Pipeline([])}
    kedro_internals.register_with(lambda: other)
    assert set(pipelines) == {"__default__", "more"}


def test_requested_pipelines_are_those_of_the_command() -> None:
    pipelines.set_requested(["de", "reporting"])
    assert kedro_internals.requested_pipelines() == {"de", "reporting"}
    pipelines.set_requested(None)
    assert kedro_internals.requested_pipelines() == frozenset()


def test_a_file_dataset_says_where_it_is_and_one_in_memory_does_not(tmp_path: Path) -> None:
    stored = JSONDataset(filepath=str(tmp_path / "numbers.json"))
    assert kedro_internals.stored_path(stored) == tmp_path / "numbers.json"
    assert kedro_internals.described(stored)["filepath"] == tmp_path / "numbers.json"
    assert kedro_internals.stored_path(MemoryDataset()) is None


def test_a_node_is_run_with_its_datasets_and_without_hooks() -> None:
    catalog = DataCatalog({"one": MemoryDataset(1), "two": MemoryDataset()})
    double: Any = Node(lambda one: 2 * one, "one", "two", name="double")
    kedro_internals.run_node(double, catalog, kedro_internals.no_hooks(), None)
    assert catalog.load("two") == 2


def test_inputs_have_the_places_of_the_functions_arguments() -> None:
    def takes(first: Any, second: Any = None) -> Any:
        return first

    def places(inputs: Any) -> list[tuple[int | str, str]]:
        return kedro_internals.places_of_inputs(Node(takes, inputs, "out"))

    assert places("x") == [(0, "x")]
    assert places(["x", "y"]) == [(0, "x"), (1, "y")]
    assert places({"second": "y", "first": "x"}) == [("second", "y"), ("first", "x")]
    assert kedro_internals.places_of_inputs(Node(lambda: 1, None, "out", name="none")) == []


def test_a_later_pipeline_is_made_once_and_is_then_as_any_other() -> None:
    made: list[Pipeline] = []

    def make() -> Pipeline:
        made.append(
            Pipeline([Node(lambda x: x, "x", "y", name="one"), Node(lambda y: y, "y", "z", name="two")])
        )
        return made[-1]

    later = kedro_internals.LaterPipeline(make)
    assert not made
    assert isinstance(later, Pipeline)
    assert [node.name for node in later.nodes] == ["one", "two"]
    assert later.inputs() == {"x"}
    assert later.outputs() == {"z"}
    assert [node.name for node in later.filter(to_outputs=["y"]).nodes] == ["one"]
    assert (later + Pipeline([])).nodes == (Pipeline([]) + later).nodes == made[0].nodes
    assert len(made) == 1
    with pytest.raises(AttributeError, match="absent"):
        later.absent  # noqa: B018
