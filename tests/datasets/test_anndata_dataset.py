from __future__ import annotations

import errno
import inspect
import io
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from scipy import sparse

from scvi_downstream.datasets.anndata_dataset import AnnDataDataset
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.upstream import anndata_dataset

SUFFIXES = pytest.mark.parametrize("suffix", ["h5ad", "zarr"])


@pytest.fixture
def adata() -> anndata.AnnData:
    obs = {
        "batch": pd.Categorical(list("ab") * 3),
        "name": list("uvwxyz"),
        "score": [0.5, np.nan, 1, 2, 3, 4],
    }
    counts = np.random.default_rng(0).poisson(1, (6, 4)).astype(np.float32)
    return anndata.AnnData(
        sparse.csr_matrix(counts), obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(6)])
    )


@SUFFIXES
def test_preview_is_the_head_of_obs_and_reads_no_matrix(
    tmp_path: Path, adata: anndata.AnnData, suffix: str
) -> None:
    dataset = AnnDataDataset(filepath=tmp_path / f"counts.{suffix}")
    assert dataset.preview() is None
    dataset.save(adata)
    if suffix == "zarr":
        for chunk in (tmp_path / "counts.zarr" / "X" / "data").rglob("0"):
            chunk.write_bytes(b"damaged")
    else:
        with h5py.File(tmp_path / "counts.h5ad", "a") as file:
            del file["X"]
    preview = dataset.preview(nrows=2)
    assert preview["columns"] == ["cell", "batch", "name", "score"]
    assert preview["data"] == [["c0", "a", "u", "0.5"], ["c1", "b", "v", ""]]
    assert inspect.signature(dataset.preview).return_annotation == "TablePreview"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file_is_named(tmp_path: Path, adata: anndata.AnnData, share: float) -> None:
    path = tmp_path / "counts.h5ad"
    AnnDataDataset(filepath=path).save(adata)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DatasetError, match=f"{path} cannot be read as AnnData") as raised:
        AnnDataDataset(filepath=path).load()
    assert isinstance(raised.value.__cause__, InputError)


@pytest.mark.thorough
@SUFFIXES
def test_failure_while_writing_keeps_the_old_data(
    tmp_path: Path, adata: anndata.AnnData, suffix: str
) -> None:
    dataset = AnnDataDataset(filepath=tmp_path / f"counts.{suffix}")
    dataset.save(adata)
    broken = adata[:2].copy()
    broken.uns["function"] = print
    with pytest.raises(DatasetError):
        dataset.save(broken)
    assert dataset.load().n_obs == 6
    assert [entry.name for entry in tmp_path.iterdir()] == [f"counts.{suffix}"]


def test_full_disk_is_one_clear_error(
    tmp_path: Path, adata: anndata.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 must be able to close the file, else the process dies at its end."""
    dataset = AnnDataDataset(filepath=tmp_path / "counts.h5ad")
    dataset.save(adata)
    left = 2000
    write = io.FileIO.write

    class Disk(io.FileIO):
        def write(self, content):
            nonlocal left
            left -= len(content)
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(self, content)

    fails_last = type("FailsLast", (anndata_dataset._FailsLast, Disk), {})
    monkeypatch.setattr(anndata_dataset, "_FailsLast", fails_last)
    with pytest.raises(DatasetError, match="the disk is full") as raised:
        dataset.save(adata)
    assert isinstance(raised.value.__cause__, InputError)
    assert dataset.load().n_obs == 6
    assert [entry.name for entry in tmp_path.iterdir()] == ["counts.h5ad"]


def test_zarr_with_pickled_arrays_is_not_opened(tmp_path: Path, adata: anndata.AnnData) -> None:
    dataset = AnnDataDataset(filepath=tmp_path / "counts.zarr")
    dataset.save(adata)
    evil = tmp_path / "counts.zarr" / "uns" / "evil"
    evil.mkdir()
    (evil / ".zarray").write_text('{"zarr_format": 2, "filters": [{"id": "pickle", "protocol": 5}]}')
    with pytest.raises(DatasetError, match=r"is not opened: uns/evil/\.zarray holds pickled objects"):
        dataset.load()
