"""Only what is missing or has changed is run; nodes run side by side, and trials may fail."""

from __future__ import annotations

import json
import logging
import math
import operator
import sys
from collections.abc import Callable
from functools import partial, update_wrapper
from importlib import import_module
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
from scvi_downstream.pipelines.copies import boxed, copied
from scvi_downstream.pipelines.declaration import TRIAL
from scvi_downstream.runtime import events
from scvi_downstream.runtime.errors import InputError

sys.path.append(str(Path(__file__).parent))  # of the worker processes as well
strange_nodes = import_module("strange_nodes")


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
        memory = {name: MemoryDataset(value, copy_mode="assign") for name, value in given.items()}
        return DataCatalog(files | memory)

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


def compile_beside_threads(value: float) -> float:
    import numba

    numba.set_num_threads(1)  # launches them
    return numba.njit(lambda number: number + 1)(value)


@pytest.mark.thorough
def test_numba_compiles_in_a_run_of_this_process_and_after_it(study: Study) -> None:
    study.run(Pipeline([Node(compile_beside_threads, "raw", "more", name="compile")]))
    assert study.read("more") == 5.0
    assert compile_beside_threads(1.0) == 2.0


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


def test_what_comes_out_as_before_leaves_all_that_follows_as_it_is(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    study.run(arithmetic())
    (study.folder / "raw.json").write_text("4.000")
    assert set(study.run(arithmetic())) == {"take_root", "double"}
    reused = [event for event in study.events if isinstance(event, events.DatasetsReused)]
    assert [event.names for event in reused] == [("scaled",)]
    assert study.run(arithmetic()) == []
    assert study.events == []


def test_what_most_hangs_on_runs_first(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    assert study.run(arithmetic())[0] == "take_root"
    record = study.folder / PROVENANCE / "doubled.json"
    known = json.loads(record.read_text())
    record.write_text(json.dumps({**known, "seconds": 60.0}))
    study.parameters["incremental"] = False
    assert study.run(arithmetic())[0] == "double"


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
    board = Node(strange_nodes.gather, [f"{name}.scores" for name in functions], "board", name="build_board")
    return sum(nodes, Pipeline([board]))


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
        if isinstance(event, events.DatasetsReused)
        for name in event.names
    }
    assert "second.scores" in reused
    assert "first.scores" not in reused


def test_what_starts_from_a_trial_that_failed_fails_as_well(study: Study) -> None:
    def trial(name: str, inputs: str, function: Callable[..., Any]) -> Pipeline:
        alone = Pipeline([Node(function, "given", "scores", name="score")])
        return boxed(copied(alone, name, with_tags=[TRIAL], given=inputs), "models")

    board = Node(strange_nodes.gather, ["first.scores", "second.scores"], "board", name="build_board")
    study.run(trial("first", "raw", len) + trial("second", "first.scores", abs) + Pipeline([board]))
    first, second = study.read("board")
    assert "TypeError" in first["failed"]
    assert second["failed"] == "it starts from first, which failed"


@pytest.mark.slow
def test_nodes_in_processes_give_what_nodes_in_order_give(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    pipeline = trials(first=math.sqrt, second=abs) + arithmetic()
    study.run(pipeline)
    files = ("board", "root", "scaled", "doubled")
    one_by_one = [study.read(name) for name in files]
    study.parameters |= {"workers": 2, "incremental": False}
    assert set(study.run(pipeline)) == {node.name for node in pipeline.nodes}
    assert [study.read(name) for name in files] == one_by_one
    study.parameters["incremental"] = True
    assert study.run(pipeline) == []


@pytest.mark.slow
def test_what_goes_through_memory_reaches_other_processes(study: Study) -> None:
    study.values = {"params:factor": 3.0}
    study.parameters["workers"] = 2
    catalog = study.catalog

    def in_memory(pipeline: Pipeline) -> DataCatalog:
        made = catalog(pipeline)
        made["root"] = MemoryDataset()
        return made

    study.catalog = in_memory  # type: ignore[method-assign]
    study.run(arithmetic())
    assert study.read("scaled") == 6.0


@pytest.mark.slow
def test_a_failure_in_a_process_is_the_failure_of_the_run(study: Study) -> None:
    study.parameters["workers"] = 2
    study.values = {"params:factor": 1.0}
    (study.folder / "raw.json").write_text("-4.0")
    with pytest.raises(ValueError, match="math domain"):
        study.run(arithmetic())
    refusing = Pipeline([Node(strange_nodes.refuse, "raw", "refused", name="refuse"), *arithmetic().nodes])
    (study.folder / "raw.json").write_text("4.0")
    with pytest.raises(InputError, match="not like this"):
        study.run(refusing)
    study.run(arithmetic())
    assert study.read("scaled") == 2.0


@pytest.mark.slow
def test_a_process_that_dies_takes_no_other_trial_with_it(study: Study) -> None:
    study.parameters["workers"] = 2
    study.run(trials(first=strange_nodes.die, second=abs, third=math.sqrt))
    dead, *alive = study.read("board")
    assert "its process died twice; is there enough memory?" in dead["failed"]
    assert alive == [4.0, 2.0]


@pytest.mark.slow
def test_a_node_whose_process_died_is_tried_once_more(study: Study) -> None:
    study.parameters["workers"] = 2
    study.values = {"params:factor": 3.0}
    fragile = update_wrapper(
        partial(strange_nodes.die_once, seen=str(study.folder / "seen")), strange_nodes.die_once
    )
    study.run(Pipeline([Node(fragile, "raw", "kept", name="keep"), *arithmetic().nodes]))
    assert study.read("kept") == 4.0
    assert study.read("scaled") == 6.0
    study.parameters["incremental"] = False
    dying = Pipeline([Node(strange_nodes.die, "raw", "lost", name="lose"), *arithmetic().nodes])
    with pytest.raises(RuntimeError, match="lose: its process died twice"):
        study.run(dying)
