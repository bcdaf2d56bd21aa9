"""Trials on Ray: on this machine and on a cluster whose machine dies; stopped, lost and found again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import psutil
import pytest

from scvi_downstream.bridges.ray_tune import Halving, ray_on, run_trials
from scvi_downstream.models.search_space import read_space
from scvi_downstream.pipelines.search.search import draw_trials
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import model_spec

pytestmark = pytest.mark.slow
SPEC = model_spec({"name": "scvi", "family": "SCVI", "training": {"max_epochs": 4}})
SPACE = read_space({}, SPEC.model_dump(mode="json"))
MARK = "SCVI_DOWNSTREAM_TEST_OF_RAY"
HALVING = Halving("loss", grace_epochs=3, max_epochs=9, reduction_factor=3, spared=frozenset({1}))


class Watching:
    """Suggests trials 1, 2, … and notes what it is told."""

    def __init__(self, n: int) -> None:
        self.waiting = list(range(n, 0, -1))
        self.curves: dict[int, list[float]] = {}
        self.results: dict[int, Any] = {}
        self.begun: list[int] = []

    def suggest(self) -> tuple[int, dict[str, Any]] | None:
        return None if not self.waiting else (self.waiting.pop(), {})

    def started(self, number: int) -> None:
        self.begun.append(number)

    def epoch(self, number: int, epoch: int, curves: Mapping[str, float]) -> None:
        self.curves.setdefault(number, []).append(curves["loss"])

    def finished(self, number: int, result: dict[str, Any]) -> None:
        self.results[number] = result

    def stopped(self, number: int, seconds: float) -> None:
        self.results[number] = "stopped"

    def lost(self, number: int, reason: str) -> None:
        self.results[number] = f"lost: {reason}"


def descent() -> Callable[..., dict[str, Any]]:
    """Trainings whose loss falls to the trial's number; inside, since a test's module is not importable elsewhere."""

    def train(task: Any, number: int, changes: dict[str, Any], on_epoch: Any) -> dict[str, Any]:
        import os
        import socket

        for epoch in range(1, 10):
            on_epoch(epoch, {"loss": number + 1 / epoch, "other": 0.0})
        if number == task.get("dies"):
            os._exit(1)
        return {
            "number": number,
            "shared": task["shared"],
            "process": os.getpid(),
            "host": socket.gethostname(),
        }

    return train


def processes(mark: str) -> list[psutil.Process]:
    """Processes that were started with MARK in their environment, and what these started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def none_is_left(mark: str) -> bool:
    """Whether all processes end by themselves within half a minute."""
    deadline = time.time() + 30
    while processes(mark) and time.time() < deadline:
        time.sleep(0.2)
    return not processes(mark)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "head", "ray://127.0.0.1:1"])
def test_no_cluster_is_said(address: str, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=rf"search\.ray_address '{address}': no Ray cluster answers there"),
        ray_on(address, tmp_path),
    ):
        pass


@pytest.fixture(scope="module")
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One local Ray for the tests of this file; nothing of it may be left."""
    import tempfile

    mark = os.environ[MARK] = uuid.uuid4().hex
    with ray_on(None, tmp_path_factory.mktemp("work"), object_store_bytes=100 * 2**20):
        listening = {
            connection.laddr.ip
            for process in processes(mark)
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening
        assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        yield
    del os.environ[MARK]
    assert none_is_left(mark)
    assert not list(Path(tempfile.gettempdir()).glob(f"svd*_{os.getpid()}"))


@pytest.mark.usefixtures("local_ray")
def test_trials_that_fall_behind_are_stopped_and_processes_used_again(tmp_path: Path) -> None:
    watching = Watching(9)
    run_trials(
        descent(),
        {"shared": "cells"},
        watching,
        n_trials=9,
        halving=HALVING,
        earlier=[[0.5] * 9],  # of an earlier run, better than all
        concurrent=1,
        gpu=False,
        folder=tmp_path,
    )
    assert watching.begun == list(range(1, 10))
    assert watching.results[1]["shared"] == "cells"  # spared, though an earlier one is better
    assert {watching.results[number] for number in range(3, 10)} == {"stopped"}
    assert all(len(watching.curves[number]) == 3 for number in range(3, 10))
    assert watching.curves[1] == pytest.approx([1 + 1 / epoch for epoch in range(1, 10)])


@pytest.mark.usefixtures("local_ray")
def test_a_process_that_dies_costs_its_trial_only(tmp_path: Path) -> None:
    watching = Watching(4)
    run_trials(
        descent(),
        {"shared": 1, "dies": 2},
        watching,
        n_trials=4,
        halving=None,
        earlier=[],
        concurrent=1,
        gpu=False,
        folder=tmp_path,
    )
    assert watching.results[2].startswith("lost: its process died more than 3 times")
    assert watching.begun.count(2) == 4  # restarted three times
    assert [watching.results[number]["number"] for number in (1, 3, 4)] == [1, 3, 4]
    assert isinstance(
        print, BuiltinFunctionType
    )  # pynndescent, of one process with a search, can be compiled


CLUSTER = """
    import sys, time, json, os
    from pathlib import Path
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"   # the loopback address
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_TMPDIR"] = sys.argv[2]
    Path(sys.argv[2], "ray").mkdir()
    os.environ["RAY_health_check_period_ms"] = "300"
    os.environ["RAY_health_check_failure_threshold"] = "3"
    from ray.cluster_utils import Cluster
    from scvi_downstream.bridges.ray_tune import ray_on, run_trials

    folder = Path(sys.argv[1])
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)

    class Watching:
        def __init__(self):
            self.waiting, self.begun, self.results = list(range(6, 0, -1)), [], {}
            self.where, self.killed = {}, False
        def suggest(self):
            return None if not self.waiting else (self.waiting.pop(), {})
        def started(self, number):
            self.begun.append(number)
        def epoch(self, number, epoch, curves):
            self.where[number] = curves["node"]
            if len(self.results) >= 2 and not self.killed and curves["node"] == second.node_id and epoch == 3:
                self.killed = number
                cluster.remove_node(second, allow_graceful=False)
        def finished(self, number, result):
            self.results[number] = result
        def stopped(self, number, seconds):
            raise AssertionError
        def lost(self, number, reason):
            self.results[number] = {"lost": reason}

    def train(task, number, changes, on_epoch):
        import time
        import ray
        node = ray.get_runtime_context().get_node_id()
        for epoch in range(1, 9):
            time.sleep(0.15)
            on_epoch(epoch, {"node": node})
        return {"number": number, "task": task, "node": node}

    watching = Watching()
    with ray_on(cluster.address, folder):
        run_trials(train, "cells", watching, n_trials=6, halving=None, earlier=[],
                   concurrent=2, gpu=False, folder=folder)
    told = {name: getattr(watching, name) for name in ("killed", "begun", "results")}
    print(json.dumps(told | {"second": second.node_id}))
    cluster.shutdown()
"""


def test_a_search_survives_the_death_of_a_machine(tmp_path: Path) -> None:
    """Two machines of one core; one is killed in the middle, and what ran on it is run again on the other."""
    import json
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ray") as short:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(CLUSTER), str(tmp_path / "work"), short],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    killed = told["killed"]
    assert killed
    assert sorted(map(int, told["results"])) == [1, 2, 3, 4, 5, 6]
    assert all(result.get("task") == "cells" for result in told["results"].values())
    assert told["begun"].count(killed) == 2
    assert told["results"][str(killed)]["node"] != told["second"]
    assert {result["node"] for result in told["results"].values()} == {
        told["second"],
        told["results"][str(killed)]["node"],
    }


SEARCH = """
    import json, sys, time
    from pathlib import Path
    import numpy as np
    from anndata import AnnData
    from scipy import sparse
    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.pipelines.comparison.options import ComparisonOptions
    from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
    from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
    from scvi_downstream.pipelines.search.options import SearchOptions
    from scvi_downstream.pipelines.search.search import search_models
    from scvi_downstream.pipelines.search.trial import TrialTask
    from scvi_downstream.study.defaults import defaults_of, model_spec

    genes = AnnData(sparse.csr_matrix(np.ones((20, 4), np.float32)))
    spec = model_spec({"name": "scvi", "family": "SCVI", "training": {"max_epochs": 4}})
    task = TrialTask(
        genes,
        np.zeros((20, 2)),
        spec.model_dump(mode="json"),
        Keys(),
        ("elbo_validation",),
        defaults_of(EmbeddingOptions),
        defaults_of(ComparisonOptions),
        defaults_of(EvaluationOptions),
        0,
        "cpu",
    )
    log, seconds = Path(sys.argv[2]), float(sys.argv[3])


    def train(task, number, changes, on_epoch):
        import time

        with log.open("a") as file:
            file.write(f"{number}\\n")
        for epoch in range(1, 5):
            time.sleep(seconds)
            on_epoch(epoch, {"elbo_validation": 100.0 + number / epoch})
        return {
            "number": number,
            "changes": changes,
            "status": "finished",
            "curve": [-100.0 - number],
            "scores": {"elbo_validation": -100.0 - number},
            "by_cell": {},
            "draws": {},
            "reason": "",
        }


    options = defaults_of(SearchOptions, algorithm="random", trials=8, concurrent=1)
    records = search_models(task, options, CheckpointStore(Path(sys.argv[1])), train=train)
    print(json.dumps([record.plain() for record in records.values()]))
"""


def search(store: Path, log: Path, seconds: float, mark: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SEARCH), str(store), str(log), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {MARK: mark},
    )


def test_a_killed_search_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    import json

    mark = uuid.uuid4().hex
    store, log = tmp_path / "store", tmp_path / "log"
    first = search(store, log, 0.2, mark)
    deadline = time.time() + 300
    while len(list(store.glob("*/trial_*.json"))) < 3 and time.time() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = sorted(int(path.stem[-3:]) for path in store.glob("*/trial_*.json"))
    assert 3 <= len(kept) < 8
    log.unlink()
    output, errors = search(store, log, 0.0, mark).communicate(timeout=200)
    records = json.loads(output.strip().splitlines()[-1]) if output else pytest.fail(errors[-3000:])
    assert sorted(map(int, log.read_text().split())) == [
        number for number in range(1, 9) if number not in kept
    ]
    assert [record["number"] for record in records] == list(range(1, 9))
    assert not (store / "ray").exists()
    drawn = draw_trials(SPACE, SPACE.current(SPEC), 8, seed=0)  # what a search that is not killed tries
    assert [record["changes"] for record in records] == drawn
    assert [record["scores"]["elbo_validation"] for record in records] == [-101.0 - at for at in range(8)]
    assert none_is_left(mark)
