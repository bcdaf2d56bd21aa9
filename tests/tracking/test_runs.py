from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.tracking.runs import StudyTracker, flatten, tracking_uri

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'tracking.db'}"


def tracker(uri: str, experiment: str, tmp_path: Path) -> StudyTracker:
    return StudyTracker(uri, experiment, tmp_path / "artifacts")


def runs(uri: str, experiment: str) -> dict:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {run.info.run_name: run for run in found}


def test_children_hang_on_the_parent_and_all_are_closed(uri: str, tmp_path: Path) -> None:
    study = tracker(uri, "children", tmp_path)
    study.start("parent", ["a", "b"], {"tag": "value"})
    study.log_parameters("a", {"model": {"n_latent": 10, "nothing": None}})
    study.log_metrics(
        "a", {"elbo": -3.5, "missing": float("nan"), "left_out": "no labels", "why": "A sentence. " * 9}
    )
    study.log_curves("a", pd.DataFrame({"loss": [3.0, np.nan, 1.0]}, index=[1, 2, 3]))
    study.finish("FINISHED")
    found = runs(uri, "children")
    assert set(found) == {"parent", "a", "b"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert found["a"].data.tags["mlflow.parentRunId"] == found["parent"].info.run_id
    assert found["a"].data.params == {"model.n_latent": "10"}
    assert found["a"].data.metrics == {"elbo": -3.5, "curves/loss": 1.0}
    assert found["a"].data.tags["left_out"] == "no labels"
    assert "why" not in found["a"].data.tags


def test_a_process_killed_while_it_makes_the_store_leaves_none(tmp_path: Path) -> None:
    code = (
        f"from scvi_downstream.tracking.runs import open_store; open_store('sqlite:///{tmp_path}/mlflow.db')"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not any(file.stat().st_size for file in tmp_path.glob(".mlflow.db.*/mlflow.db")):
        assert process.poll() is None, "the store is made elsewhere"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    tracker(f"sqlite:///{tmp_path}/mlflow.db", "later", tmp_path).start("parent", [], {})


def test_more_metrics_than_one_call_takes(uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    study = tracker(uri, "many", tmp_path)
    study.start("parent", ["a"], {})
    study.log_curves("a", pd.DataFrame({"loss": np.arange(2500.0)}, index=np.arange(1, 2501)))
    study.log_parameters("a", {f"option_{i}": i for i in range(250)})
    study.finish("FINISHED")
    run = runs(uri, "many")["a"]
    assert len(MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "curves/loss")) == 2500
    assert len(run.data.params) == 250


def test_a_failure_closes_everything_as_failed_with_its_reason(uri: str, tmp_path: Path) -> None:
    study = tracker(uri, "failing", tmp_path)
    study.start("parent", ["a"], {})
    study.finish_failed_model("a", "a.train_model: too few cells")
    study.finish("FAILED", "too few cells")
    found = runs(uri, "failing")
    assert {run.info.status for run in found.values()} == {"FAILED"}
    assert found["a"].data.tags["failed_node"] == "a.train_model: too few cells"
    assert found["parent"].data.tags["error"] == "too few cells"


def test_runs_of_a_process_that_died_are_closed_by_the_next(uri: str, tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from scvi_downstream.tracking import StudyTracker\n"
        f"StudyTracker({uri!r}, 'killed', Path({str(tmp_path)!r})).start('abandoned', ['a'], {{}}); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert runs(uri, "killed")["abandoned"].info.status == "RUNNING"
    study = tracker(uri, "killed", tmp_path)
    study.start("next", [], {})
    found = runs(uri, "killed")
    assert found["abandoned"].info.status == found["a"].info.status == "KILLED"
    assert found["next"].info.status == "RUNNING"
    study.finish("FINISHED")


def test_an_environment_variable_comes_before_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None, tmp_path) == f"sqlite:///{tmp_path.resolve() / 'mlflow.db'}"
    assert tracking_uri("http://127.0.0.1:5000", tmp_path) == "http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    assert tracking_uri("http://127.0.0.1:5000", tmp_path) == "sqlite:///elsewhere.db"


def test_flatten_joins_names_with_dots_and_drops_nothing_else() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": None}, "e": [2]}) == {"a.b.c": 1, "e": [2]}


def test_curves_drawn_live_are_not_drawn_twice(uri: str, tmp_path: Path) -> None:
    live = tracker(uri, "live", tmp_path)
    live.start("run", ["scvi"], {})
    for epoch in (1, 2):
        live.log_epoch("scvi", epoch, {"elbo_validation": 700.0 - epoch, "kl_weight": float("nan")})
    live.log_epoch("annotation", 1, {"elbo_validation": 1.0})  # has no run of its own
    history = pd.DataFrame(
        {"elbo_validation": [699.0, 698.0, 697.0]}, index=pd.Index([1, 2, 3], name="epoch")
    )
    live.log_curves("scvi", history)
    live.finish("FINISHED")
    from mlflow import MlflowClient

    client, found = MlflowClient(tracking_uri=uri), runs(uri, "live")
    for run, curve in (("scvi", "curves/elbo_validation"), ("run", "curves/elbo_validation/scvi")):
        drawn = client.get_metric_history(found[run].info.run_id, curve)
        assert [(point.step, point.value) for point in drawn] == [(1, 699.0), (2, 698.0), (3, 697.0)]


def test_the_page_of_an_older_study_gets_the_view_of_its_models(uri: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.create_experiment("older", tags={"mlflow.experimentKind": "finetuning"})
    tracker(uri, "older", tmp_path)
    tags = client.get_experiment_by_name("older").tags
    assert tags["mlflow.experimentKind"] == "finetuning"
    assert "mlflow.sharedViewState.models" in tags


def test_a_trial_is_closed_with_its_own_end(uri: str, tmp_path: Path) -> None:
    study = tracker(uri, "trials", tmp_path)
    study.start("run", ["good", "bad"], {"kedro.env": "local"})
    study.log_data("cells", "cells.h5ad", {"n_cells": 10, "data_fingerprint": "1f3a"})
    study.start_child("drawn")
    study.finish_child("bad", "FAILED", "the loss became NaN")
    study.finish_child("nobody", "FAILED")
    study.finish("FINISHED")
    closed = runs(uri, "trials")
    assert {name: run.info.status for name, run in closed.items()} == {
        "run": "FINISHED",
        "good": "FINISHED",
        "bad": "FAILED",
        "drawn": "FINISHED",
    }
    assert closed["bad"].data.tags["error"] == "the loss became NaN"
    assert closed["drawn"].data.tags["mlflow.parentRunId"] == closed["run"].info.run_id
    assert closed["drawn"].data.tags["kedro.env"] == "local"
    assert {run.inputs.dataset_inputs[0].dataset.digest for run in closed.values()} == {"1f3a"}


def test_names_of_metrics_are_made_fit_for_the_store(uri: str, tmp_path: Path) -> None:
    study = tracker(uri, "names", tmp_path)
    study.start("run", [], {})
    study.log_metrics(None, {"genes": {"CD14+ Monocyte": 0.5}, "a sentence of many words, " * 20: 1.0})
    study.finish("FINISHED")
    assert runs(uri, "names")["run"].data.metrics == {"genes.CD14_ Monocyte": 0.5}
