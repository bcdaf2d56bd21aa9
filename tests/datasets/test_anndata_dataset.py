from __future__ import annotations

import errno
import inspect
import io
import warnings
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

SUFFIXES = pytest.mark.parametrize("suffix", ["h5ad", "zarr"])


@pytest.fixture
def adata() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    adata = anndata.AnnData(
        sparse.csr_matrix(rng.poisson(1, (6, 4)).astype(np.float32)),
        obs=pd.DataFrame(
            {
                "batch": pd.Categorical(list("aabbab"), categories=["b", "a", "unused"]),
                "donor": ["d1", "d2", "d1", "d2", "d1", "d1"],
                "name": list("uvwxyz"),
                "score": [0.5, np.nan, 1, 2, 3, 4],
            },
            index=[f"c{i}" for i in range(6)],
        ),
        var=pd.DataFrame({"highly_variable": [True, False, True, True]}, index=list("ABCD")),
        obsm={"X_scVI": rng.normal(size=(6, 2)).astype(np.float32)},
        uns={"colors": np.array(["#000000"]), "nothing": None},
    )
    adata.raw = adata.copy()
    return adata


@pytest.mark.thorough
@SUFFIXES
def test_round_trip_leaves_the_object_as_it_is(tmp_path: Path, adata: anndata.AnnData, suffix: str) -> None:
    before = adata.copy()
    dataset = AnnDataDataset(filepath=tmp_path / f"counts.{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of anndata on pandas
        dataset.save(adata)
        loaded = dataset.load()
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert (loaded.X != adata.X).nnz == 0
    assert loaded.X.dtype == np.float32
    expected = adata.obs.astype({"donor": "category"})
    pd.testing.assert_frame_equal(loaded.obs.astype({"name": "str"}), expected)
    pd.testing.assert_frame_equal(loaded.var, adata.var)
    np.testing.assert_array_equal(loaded.obsm["X_scVI"], adata.obsm["X_scVI"])
    assert loaded.raw.shape == (6, 4)


@pytest.mark.thorough
@SUFFIXES
def test_views_are_written_as_what_they_show(tmp_path: Path, adata: anndata.AnnData, suffix: str) -> None:
    dataset = AnnDataDataset(filepath=tmp_path / f"counts.{suffix}")
    view = adata[[4, 1], ["D", "A"]]
    dataset.save(view)
    loaded = dataset.load()
    np.testing.assert_array_equal(loaded.X.toarray(), adata.X.toarray()[np.ix_([4, 1], [3, 0])])
    assert view.is_view


def test_names_are_plain_strings_for_old_readers(tmp_path: Path, adata: anndata.AnnData) -> None:
    AnnDataDataset(filepath=tmp_path / "counts.h5ad").save(adata)
    with h5py.File(tmp_path / "counts.h5ad") as file:
        assert file.attrs["encoding-type"] == "anndata"
        assert {file[f"obs/{name}"].attrs["encoding-type"] for name in ("_index", "name")} == {"string-array"}
        assert file["X/data"].compression == "gzip"


def test_compression_can_be_chosen(tmp_path: Path, adata: anndata.AnnData) -> None:
    AnnDataDataset(filepath=tmp_path / "counts.h5ad", save_args={"compression": "lzf"}).save(adata)
    with h5py.File(tmp_path / "counts.h5ad") as file:
        assert file["X/data"].compression == "lzf"


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
    assert preview["columns"] == ["cell", "batch", "donor", "name", "score"]
    assert preview["data"] == [["c0", "a", "d1", "u", "0.5"], ["c1", "a", "d2", "v", ""]]
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

    from scvi_downstream.datasets import anndata_dataset

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


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.h5ad or \.zarr"):
        AnnDataDataset(filepath=tmp_path / "counts.loom")
