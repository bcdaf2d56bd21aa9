"""Writing AnnData without changing it, readable by older versions, and safely on a full disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData


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
