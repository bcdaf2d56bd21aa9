"""Only what is missing or has changed is run; trials run side by side and may fail."""

from __future__ import annotations

import json
import logging
import math
import operator
import os
from collections.abc import Callable
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.hooks.manager import _NullPluginManager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from scvi_downstream.datasets.json_dataset import JSONDataset
from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset
from scvi_downstream.engine.incremental import PROVENANCE
from scvi_downstream.engine.runner import StudyRunner
from scvi_downstream.engine.workers import TrialGroup, run_groups, run_nodes
from scvi_downstream.pipelines.copies import boxed, copied
from scvi_downstream.pipelines.declaration import TRIAL
from scvi_downstream.runtime import events


class Study:
    """A small study of numbers: runs pipelines and says which nodes were run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.parameters = {
            "data_root": "data",
            "study": "mine",
            "incremental": True,
            "workers": 1,
            "accelerator": "cpu",
            "models": {"first": {"family": "SCVI", "n_latent": 5}, "second": {"family": "SCVI"}},
        }
        self.values: dict[str, Any] = {}

    def catalog(self, pipeline: Pipeline) -> DataCatalog:
        files = {
            name: JSONDataset(filepath=str(self.folder / f"{name}.json"))
            for name in pipeline.datasets()
            if not name.startswith("params:")
        }
        given = {"parameters": self.parameters, PROVENANCE: self.folder / PROVENANCE} | self.values
        return DataCatalog(files | {name: MemoryDataset(value) for name, value in given.items()})

    def run(self, pipeline: Pipeline) -> list[str]:
        done: list[events.Event] = []
        ran: list[str] = []
        hooks = _Recording(ran)
        with events.listening(done.append):
            StudyRunner().run(pipeline, self.catalog(pipeline), hook_manager=hooks)
        self.events = done
        return ran

    def read(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.json").read_text())


class _Recording(_NullPluginManager):
    """Notes the names of the nodes that are run in this process."""

    def __init__(self, ran: list[str]) -> None:
        self._ran = ran

    def __getattr__(self, name: str) -> Any:
        if name == "before_node_run":
            return lambda node, **_: self._ran.append(node.name)
        return self if name == "hook" else lambda **_: None


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    (tmp_path / "raw.json").write_text("4.0")
    return Study(tmp_path, monkeypatch)


def arithmetic() -> Pipeline:
    """raw ─► root ─► scaled; raw ─► doubled."""
    return Pipeline(
        [
            Node(math.sqrt, "raw", "root", name="take_root"),
            Node(operator.mul, ["root", "params:factor"], "scaled", name="scale"),
            Node(operator.add, ["raw", "raw"], "doubled", name="double"),
        ]
    )


def test_everything_runs_once_and_then_nothing(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    assert set(study.run(arithmetic())) == {"take_root", "scale", "double"}
    assert study.read("scaled") == 6.0
    assert study.run(arithmetic()) == []


def test_a_changed_parameter_runs_what_depends_on_it_and_no_more(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    study.run(arithmetic())
    study.values = {"params:factor": 5.0}
    assert study.run(arithmetic()) == ["scale"]
    assert study.read("scaled") == 10.0


def test_a_changed_input_runs_all_that_comes_after_it(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    study.run(arithmetic())
    (study.folder / "raw.json").write_text("16.00")
    assert set(study.run(arithmetic())) == {"take_root", "scale", "double"}
    assert study.read("scaled") == 12.0


def test_a_missing_file_is_made_again_alone(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    study.run(arithmetic())
    (study.folder / "root.json").unlink()
    assert study.run(arithmetic()) == ["take_root"]


def test_a_file_that_someone_else_wrote_is_not_taken_for_ours(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    study.run(arithmetic())
    (study.folder / "root.json").write_text("100.0")
    assert study.run(arithmetic()) == ["take_root"]
    assert study.read("root") == 2.0


def test_a_part_run_alone_counts_for_the_whole(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    study.run(arithmetic().filter(node_names=["take_root"]))
    assert set(study.run(arithmetic())) == {"scale", "double"}
    study.values = {"params:factor": 4.0}
    assert study.run(arithmetic().filter(node_names=["scale"])) == ["scale"]
    assert study.run(arithmetic()) == []


def test_what_a_partial_function_holds_counts_as_well(study: Study) -> None:
    def power(exponent: int) -> Pipeline:
        function = update_wrapper(partial(_power, exponent=exponent), _power)
        return Pipeline([Node(function, "raw", "powered", name="raise_to")])

    assert study.run(power(2)) == ["raise_to"]
    assert study.run(power(2)) == []
    assert study.run(power(3)) == ["raise_to"]


def _power(value: float, exponent: int) -> float:
    return value**exponent


def test_all_runs_when_asked_for(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    study.run(arithmetic())
    study.parameters["incremental"] = False
    assert len(study.run(arithmetic())) == 3


def test_what_goes_through_memory_is_made_again_for_whoever_needs_it(study: Study) -> None:
    study.values = {"params:factor": 3.0, "root": MemoryDataset()}
    catalog = study.catalog

    def in_memory(pipeline: Pipeline) -> DataCatalog:
        made = catalog(pipeline)
        made["root"] = MemoryDataset()
        return made

    study.values = {"params:factor": 3.0}
    study.catalog = in_memory  # type: ignore[method-assign]
    study.run(arithmetic())
    assert study.run(arithmetic()) == []
    study.values = {"params:factor": 4.0}
    assert study.run(arithmetic()) == ["take_root", "scale"]


def test_a_run_that_breaks_off_keeps_what_it_has(study: Study) -> None:
    study.values = {"params:factor": "three"}
    with pytest.raises(TypeError):
        study.run(arithmetic().filter(node_names=["take_root", "scale"]))
    study.values = {"params:factor": 3.0}
    assert "take_root" not in study.run(arithmetic())


def test_a_checkpoint_in_a_folder_changes_no_fingerprint(tmp_path: Path) -> None:
    dataset = CheckpointDataset(filepath=str(tmp_path))
    before = dataset.fingerprint()
    (tmp_path / "state.ckpt").write_text("epoch 3")
    assert dataset.fingerprint() == before


def trials(**functions: Callable[..., Any]) -> Pipeline:
    """One namespace each: raw ─► <trial>.scores; all of them ─► board."""

    def score(function: Callable[..., Any]) -> Pipeline:
        return Pipeline([Node(function, "raw", "scores", name="score")])

    nodes = [
        boxed(copied(score(function), name, with_tags=[TRIAL], raw="raw"), "models")
        for name, function in functions.items()
    ]
    board = Node(_gathered, [f"{name}.scores" for name in functions], "board", name="build_board")
    return sum(nodes, Pipeline([board]))


def _gathered(*scores: Any) -> list[Any]:
    return list(scores)


def test_a_trial_that_fails_is_a_record_with_its_reason(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    (study.folder / "raw.json").write_text("-4.0")
    with caplog.at_level(logging.WARNING):
        study.run(trials(first=math.sqrt, second=abs))
    failed, done = study.read("board")
    assert done == 4.0
    assert failed["model"] == "first"
    assert failed["family"] == "SCVI"
    assert failed["n_latent"] == 5
    assert "ValueError" in failed["failed"]
    assert "first failed" in caplog.text
    ended = {event.name: event for event in study.events if isinstance(event, events.TrialEnded)}
    assert ended["first"].status == "FAILED"
    assert ended["second"].status == "FINISHED"


def test_only_the_trial_that_failed_is_tried_again(study: Study) -> None:
    (study.folder / "raw.json").write_text("-4.0")
    study.run(trials(first=math.sqrt, second=abs))
    reused = {
        name
        for event in (study.run(trials(first=math.sqrt, second=abs)), study.events)[1]
        if isinstance(event, events.DatasetsReady)
        for name in event.names
    }
    assert "second.scores" in reused
    assert "first.scores" not in reused


@pytest.mark.slow
def test_trials_in_processes_give_what_trials_in_order_give(study: Study) -> None:
    study.run(trials(first=math.sqrt, second=abs))
    one_by_one = study.read("board")
    study.parameters |= {"workers": 2, "incremental": False}
    study.run(trials(first=math.sqrt, second=abs))
    assert study.read("board") == one_by_one


def group(
    name: str,
    function: Callable[..., Any],
    folder: Path,
    after: frozenset[str] = frozenset(),
    given: Any = 1,
) -> TrialGroup:
    node = Node(function, "given", f"{name}.out", name=name)
    out = JSONDataset(filepath=str(folder / f"{name}.json"))
    return TrialGroup(name, [node], {"given": MemoryDataset(given), f"{name}.out": out}, after)


@pytest.mark.slow
def test_a_process_that_dies_takes_no_other_trial_with_it(tmp_path: Path) -> None:
    groups = [group("dies", os._exit, tmp_path), group("lives", abs, tmp_path), group("too", abs, tmp_path)]
    reasons = {outcome.name: outcome.reason for outcome in run_groups(groups, 2, None)}
    assert "process died" in str(reasons["dies"])
    assert reasons["lives"] is None
    assert reasons["too"] is None
    assert (tmp_path / "lives.json").read_text().strip() == "1"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_trial_waits_for_the_one_it_starts_from(tmp_path: Path, workers: int) -> None:
    groups = [group("start", len, tmp_path), group("next", abs, tmp_path, frozenset({"start"}))]
    reasons = {outcome.name: outcome.reason for outcome in run_groups(groups, workers, None)}
    assert "TypeError" in str(reasons["start"])
    assert reasons["next"] == "it starts from start, which failed"


@pytest.mark.slow
def test_what_starts_from_a_trial_that_lives_the_second_time_runs_as_well(tmp_path: Path) -> None:
    seen = f"__import__('pathlib').Path({str(tmp_path / 'seen')!r})"
    dies_once = f"{seen}.exists() or ({seen}.touch(), __import__('os')._exit(1))"
    first = group("first", eval, tmp_path, given=dies_once)
    second = group("second", abs, tmp_path, frozenset({"first"}))
    reasons = {outcome.name: outcome.reason for outcome in run_groups([first, second], 2, None)}
    assert reasons == {"first": None, "second": None}
    assert (tmp_path / "second.json").exists()


def test_nodes_of_a_trial_share_nothing_but_their_files(tmp_path: Path) -> None:
    assert run_nodes(group("alone", abs, tmp_path), None) is None
    assert (tmp_path / "alone.json").read_text().strip() == "1"
