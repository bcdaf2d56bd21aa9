from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from scvi_downstream.models.saved import SavedModel
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.tracking.registry import load_champion, register_champion, requirements, write_servable

if TYPE_CHECKING:
    from anndata import AnnData
    from mlflow import MlflowClient

pytestmark = pytest.mark.slow
SCORES = {"elbo_test": -300.5, "scib_total": np.float64(0.7), "absent": float("nan"), "device": "cpu"}


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, fitted_scvi: SavedModel, pbmc_counts: AnnData
) -> tuple[MlflowClient, str]:
    """A store with two versions: the first without an example of counts."""
    from scvi_downstream.tracking.runs import StudyTracker

    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    tracker = StudyTracker(uri, "pbmc", folder / "artifacts")
    tracker.start("pbmc run", ["scvi"], {})
    client, run = tracker._client, tracker._children["scvi"]
    for example in (None, pbmc_counts):
        register_champion(client, run, "pbmc", fitted_scvi.save_dir, "best ELBO", SCORES, example)
    tracker.finish("FINISHED")
    return client, uri


@pytest.fixture(autouse=True)
def at_the_store(store: tuple[MlflowClient, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store[1])
    mlflow.set_tracking_uri(store[1])
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture
def servable(tmp_path: Path, fitted_scvi: SavedModel) -> Path:
    write_servable(tmp_path / "model", fitted_scvi)
    return tmp_path / "model"


def test_the_version_says_why_and_how_good(store: tuple[MlflowClient, str]) -> None:
    client, _ = store
    version = client.get_model_version_by_alias("pbmc", "champion")
    assert (str(version.version), version.description, version.status) == ("2", "best ELBO", "READY")
    assert version.tags == {"family": "SCVI", "elbo_test": "-300.5", "scib_total": "0.7", "device": "cpu"}
    model_id = Path(version.source).parent.name
    outputs = client.get_run(version.run_id).outputs.model_outputs
    assert model_id in {output.model_id for output in outputs}
    logged = client.get_logged_model(model_id)
    assert logged.status == "READY"
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "pbmc", "version": version.version}]
    assert {metric.key: metric.value for metric in logged.metrics} == {"elbo_test": -300.5, "scib_total": 0.7}
    assert logged.params["n_latent"] == "5"


def test_it_has_a_signature_pinned_requirements_and_nothing_pickled(store: tuple[MlflowClient, str]) -> None:
    import mlflow

    info = mlflow.models.get_model_info("models:/pbmc@champion")
    assert info.signature.outputs.input_names() == [f"latent_{i}" for i in range(1, 6)]
    assert [param.name for param in info.signature.params] == ["max_missing_genes"]
    assert info.metadata["family"] == "SCVI"
    assert len(info.metadata["genes"]) == 300
    folder = Path(mlflow.artifacts.download_artifacts("models:/pbmc@champion"))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert "data/model/model.pt" in files
    assert not [name for name in files if name.endswith((".pkl", ".py", ".lock", ".toml"))]
    pinned = (folder / "requirements.txt").read_text().split()
    assert pinned == requirements()
    assert all("==" in line and "+" not in line for line in pinned)


def test_the_example_is_of_the_study_without_names_and_can_be_left_out(pbmc_counts: AnnData) -> None:
    import mlflow

    example = mlflow.pyfunc.load_model("models:/pbmc@champion").input_example
    genes = example.columns
    np.testing.assert_array_equal(example, pbmc_counts[:3, genes].X.toarray())
    assert example.index.tolist() == [0, 1, 2]
    folder = Path(mlflow.artifacts.download_artifacts("models:/pbmc/1"))
    assert not list(folder.rglob("*example*"))


def test_mlflow_and_the_safe_way_embed_as_scvi_tools(pbmc_counts: AnnData, fitted_scvi: SavedModel) -> None:
    import mlflow

    expected = fitted_scvi.attach(pbmc_counts).get_latent_representation()
    loaded = mlflow.pyfunc.load_model("models:/pbmc@champion")
    np.testing.assert_array_equal(loaded.predict(pbmc_counts), expected)
    np.testing.assert_array_equal(load_champion("models:/pbmc@champion").embed(pbmc_counts), expected)
    few = pbmc_counts[:4].to_df()
    for table in (few, few.astype(int), few.astype("int32"), few.to_dict("list")):
        np.testing.assert_allclose(loaded.predict(table), expected[:4], atol=1e-5)
    lacking = few.drop(columns=loaded.metadata.metadata["genes"][:30])
    with pytest.raises(InputError, match=r"30 of the model's 300 genes \(10 %\)"):
        loaded.predict(lacking)
    assert loaded.predict(lacking, params={"max_missing_genes": 0.2}).shape == (4, 5)


def test_it_opens_without_a_store_and_says_when_it_is_not_there(
    servable: Path, pbmc_counts: AnnData, fitted_scvi: SavedModel
) -> None:
    expected = fitted_scvi.attach(pbmc_counts).get_latent_representation()
    np.testing.assert_array_equal(load_champion(str(servable)).embed(pbmc_counts), expected)
    with pytest.raises(InputError, match="there is no model 'models:/other@champion'"):
        load_champion("models:/other@champion")


def change_flavour(folder: Path, **changed: Any) -> None:
    content = yaml.safe_load((folder / "MLmodel").read_text())
    content["flavors"]["python_function"] |= changed
    (folder / "MLmodel").write_text(yaml.safe_dump(content))


def test_a_pickled_model_is_refused_and_does_not_run(tmp_path: Path) -> None:
    import mlflow

    marker, folder = tmp_path / "executed", tmp_path / "model"

    class Malicious(mlflow.pyfunc.PythonModel):
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

        def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
            return model_input

    mlflow.pyfunc.save_model(str(folder), python_model=Malicious(), pip_requirements=["mlflow"])
    marker.unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"its loader is mlflow\.pyfunc\.model"):
        load_champion(str(folder))
    assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - what MLflow makes of it does not matter
        mlflow.pyfunc.load_model(str(folder))
    assert marker.exists(), "MLflow itself runs it, so that this test proves something"


def test_code_data_elsewhere_other_flavours_and_unsafe_weights_are_refused(
    servable: Path, tmp_path: Path
) -> None:
    import torch

    for changed, said in (
        ({"code": "code"}, "brings code along"),
        ({"data": "../elsewhere"}, "its data lie elsewhere"),
        ({"loader_module": "os"}, "its loader is os"),
    ):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(servable, copy)
        change_flavour(copy, **changed)
        with pytest.raises(InputError, match=said):
            load_champion(str(copy))
    marker = tmp_path / "executed"
    saved = {"model_state_dict": {}, "attr_dict": {}, "var_names": pickle.loads}
    torch.save(saved, servable / "data" / "model" / "model.pt")
    with pytest.raises(InputError, match="could run code"):
        load_champion(str(servable))
    assert not marker.exists()
    (servable / "MLmodel").write_text("flavors: [")
    with pytest.raises(InputError, match="no model of MLflow"):
        load_champion(str(servable))


def test_mlflow_serves_it_over_http(
    store: tuple[MlflowClient, str], pbmc_counts: AnnData, fitted_scvi: SavedModel, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = (
        f"-m mlflow models serve -m models:/pbmc@champion --env-manager local --host 127.0.0.1 --port {port}"
    )
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *command.split()],
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        try:
            wait_until_up(server, port, tmp_path / "log")
            few = pbmc_counts[:2].to_df()
            answer = post(
                port, {"dataframe_split": few.to_dict("split"), "params": {"max_missing_genes": 0.05}}
            )
            expected = fitted_scvi.attach(pbmc_counts[:2].copy()).get_latent_representation()
            np.testing.assert_allclose(pd.DataFrame(answer["predictions"]), expected, atol=1e-5)
            with pytest.raises(urllib.error.HTTPError) as refused:
                post(port, {"dataframe_split": few.iloc[:, :50].astype(int).to_dict("split")})
            assert refused.value.code == 400
            assert "max_missing_genes allows 5 %" in json.loads(refused.value.read())["message"]
        finally:
            stop(server)


def wait_until_up(server: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(900):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text())


def post(port: int, content: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        data=json.dumps(content).encode(),
        headers={"Content-Type": "application/json"},
    )
    return json.loads(urllib.request.urlopen(request, timeout=60).read())


def stop(server: subprocess.Popen) -> None:
    import psutil

    if server.poll() is None:
        processes = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
        for process in processes:
            process.terminate()
        psutil.wait_procs(processes, timeout=10)
    server.wait(timeout=10)
