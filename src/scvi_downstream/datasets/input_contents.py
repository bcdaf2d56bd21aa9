"""What the user's file holds, by its headers and obs: no matrix is read but for the values that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import PROTEIN_KEY, RAW
from scvi_downstream.datasets.counts_input_dataset import (
    ANTIBODIES,
    DEMONSTRATION,
    EXPRESSION,
    RNA,
    CountsInputDataset,
    input_path,
    join_shared_columns,
)
from scvi_downstream.datasets.whole_files import reading, refuse_pickles_in_zarr
from scvi_downstream.runtime.slow_types import AnnData

_BLOCKS = 16
"""Places of a matrix, evenly spread, at which some of many values are read."""


@dataclass(frozen=True, eq=False)
class InputContents:
    """What there is of the cells.

    Attributes
    ----------
    obs, genes
        One row a cell; names of the genes.
    slots
        ``None`` for X, the layers, and ``raw``, as ``counts_layer`` names them → stored values, one after the other
        or as a dense matrix, in the file or in memory.
    obsm
        Its entries.
    """

    obs: pd.DataFrame
    genes: pd.Index
    slots: Mapping[str | None, Any]
    obsm: tuple[str, ...]


@contextmanager
def open_contents(source: str) -> Iterator[InputContents]:
    """Look into a file or folder that ``input`` may name.

    The matrices of HDF5 and zarr stay in the file, which is open inside; a 10x folder is read whole.

    Raises
    ------
    InputError
        There is no such file, or it cannot be read.
    """
    if source == DEMONSTRATION:
        yield _of_anndata(CountsInputDataset(source=source).load())
        return
    path = input_path(source)
    with ExitStack() as opened:
        with reading(path, "AnnData"):
            file = _open(path, opened)
            contents = _of_file(file) if file is not None else None
        yield contents or _of_anndata(CountsInputDataset(source=source).load())


def some_values(stored: Any, most: int) -> tuple[np.ndarray, int]:
    """At most about ``most`` of the stored values, at places all over the matrix, and how many there are."""
    width = stored.shape[1] if len(stored.shape) > 1 else 1
    n_rows, wanted = stored.shape[0], max(1, most // max(width, 1))
    total = n_rows * width
    if n_rows <= wanted:
        return np.asarray(stored[:]).ravel(), total
    size = max(1, wanted // _BLOCKS)
    starts = np.unique(np.linspace(0, n_rows - size, min(_BLOCKS, wanted)).astype(int))
    return np.concatenate([np.asarray(stored[start : start + size]).ravel() for start in starts]), total


def _open(path: Path, opened: ExitStack) -> Any:
    """The file as groups; ``None`` where it is neither HDF5 nor zarr."""
    if path.is_dir():
        if not any((path / name).exists() for name in ("zarr.json", ".zgroup")):
            return None
        import zarr

        refuse_pickles_in_zarr(path)
        file = zarr.open_group(path, mode="r")
    elif path.suffix in (".h5ad", ".h5mu", ".h5", ".hdf5"):
        import h5py

        file = opened.enter_context(h5py.File(path, "r"))
    else:
        return None
    return file


def _of_file(file: Any) -> InputContents | None:
    """``None`` where the layout is an old one, or none of AnnData's."""
    from anndata.io import read_elem

    if "features" in file.get("matrix", ()):
        return _of_ten_x(file["matrix"])
    modality = next((name for name in file.get("mod", ()) if name.lower() == RNA), None)
    group = file[f"mod/{modality}"] if modality else file
    tables = [group.get(name) for name in ("obs", "var")]
    if not all(table is not None and "_index" in table.attrs for table in tables):
        return None
    obs, genes = read_elem(tables[0]), tables[1][tables[1].attrs["_index"]]
    if modality and "obs" in file:
        join_shared_columns(obs, read_elem(file["obs"]))
    matrices = {None: group.get("X"), RAW: group.get("raw/X"), **group.get("layers", {})}
    stored = {name: found["data"] if hasattr(found, "keys") else found for name, found in matrices.items()}
    return InputContents(obs, pd.Index(read_elem(genes)), _filled(stored), tuple(group.get("obsm", ())))


def _of_ten_x(matrix: Any) -> InputContents:
    """Of Cell Ranger 3 and later; names of genes are made unique when they are read, so these are the identifiers."""
    types = matrix["features/feature_type"].asstr()[:]
    genes = pd.Index(matrix["features/id"].asstr()[:])
    obsm = (PROTEIN_KEY,) if ANTIBODIES in types else ()
    cells = pd.DataFrame(index=pd.Index(matrix["barcodes"].asstr()[:]))
    return InputContents(cells, genes[types == EXPRESSION], {None: matrix["data"]}, obsm)


def _of_anndata(adata: AnnData) -> InputContents:
    matrices = {None: adata.X, RAW: None if adata.raw is None else adata.raw.X, **adata.layers}
    stored = {name: found.data if sparse.issparse(found) else found for name, found in matrices.items()}
    return InputContents(adata.obs, adata.var_names, _filled(stored), tuple(adata.obsm))


def _filled(stored: Mapping[str | None, Any]) -> dict[str | None, Any]:
    """Without matrices that are not there, or there and empty."""
    return {name: values for name, values in stored.items() if getattr(values, "shape", None)}
