"""A sweep from the command line, trials one by one; side by side, killed and taken up again, the board is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from .conftest import run_kedro_here

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
# 1e30 makes the loss NaN at every learning rate that is tried
PARAMS = "label_key=,sweep.scvi.n_latent=5;20,sweep.scvi.training.lr=0.001;1.0e+30"
TRIALS = ("scvi_latent5_lr0p001", "scvi_latent5_lr1ep30", "scvi_latent20_lr0p001", "scvi_latent20_lr1ep30")
# What is measured with a clock or a meter differs from run to run.
MEASURED = ("seconds", "peak_memory_mb", "rank_", "mean_rank", "pareto")


@dataclass(frozen=True)
class Sweep:
    """Where a sweep was run."""

    root: Path
    workers: int = 1

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root / 'tracking.db'}"

    @property
    def words(self) -> list[str]:
        params = f"data_root={self.root / 'data'},workers={self.workers},{PARAMS}"
        return ["run", "--env", "test", "--pipelines", "sweep", "--params", params]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"MLFLOW_TRACKING_URI": self.uri, "OMP_NUM_THREADS": "1"}

    def run(self) -> str:
        done = run_kedro_here(*self.words, tracking_uri=self.uri)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def board(self) -> pd.DataFrame:
        return pd.read_csv(self.root / "data" / "08_reporting" / "test" / "leaderboard.csv", index_col=0)

    def runs(self) -> list[Any]:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri)
        experiments = [
            found.experiment_id for found in client.search_experiments(filter_string="name = 'test'")
        ]
        return list(client.search_runs(experiments, order_by=["attributes.start_time DESC"]))


def sweep_in(folder: Path, workers: int = 1) -> Sweep:
    folder.mkdir()
    return Sweep(folder, workers)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, str]:
    sweep = sweep_in(tmp_path_factory.mktemp("sweep") / "whole")
    return sweep, sweep.run()


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_every_trial_is_a_row_and_those_that_fail_say_why(uninterrupted: tuple[Sweep, str]) -> None:
    sweep, output = uninterrupted
    board = sweep.board()
    assert set(TRIALS) <= set(board.index)
    failed = board.loc[board.index.str.endswith("lr1ep30")]
    assert failed["failed"].str.contains("NaN").all()
    assert failed["elbo_test"].isna().all()
    assert board.loc["scvi_latent5_lr0p001", "elbo_test"] < 0
    assert "Comparison: " in output


def test_tracking_holds_a_child_a_trial_all_closed(uninterrupted: tuple[Sweep, str]) -> None:
    runs = {run.info.run_name: run for run in uninterrupted[0].runs()}
    assert {run.info.status for run in runs.values()} == {"FINISHED", "FAILED"}
    parent = next(run for name, run in runs.items() if name.startswith("test "))
    for trial in TRIALS:
        assert runs[trial].data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert runs[trial].data.params["trial_of"] == "scvi"
    done = runs["scvi_latent5_lr0p001"].data
    assert {"elbo_test", "curves/elbo_validation"} <= set(done.metrics)
    assert set(done.metrics) <= set(runs["scvi"].data.metrics)
    assert runs["scvi_latent5_lr1ep30"].info.status == "FAILED"
    assert "NaN" in runs["scvi_latent5_lr1ep30"].data.tags["error"]


def test_a_killed_sweep_goes_on_with_the_rest_and_ends_the_same(
    uninterrupted: tuple[Sweep, str], tmp_path: Path
) -> None:
    sweep = sweep_in(tmp_path / "killed", workers=2)
    assert sweep.runs() == []
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", *sweep.words],
        env=sweep.environment,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    models = sweep.root / "data" / "06_models" / "test"
    done = [models / "provenance" / f"{trial}.scores.json" for trial in TRIALS]
    # MLflow is told by a thread of its own, which may lag behind
    assert until(lambda: any(file.exists() for file in done) and sweep.runs() != [], 300), (
        "nothing was finished"
    )
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert until(
        lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers), 30
    )
    finished = {file: file.read_text() for file in done if file.exists()}

    replace(sweep, workers=1).run()

    assert {file: file.read_text() for file in finished} == finished
    board, whole = sweep.board(), uninterrupted[0].board()
    kept = [column for column in whole if not column.startswith(MEASURED)]
    order = sorted(whole.index)
    pd.testing.assert_frame_equal(board.loc[order, kept], whole.loc[order, kept])
    statuses = [run.info.status for run in sweep.runs()]
    assert "RUNNING" not in statuses
    assert "KILLED" in statuses


def test_an_empty_sweep_is_refused(kedro: Any, tmp_path: Path) -> None:
    done = kedro(
        "run", "--env", "test", "--pipelines", "sweep", "--params", f"data_root={tmp_path}",
        tracking_uri=f"sqlite:///{tmp_path / 'tracking.db'}",
    )  # fmt: skip
    assert done.returncode != 0
    assert "sweep is empty" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
