from __future__ import annotations

from pathlib import Path

from scvi_downstream.hooks.study import StoredDatasets

CATALOG = {
    "leaderboard": {"type": "pandas.CSVDataset", "filepath": "data/leaderboard.csv"},
    "{model}.latent": {"type": "pandas.ParquetDataset", "filepath": "data/{model}/latent.parquet"},
}


def test_a_dataset_is_stored_when_its_file_is_there(tmp_path: Path) -> None:
    is_stored = StoredDatasets(CATALOG, tmp_path)
    assert not is_stored("leaderboard")
    assert not is_stored("scvi.latent")
    for file in ("data/leaderboard.csv", "data/scvi/latent.parquet"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert is_stored("leaderboard")
    assert is_stored("scvi.latent")
    assert not is_stored("ldvae.latent")


def test_what_has_no_entry_is_not_stored(tmp_path: Path) -> None:
    assert not StoredDatasets(CATALOG, tmp_path)("nothing of ours")
