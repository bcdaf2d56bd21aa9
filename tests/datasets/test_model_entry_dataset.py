"""Entries of ``models:`` as a file, and as a part of an environment that Kedro reads."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader

from scvi_downstream.datasets.model_entry_dataset import FILE_NAME, ModelEntryDataset

ENTRY = {"scvi_best": {"family": "SCVI", "n_latent": 20, "training": {"lr": 0.002}}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a configuration, which the process is in."""
    (tmp_path / "conf" / "base").mkdir(parents=True)
    (tmp_path / "conf" / "base" / "parameters.yml").write_text(
        "models: {scvi: {family: SCVI}}\nprimary: scvi\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dataset() -> ModelEntryDataset:
    return ModelEntryDataset(filepath="data/search_best.yml", environment="conf/pbmc")


def parameters(project: Path) -> dict:
    loader = OmegaConfigLoader(
        str(project / "conf"),
        env="pbmc",
        base_env="base",
        default_run_env="local",
        merge_strategy={"parameters": "soft"},
    )
    return loader["parameters"]


def test_the_environment_has_the_model_besides_those_of_base_and_of_its_own(project: Path) -> None:
    (project / "conf" / "pbmc").mkdir()
    (project / "conf" / "pbmc" / "parameters.yml").write_text(
        "primary: ldvae\nmodels: {ldvae: {family: LinearSCVI}}\n"
    )
    dataset().save(ENTRY)
    dataset().save(ENTRY)
    found = parameters(project)
    assert found["models"] == {"scvi": {"family": "SCVI"}, "ldvae": {"family": "LinearSCVI"}, **ENTRY}
    assert dataset().load() == ENTRY


def test_a_file_of_the_user_stays(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = project / "conf" / "pbmc" / FILE_NAME
    own.parent.mkdir()
    own.write_text("models: {mine: {family: SCVI}}\n")
    with caplog.at_level(logging.WARNING):
        dataset().save(ENTRY)
    assert own.read_text() == "models: {mine: {family: SCVI}}\n"
    assert "is a file of yours" in caplog.text
    assert yaml.safe_load((project / "data" / "search_best.yml").read_text())["models"] == ENTRY


def test_without_a_configuration_there_is_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset().save(ENTRY)
    assert not (tmp_path / "conf").exists()
    assert dataset().load() == ENTRY
