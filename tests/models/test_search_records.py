"""Trials that are over are found again, and only those of the same search."""

from __future__ import annotations

from pathlib import Path

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.search_space import RecordFolder, TrialRecord


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
    folder.write(finished)
    folder.write(TrialRecord(3, {}, "failed", reason="the loss becomes NaN"))
    folder.write(TrialRecord(11, {}, "stopped", {"elbo_validation": -9.0}, (-9.0,), reason="fell behind"))
    found = folder.read()
    assert list(found) == [2, 11]
    assert found[2] == finished


def test_another_search_has_another_folder(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    folders = {RecordFolder.of(store, [b"counts", {"seed": seed}]).path for seed in range(3)}
    assert len(folders) == 3
    assert RecordFolder.of(store, [b"counts", {"seed": 1}]).path in folders
