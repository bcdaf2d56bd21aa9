"""``AnnDataDataset`` loads and saves annotated data as ``.h5ad`` or ``.zarr``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro_datasets._typing import TablePreview

from .stored_files import StoredFileDataset

if TYPE_CHECKING:
    from anndata import AnnData

# The lightest gzip: lzf is faster, but readers outside Python do not know it.
_COMPRESSION: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 1}


class AnnDataDataset(StoredFileDataset):
    """``AnnDataDataset`` loads and saves an ``anndata.AnnData``, as ``.h5ad`` or as ``.zarr``.

    The suffix of the filepath says in which format. Each load reads the file anew, so that a node
    never shares arrays with another one, and a view is saved as what it shows. Text columns whose
    values repeat become categories, as in anndata's own files; the object that is saved stays as it
    is.

    ``load_args`` are those of ``anndata.read_h5ad`` or ``anndata.read_zarr``; what these leave in
    the file (``backed``) can only be read on the local file system. ``save_args`` are those of
    HDF5 datasets (``h5py.Group.create_dataset``) or of zarr arrays (``zarr.Group.create_array``);
    HDF5 is compressed by gzip at its first level unless they name a ``compression``.

    Examples:
        Using the [YAML API](https://docs.kedro.org/en/stable/catalog-data/data_catalog_yaml_examples/):

        ```yaml
        counts:
          type: kedro_datasets_experimental.scverse.AnnDataDataset
          filepath: s3://my_bucket/03_primary/counts.h5ad
          credentials: aws_s3_creds
          save_args:
            compression: lzf

        analysed:
          type: kedro_datasets_experimental.scverse.AnnDataDataset
          filepath: data/07_model_output/analysed.zarr
          versioned: true
        ```

        Using the [Python API](https://docs.kedro.org/en/stable/catalog-data/advanced_data_catalog_usage/):

        >>> import anndata
        >>> import numpy as np
        >>> from kedro_datasets_experimental.scverse import AnnDataDataset
        >>>
        >>> dataset = AnnDataDataset(filepath=tmp_path / "counts.h5ad")
        >>> dataset.save(anndata.AnnData(np.ones((3, 2), dtype="float32")))
        >>> dataset.load().shape
        (3, 2)

    """

    SUFFIXES = (".h5ad", ".zarr")

    def load(self) -> AnnData:
        """Reads the file."""
        import anndata

        read = anndata.read_zarr if self._suffix == ".zarr" else anndata.read_h5ad
        with self._reading() as path:
            return read(path, **self._load_args)

    def save(self, data: AnnData) -> None:
        """Writes the file, in the place of one that is there."""
        write = write_zarr if self._suffix == ".zarr" else write_h5ad
        with self._writing() as path:
            write(path, data, self._save_args)

    def preview(self, nrows: int = 5) -> TablePreview:
        """The head of ``obs``; the matrices are not read.

        Args:
            nrows: How many observations.
        """
        head = self._obs().head(nrows).astype("string").fillna("")
        return TablePreview(head.to_dict(orient="split"))

    def _obs(self) -> pd.DataFrame:
        import h5py
        import zarr
        from anndata.io import read_elem

        with self._reading() as path:
            if self._suffix == ".zarr":
                return read_elem(zarr.open_group(path, mode="r")["obs"])
            with h5py.File(path) as file:
                return read_elem(file["obs"])


def write_h5ad(path: Path, adata: AnnData, dataset_kwargs: Mapping[str, Any]) -> None:
    """Writes ``adata`` to HDF5.

    Args:
        path: Of the file.
        adata: Stays as it is.
        dataset_kwargs: Those of ``h5py.Group.create_dataset``.
    """
    import h5py

    compression = {} if "compression" in dataset_kwargs else _COMPRESSION
    target = _FailsLast(path, "w+")
    try:
        with h5py.File(target, "w") as file:
            _write(file, adata, {**compression, **dataset_kwargs})
    finally:
        target.close()
        if target.failure is not None:
            raise target.failure


def write_zarr(path: Path, adata: AnnData, dataset_kwargs: Mapping[str, Any]) -> None:
    """Writes ``adata`` to zarr version 3.

    Args:
        path: Of the folder.
        adata: Stays as it is.
        dataset_kwargs: Those of ``zarr.Group.create_array``.
    """
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
