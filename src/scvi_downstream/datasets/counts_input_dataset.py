"""``CountsInputDataset`` reads the counts that the user brings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from scvi_downstream.datasets.mudata_input import read_mudata
from scvi_downstream.datasets.pbmc68k import read_pbmc68k
from scvi_downstream.datasets.reading import reading, refuse_pickles_in_zarr, require
from scvi_downstream.datasets.ten_x import is_ten_x_folder, read_ten_x_folder, read_ten_x_h5
from scvi_downstream.datasets.user_paths import user_path
from scvi_downstream.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData

DEMONSTRATION = "pbmc68k"
_FORMATS = "an .h5ad or .h5mu file, a .zarr folder, a 10x .h5 file, a 10x matrix folder or the word pbmc68k"


class CountsInputDataset(AbstractDataset):
    """``CountsInputDataset`` reads AnnData or 10x files, or makes the demonstration data.

    AnnData is ``.h5ad`` or ``.zarr``, MuData of RNA and proteins ``.h5mu``; 10x is one ``.h5`` file or the folder of
    a matrix. Proteins of MuData and 10x come as ``obsm["protein_expression"]``.

    Gene symbols of 10x files are made unique, and their identifiers are kept in ``var["gene_ids"]``. Nothing
    in the file is executed.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        raw:
          type: scvi_downstream.datasets.CountsInputDataset
          source: filtered_feature_bc_matrix.h5

    Using the Python API:

    >>> from scvi_downstream.datasets import CountsInputDataset
    >>> CountsInputDataset(source="pbmc68k").load().shape
    (700, 765)
    """

    def __init__(self, *, source: str, metadata: dict[str, Any] | None = None) -> None:
        """Point to the user's file.

        Parameters
        ----------
        source
            Path from the current folder or the project's, or the word ``pbmc68k``.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._source = str(source)
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"source": self._source}

    def load(self) -> AnnData:
        """Read everything into memory."""
        if self._source == DEMONSTRATION:
            return read_pbmc68k()
        path = user_path(self._source)
        if not path.exists() and not {"/", "\\", "."} & set(self._source):
            names = [DEMONSTRATION, *(entry.name for entry in path.parent.iterdir())]
            raise InputError(
                f"input '{self._source}' is neither a path that exists nor the word {DEMONSTRATION}"
                f"{closest(self._source, names)}"
            )
        require(path)
        return _read_folder(path) if path.is_dir() else _read_file(path)

    def save(self, data: Any) -> NoReturn:
        """Refuse: what the user brings is never written."""
        raise DatasetError(f"{self._source} belongs to the user and is read only")

    def _exists(self) -> bool:
        return self._source == DEMONSTRATION or user_path(self._source).exists()


def _read_folder(path: Path) -> AnnData:
    import anndata

    if is_ten_x_folder(path):
        return read_ten_x_folder(path)
    if path.suffix == ".zarr" or any((path / name).exists() for name in ("zarr.json", ".zgroup")):
        with reading(path, "AnnData"):
            refuse_pickles_in_zarr(path)
            return anndata.read_zarr(path)
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if not names:
        raise InputError(f"the folder {path} is empty; input must be {_FORMATS}")
    below = next((name for name in names if (path / name).is_dir() and is_ten_x_folder(path / name)), None)
    hint = f"; did you mean {path / below}?" if below else f"; it holds {', '.join(names[:6])}"
    raise InputError(
        f"the folder {path} is neither zarr nor a 10x matrix (matrix.mtx, features.tsv, barcodes.tsv){hint}"
    )


def _read_file(path: Path) -> AnnData:
    import anndata
    import h5py

    if path.suffix == ".h5mu":
        return read_mudata(path)
    if path.suffix not in (".h5ad", ".h5", ".hdf5"):
        if path.name.endswith((".mtx", ".mtx.gz")):
            raise InputError(f"{path} is one file of a 10x matrix folder; name the folder {path.parent}")
        raise InputError(f"{path} is of an unknown format ('{path.suffix}'); input must be {_FORMATS}")
    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        keys = set(file)
        ten_x = "matrix" in keys or any(
            "barcodes" in file[key] for key in keys if isinstance(file[key], h5py.Group)
        )
    if ten_x:
        return read_ten_x_h5(path)
    if not {"obs", "var"} <= keys:
        raise InputError(
            f"{path} is HDF5, but neither AnnData nor 10x: it holds {', '.join(sorted(keys)) or 'nothing'}"
        )
    with reading(path, "AnnData"):
        return anndata.read_h5ad(path)
