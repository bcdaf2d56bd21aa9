"""What kedro-datasets asks of a dataset: versions, file systems, credentials, arguments; and what AnnData needs."""

from __future__ import annotations

import errno
import inspect
import io
import warnings
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from uuid import uuid4

import anndata
import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from kedro.io import DataCatalog, DatasetError
from kedro.io.core import Version
from scipy import sparse

from scvi_downstream.upstream import anndata_dataset
from scvi_downstream.upstream.anndata_dataset import AnnDataDataset

SUFFIXES = pytest.mark.parametrize("suffix", ["h5ad", pytest.param("zarr", marks=pytest.mark.thorough)])
PLACES = pytest.mark.parametrize("place", ["file://{tmp_path}/", "memory:///{name}/"])


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


@pytest.fixture
def filepath(tmp_path: Path, place: str, suffix: str) -> str:
    return f"{place.format(tmp_path=tmp_path / 'deep', name=uuid4())}counts.{suffix}"


@PLACES
@SUFFIXES
def test_round_trip_leaves_the_object_as_it_is(filepath: str, adata: anndata.AnnData) -> None:
    before = adata.copy()
    dataset = AnnDataDataset(filepath=filepath)
    assert not dataset.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of anndata on pandas
        dataset.save(adata)
        loaded = dataset.load()
    assert dataset.exists()
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert (loaded.X != adata.X).nnz == 0
    assert loaded.X.dtype == np.float32
    expected = adata.obs.astype({"donor": "category"})
    pd.testing.assert_frame_equal(loaded.obs.astype({"name": "str"}), expected)
    pd.testing.assert_frame_equal(loaded.var, adata.var)
    np.testing.assert_array_equal(loaded.obsm["X_scVI"], adata.obsm["X_scVI"])
    assert loaded.raw.shape == (6, 4)


@PLACES
@SUFFIXES
def test_what_is_there_is_replaced(filepath: str, adata: anndata.AnnData) -> None:
    dataset = AnnDataDataset(filepath=filepath)
    dataset.save(adata)
    less = adata[[4, 1], ["D", "A"]].copy()
    del less.obsm["X_scVI"]
    dataset.save(less)
    loaded = dataset.load()
    assert loaded.obs_names.tolist() == ["c4", "c1"]
    assert not loaded.obsm


@SUFFIXES
def test_views_are_written_as_what_they_show(tmp_path: Path, adata: anndata.AnnData, suffix: str) -> None:
    dataset = AnnDataDataset(filepath=tmp_path / f"counts.{suffix}")
    view = adata[[4, 1], ["D", "A"]]
    dataset.save(view)
    np.testing.assert_array_equal(dataset.load().X.toarray(), adata.X.toarray()[np.ix_([4, 1], [3, 0])])
    assert view.is_view


def test_names_are_plain_strings_for_old_readers(tmp_path: Path, adata: anndata.AnnData) -> None:
    AnnDataDataset(filepath=tmp_path / "counts.h5ad").save(adata)
    with h5py.File(tmp_path / "counts.h5ad") as file:
        assert file.attrs["encoding-type"] == "anndata"
        assert {file[f"obs/{name}"].attrs["encoding-type"] for name in ("_index", "name")} == {"string-array"}
        assert file["X/data"].compression == "gzip"


@pytest.mark.parametrize(
    ("save_args", "compression", "shuffle"),
    [
        ({"compression": "lzf"}, "lzf", False),
        ({"compression": None}, None, False),
        ({"shuffle": True}, "gzip", True),
    ],
)
def test_save_args(
    tmp_path: Path, adata: anndata.AnnData, save_args: dict[str, Any], compression: str | None, shuffle: bool
) -> None:
    AnnDataDataset(filepath=tmp_path / "counts.h5ad", save_args=save_args).save(adata)
    with h5py.File(tmp_path / "counts.h5ad") as file:
        assert (file["X/data"].compression, file["X/data"].shuffle) == (compression, shuffle)


def test_save_args_of_zarr(tmp_path: Path, adata: anndata.AnnData) -> None:
    import zarr

    AnnDataDataset(filepath=tmp_path / "counts.zarr", save_args={"compressors": None}).save(adata)
    assert zarr.open_group(tmp_path / "counts.zarr", mode="r")["X/data"].compressors == ()


def test_load_args(tmp_path: Path, adata: anndata.AnnData) -> None:
    AnnDataDataset(filepath=tmp_path / "counts.h5ad").save(adata)
    loaded = AnnDataDataset(filepath=tmp_path / "counts.h5ad", load_args={"backed": "r"}).load()
    assert loaded.isbacked
    loaded.file.close()


@SUFFIXES
def test_preview_is_the_head_of_obs_and_reads_no_matrix(
    tmp_path: Path, adata: anndata.AnnData, suffix: str
) -> None:
    dataset = AnnDataDataset(filepath=tmp_path / f"counts.{suffix}")
    dataset.save(adata)
    if suffix == "zarr":
        for chunk in (tmp_path / "counts.zarr" / "X" / "data").rglob("0"):
            chunk.write_bytes(b"damaged")
    else:
        with h5py.File(tmp_path / "counts.h5ad", "a") as file:
            del file["X"]
    assert dataset.preview(nrows=2) == {
        "index": ["c0", "c1"],
        "columns": ["batch", "donor", "name", "score"],
        "data": [["a", "d1", "u", "0.5"], ["a", "d2", "v", ""]],
    }
    assert inspect.signature(dataset.preview).return_annotation == "TablePreview"


@PLACES
@SUFFIXES
def test_missing_file(filepath: str) -> None:
    with pytest.raises(
        DatasetError, match=r"Failed while loading data from dataset .*AnnDataDataset\(.*counts\."
    ):
        AnnDataDataset(filepath=filepath).load()


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"must end in \.h5ad or \.zarr"):
        AnnDataDataset(filepath=tmp_path / "counts.loom")


def test_a_disk_that_is_full_leaves_the_process_alive(
    tmp_path: Path, adata: anndata.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 must be able to close the file, else the process dies at its end."""
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
    with pytest.raises(DatasetError, match="No space left on device"):
        AnnDataDataset(filepath=tmp_path / "counts.h5ad").save(adata)


@pytest.mark.parametrize(
    ("filepath", "kind"),
    [
        ("file:///data/counts.h5ad", LocalFileSystem),
        ("/data/counts.zarr", LocalFileSystem),
        ("memory:///bucket/counts.h5ad", MemoryFileSystem),
    ],
)
def test_protocols(filepath: str, kind: type) -> None:
    dataset = AnnDataDataset(filepath=filepath)
    assert isinstance(dataset._fs, kind)
    assert dataset._filepath == PurePosixPath(filepath.partition("://")[2] or filepath)


class Guarded(MemoryFileSystem):
    """Opens for who knows the word."""

    protocol = "guarded"
    store: ClassVar[dict] = {}
    cachable = False

    def __init__(self, word: str = "", room: str = "") -> None:
        super().__init__()
        self.word, self.room = word, room

    def _open(self, *args: Any, **options: Any) -> Any:
        if self.word != "open sesame":
            raise PermissionError("wrong word")
        return super()._open(*args, **options)


@SUFFIXES
def test_credentials_and_fs_args(adata: anndata.AnnData, suffix: str) -> None:
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    filepath, credentials = f"guarded:///{uuid4()}/counts.{suffix}", {"word": "open sesame"}
    dataset = AnnDataDataset(filepath=filepath, credentials=credentials, fs_args={"room": "vault"})
    assert dataset._fs.room == "vault"
    dataset.save(adata)
    assert dataset.load().shape == adata.shape
    assert "sesame" not in str(dataset)
    with pytest.raises(DatasetError, match="wrong word"):
        AnnDataDataset(filepath=filepath, credentials={"word": "open barley"}).load()


@PLACES
@SUFFIXES
def test_versions_are_kept(filepath: str, adata: anndata.AnnData) -> None:
    for n_cells, version in ((2, "first"), (3, "second")):
        AnnDataDataset(filepath=filepath, version=Version(None, version)).save(adata[:n_cells])
    latest = AnnDataDataset(filepath=filepath, version=Version(None, None))
    assert latest.list_versions(full_path=False) == ["second", "first"]
    assert latest.load().n_obs == 3
    assert AnnDataDataset(filepath=filepath, version=Version("first", None)).load().n_obs == 2
    with pytest.raises(DatasetError, match="must not exist if versioning is enabled"):
        AnnDataDataset(filepath=filepath, version=Version(None, "first")).save(adata)
    with pytest.warns(UserWarning, match="Save version 'third' did not match load version 'first'"):
        AnnDataDataset(filepath=filepath, version=Version("first", "third")).save(adata)


@PLACES
@SUFFIXES
def test_no_versions(filepath: str) -> None:
    dataset = AnnDataDataset(filepath=filepath, version=Version(None, None))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="Did not find any versions for"):
        dataset.load()


def test_existence_that_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = AnnDataDataset(filepath=tmp_path / "counts.h5ad")

    def fails() -> None:
        raise DatasetError

    monkeypatch.setattr(dataset, "_get_load_path", fails)
    assert not dataset.exists()


def test_no_versions_over_http() -> None:
    with pytest.raises(DatasetError, match="Versioning is not supported for HTTP protocols"):
        AnnDataDataset(filepath="https://example.com/counts.h5ad", version=Version(None, None))


def test_description(tmp_path: Path) -> None:
    plain = AnnDataDataset(filepath=tmp_path / "counts.h5ad", metadata={"layer": "primary"})
    versioned = AnnDataDataset(filepath=tmp_path / "counts.h5ad", version=Version("first", "second"))
    assert plain.metadata == {"layer": "primary"}
    for dataset in (plain, versioned):
        assert all(word in str(dataset) for word in (str(tmp_path), "protocol", "load_args", "save_args"))
    assert "version=" not in str(plain)
    assert "version=Version(load='first', save='second')" in str(versioned)


def test_release_forgets_what_the_file_system_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = AnnDataDataset(filepath=tmp_path / "counts.h5ad")
    forgotten: list[str] = []
    monkeypatch.setattr(dataset._fs, "invalidate_cache", forgotten.append)
    dataset.release()
    assert forgotten == [str(tmp_path / "counts.h5ad")]


def test_from_a_catalog(adata: anndata.AnnData) -> None:
    entry = {
        "type": f"{AnnDataDataset.__module__}.AnnDataDataset",
        "filepath": f"memory:///{uuid4()}/counts.h5ad",
        "versioned": True,
        "save_args": {"compression": "lzf"},
    }
    catalog = DataCatalog.from_config({"counts": entry})
    catalog.save("counts", adata)
    assert catalog.load("counts").shape == adata.shape
