"""``AnnDataDataset`` loads and saves annotated data as ``.h5ad`` or ``.zarr``."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, TablePreview, table_preview
from scvi_downstream.datasets.whole_files import LocalFile, reading, refuse_pickles_in_zarr
from scvi_downstream.runtime.slow_types import AnnData


def write_h5ad(path: Path, adata: AnnData, dataset_kwargs: Mapping[str, Any]) -> None:
    """Write ``adata`` to HDF5; ``dataset_kwargs`` are those of ``h5py.Group.create_dataset``."""
    import h5py

    target = _FailsLast(path, "w+")
    try:
        with h5py.File(target, "w") as file:
            _write(file, adata, dataset_kwargs)
    finally:
        target.close()
        if target.failure is not None:
            raise target.failure


def write_zarr(path: Path, adata: AnnData, dataset_kwargs: Mapping[str, Any]) -> None:
    """Write ``adata`` to zarr version 3; ``dataset_kwargs`` are those of ``zarr.Group.create_array``."""
    import zarr

    _write(zarr.open_group(path, mode="w", zarr_format=3), adata, dataset_kwargs)


def _write(store: Any, adata: AnnData, dataset_kwargs: Mapping[str, Any]) -> None:
    import anndata
    from anndata.experimental import write_dispatched

    def write_part(write: Callable[..., None], group: Any, name: str, part: Any, **options: Any) -> None:
        options.pop("iospec", None)
        write(group, name, _storable(part) if isinstance(part, pd.DataFrame) else part, **options)

    # Plain strings are what anndata before 0.11, R and CELLxGENE read.
    with anndata.settings.override(allow_write_nullable_strings=False):
        write_dispatched(store, "/", adata, write_part, dataset_kwargs=dataset_kwargs)


def _storable(table: pd.DataFrame) -> pd.DataFrame:
    """Text columns with repeated or missing values as categories, the others as they are."""
    text = [
        name
        for name, column in table.items()
        if pd.api.types.infer_dtype(column, skipna=True) == "string"
        and not isinstance(column.dtype, pd.CategoricalDtype)
        and (column.isna().any() or not column.is_unique)
    ]
    return table.assign(**{str(name): table[name].astype("category") for name in text})


class _FailsLast(io.FileIO):
    """Keeps the first failure to write until the file is closed.

    HDF5 cannot close a file that it cannot write, and takes the process down with it at its end.
    """

    failure: OSError | None = None

    def write(self, content: Any) -> int:
        """Write, or pretend to once a write has failed."""
        return self._try(super().write, content, instead=memoryview(content).nbytes)

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend, or pretend to once a write has failed."""
        return self._try(super().truncate, size, instead=size or 0)

    def flush(self) -> None:
        """Flush, or pretend to once a write has failed."""
        self._try(super().flush, instead=None)

    def _try(self, act: Callable[..., Any], *args: Any, instead: Any) -> Any:
        if self.failure is None:
            try:
                return act(*args)
            except OSError as error:
                self.failure = error
        return instead


class AnnDataDataset(LocalFile):
    """``AnnDataDataset`` loads and saves an ``anndata.AnnData``; the suffix says in which format.

    Each load reads the file anew, so a consumer never shares arrays with another one. Text columns whose
    values repeat become categories, as in anndata's own files; the object that is saved stays as it is.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        counts:
          type: scvi_downstream.datasets.AnnDataDataset
          filepath: data/03_primary/counts.h5ad
          save_args:
            compression: lzf

    Using the Python API:

    >>> import anndata, numpy as np
    >>> from scvi_downstream.datasets import AnnDataDataset
    >>> dataset = AnnDataDataset(filepath=tmp_path / "counts.h5ad")
    >>> dataset.save(anndata.AnnData(np.ones((3, 2), dtype="float32")))
    >>> dataset.load().shape
    (3, 2)
    """

    KIND = "AnnData"
    SUFFIXES = (".h5ad", ".zarr")
    # The lightest gzip: lzf is faster, but readers outside Python do not know it.
    DEFAULT_SAVE_ARGS: ClassVar[dict[str, Any]] = {"compression": "gzip", "compression_opts": 1}

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        load_args: dict[str, Any] | None = None,
        save_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Point to a file or a zarr folder.

        Parameters
        ----------
        filepath
            Ends in ``.h5ad`` or ``.zarr``.
        load_args
            For ``anndata.read_h5ad`` or ``anndata.read_zarr``.
        save_args
            Of HDF5 datasets, e.g. ``compression: lzf``, or of zarr arrays.
        metadata
            Ignored by Kedro, used by plugins.
        """
        super().__init__(filepath=filepath, metadata=metadata)
        self._zarr = self._filepath.suffix == ".zarr"
        self._load_args = load_args or {}
        default: dict[str, Any] = {} if self._zarr else self.DEFAULT_SAVE_ARGS
        if save_args and "compression" in save_args:
            default = {}
        self._save_args = default | (save_args or {})

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "load_args": self._load_args, "save_args": self._save_args}

    def _read(self) -> AnnData:
        import anndata

        if self._zarr:
            refuse_pickles_in_zarr(self._filepath)
            return anndata.read_zarr(self._filepath, **self._load_args)
        return anndata.read_h5ad(self._filepath, **self._load_args)

    def _write(self, data: AnnData) -> None:
        write = write_zarr if self._zarr else write_h5ad
        write(self._filepath, data, self._save_args)

    def preview(self, nrows: int = 5) -> TablePreview:
        """Head of ``obs``, without reading the matrices."""
        if not self._exists():
            return NO_PREVIEW
        import h5py
        import zarr
        from anndata.io import read_elem

        with reading(self._filepath, self.KIND):
            if self._zarr:
                refuse_pickles_in_zarr(self._filepath)
                obs = read_elem(zarr.open_group(self._filepath, mode="r")["obs"])
            else:
                with h5py.File(self._filepath) as file:
                    obs = read_elem(file["obs"])
        head = obs.head(nrows)
        return table_preview(head.rename_axis(head.index.name or "cell"))
