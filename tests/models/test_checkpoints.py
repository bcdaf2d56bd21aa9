"""A checkpoint and records are found only by what they are of."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DatasetError

from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset
from scvi_downstream.models.checkpoints import CheckpointStore, RecordFolder
from scvi_downstream.pipelines.search.trial import TrialRecord


def test_found_by_identity_alone(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoint")
    assert not store.exists()
    assert store.find("a") is None
    store.write(lambda path: path.write_text("epoch 1"), "a")
    assert store.exists()
    assert store.find("b") is None
    found = store.find("a")
    assert found is not None
    assert found.read_text() == "epoch 1"


def test_the_last_one_replaces_those_before(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoint")
    store.write(lambda path: path.write_text("epoch 1"), "a")
    store.write(lambda path: path.write_text("epoch 2"), "b/ with / slashes\nand lines")
    assert store.find("a") is None
    assert len(list(store.path.iterdir())) == 1


def test_failed_write_keeps_the_last_one(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoint")
    store.write(lambda path: path.write_text("epoch 1"), "a")

    def killed(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(killed, "a")
    found = store.find("a")
    assert found is not None
    assert found.read_text() == "epoch 1"
    assert len(list(store.path.iterdir())) == 1


def test_clear_leaves_what_is_not_a_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoint")
    store.clear()
    store.write(lambda path: path.write_text("epoch 1"), "a")
    (store.path / f".{'0' * 32}.ckpt.host-1-0123abcd.partial").write_text("half")
    (store.path / "notes.txt").write_text("mine")
    store.clear()
    assert [file.name for file in store.path.iterdir()] == ["notes.txt"]
    (store.path / "notes.txt").unlink()
    store.write(lambda path: path.write_text("epoch 1"), "a")
    store.clear()
    assert not store.path.exists()


def test_dataset_is_an_input_that_always_loads(tmp_path: Path) -> None:
    dataset = CheckpointDataset(filepath=str(tmp_path / "checkpoint"))
    assert dataset.exists()
    assert dataset.load() == CheckpointStore(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    with pytest.raises(DatasetError, match="cannot be a node's output"):
        dataset.save(1)


def test_records_come_back_as_they_were_but_for_failed_ones(tmp_path: Path) -> None:
    folder = RecordFolder.of(CheckpointStore(tmp_path / "search"), [b"counts", {"seed": 0}])
    assert folder.read() == {}
    finished = TrialRecord(
        2,
        {"n_latent": 5, "training.lr": 0.00123, "gene_likelihood": "nb"},
        "finished",
        {"elbo_validation": -612.123456789, "epochs": 30},
        (-700.5, -612.25),
        {"elbo_validation": {"validation": [-1.5], "test": []}},
        {"scib_total": [0.5, 0.25]},
    )
    folder.write(finished.plain())
    folder.write(TrialRecord(3, {}, "failed", reason="the loss becomes NaN").plain())
    folder.write(
        TrialRecord(11, {}, "stopped", {"elbo_validation": -9.0}, (-9.0,), reason="fell behind").plain()
    )
    found = folder.read()
    assert list(found) == [2, 11]
    assert TrialRecord.of(found[2]) == finished


def test_another_search_has_another_folder(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    folders = {RecordFolder.of(store, [b"counts", {"seed": seed}]).path for seed in range(3)}
    assert len(folders) == 3
    assert RecordFolder.of(store, [b"counts", {"seed": 1}]).path in folders
