from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from scvi_downstream.datasets.tracked_runs_dataset import TrackedRunsDataset
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.tracking.reading import read_runs
from scvi_downstream.tracking.runs import StudyTracker

pytestmark = pytest.mark.slow
SUMMARY = {"data_fingerprint": "abc", "n_cells": 700, "n_genes": 765}


def track(
    uri: str, study: str, run: str, scores: Mapping[str, Mapping[str, float]], *, status: str = "FINISHED"
) -> None:
    """A run with its models' scores."""
    tracker = StudyTracker(uri, study, Path(uri.removeprefix("sqlite:///")).parent / "artifacts")
    tracker.start(run, list(scores), {"version.scvi-tools": "1.5.1"})
    tracker.log_parameters(None, {"study": study, "seed": 0})
    for model, values in scores.items():
        tracker.log_parameters(model, {"family": model.upper(), "n_latent": 10})
        tracker.log_curves(model, pd.DataFrame({"loss": [2.0, 1.0]}, index=[1, 2]))
        tracker.log_metrics(model, {**values, "device": "cpu"})
    if scores:
        tracker.log_data(study, "pbmc68k", SUMMARY)
    tracker.finish(status, None if status == "FINISHED" else "too few cells")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Studies `pbmc` (three runs with scores, one without models), `liver` (partial run last), `failing`, another's."""
    from mlflow import MlflowClient

    address = f"sqlite:///{tmp_path_factory.mktemp('reading') / 'mlflow.db'}"
    for number in range(3):
        track(
            address,
            "pbmc",
            f"pbmc {number}",
            {"scvi": {"elbo_test": -470 - number}, "pca": {"scib_total": 0.5}},
        )
    track(address, "pbmc", "pbmc tables only", {})
    track(address, "liver", "liver whole", {"scvi": {"elbo_test": -300}})
    track(address, "liver", "liver trained", {"scvi": {"seconds": 3.0}})
    track(address, "failing", "failing once", {"scvi": {}}, status="FAILED")
    client = MlflowClient(tracking_uri=address)
    other = client.create_experiment("someone else's")
    for _ in range(2):
        run = client.create_run(other, run_name="autolog")
        client.log_metric(run.info.run_id, "val_loss", 0.25)
        client.set_terminated(run.info.run_id)
    return address


def test_a_study_is_its_newest_finished_run_with_held_out_scores(uri: str) -> None:
    runs = read_runs(uri, ["liver"], "pbmc")
    assert runs["run"].tolist() == ["liver whole"]
    row = runs.iloc[0]
    assert (row["model"], row["metric.elbo_test"], row["param.n_latent"]) == ("scvi", -300, "10")
    assert (row["study_param.seed"], row["version.scvi-tools"], row["device"]) == ("0", "1.5.1", "cpu")
    assert (row["data_digest"], row["data_cells"], row["data_genes"]) == ("abc", 700, 765)
    assert not [column for column in runs if "curves" in column]
    assert str(row["started"].tz) == "UTC"


def test_without_names_it_is_the_newest_runs_of_the_study_that_have_scores(uri: str) -> None:
    runs = read_runs(uri, [], "pbmc")
    assert runs["run"].unique().tolist() == ["pbmc 0", "pbmc 1", "pbmc 2"]
    assert runs.groupby("run")["model"].apply(set).tolist() == [{"scvi", "pca"}] * 3


def test_runs_have_names_ids_and_models(uri: str) -> None:
    by_name = read_runs(uri, ["pbmc 1", " liver trained "], "pbmc")
    assert by_name["run"].unique().tolist() == ["pbmc 1", "liver trained"]
    by_id = read_runs(uri, by_name["run_id"].unique().tolist(), "pbmc")
    pd.testing.assert_frame_equal(by_id, by_name)
    one_model = read_runs(uri, [by_name.loc[by_name["model"] == "pca", "model_run_id"].iloc[0]], "pbmc")
    assert one_model[["run", "model"]].to_numpy().tolist() == [["pbmc 1", "pca"]]


def test_runs_without_models_and_failed_runs_are_rows(uri: str) -> None:
    runs = read_runs(uri, ["pbmc tables only", "failing once"], "pbmc").set_index("run")
    assert pd.isna(runs.loc["pbmc tables only", "model"])
    assert runs.loc["failing once", ["status", "model_status", "error"]].tolist() == [
        "FAILED",
        "FAILED",
        "too few cells",
    ]


def test_runs_of_other_programs_are_read(uri: str) -> None:
    runs = read_runs(uri, ["someone else's"], "pbmc")
    assert len(runs) == 1
    assert pd.isna(runs["model"].iloc[0])
    assert runs["metric.val_loss"].iloc[0] == 0.25
    assert pd.isna(runs["data_digest"].iloc[0])


@pytest.mark.parametrize(
    ("wanted", "study", "message"),
    [
        (["livr"], "pbmc", "'livr' is no study, run name or run id of the store; the closest is 'liver'"),
        (["failing"], "pbmc", "study 'failing' has no finished run; its newest are 'failing once'"),
        (["autolog"], "pbmc", "2 runs are called 'autolog'; give the id of one of them"),
        ([], "pbcm", "runs is empty, and study 'pbcm' has no finished run with scores.*closest is 'pbmc'"),
    ],
)
def test_what_cannot_be_found_is_said(uri: str, wanted: list[str], study: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_runs(uri, wanted, study)


def test_the_dataset_reads_the_projects_own_store_and_writes_nothing(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kedro.io import DatasetError

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = Path(uri.removeprefix("sqlite:///"))
    dataset = TrackedRunsDataset(filepath=path, runs=["liver"], study="pbmc")
    assert dataset.load()["run"].tolist() == ["liver whole"]
    with pytest.raises(DatasetError, match="read only"):
        dataset.save(pd.DataFrame())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    elsewhere = TrackedRunsDataset(filepath=tmp_path / "mlflow.db", study="other", experiment="pbmc")
    assert elsewhere.load()["run"].nunique() == 3
    assert not (tmp_path / "mlflow.db").exists()


def test_importing_the_dataset_does_not_import_mlflow() -> None:
    script = "import sys, scvi_downstream.datasets, scvi_downstream.tracking.reading; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
