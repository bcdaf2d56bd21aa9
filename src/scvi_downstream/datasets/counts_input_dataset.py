"""``CountsInputDataset`` reads the counts that the user brings."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import re
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError
from scipy import sparse

from scvi_downstream.cells.keys import PROTEIN_KEY
from scvi_downstream.datasets.user_table_dataset import user_path
from scvi_downstream.datasets.whole_files import reading, refuse_pickles_in_zarr, require
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.slow_types import AnnData

logger = logging.getLogger(__name__)


_KEPT = ["S_score", "G2M_score", "phase", "percent_mito"]
_SCALED_TO = 1e4


def read_pbmc68k() -> AnnData:
    """Raw counts of 700 PBMCs and 765 genes, taken back from the log-normalised values.

    The values are ``log1p(count / total * 10,000)`` and the totals are kept, so the counts come back as
    integers. ``obs`` holds ``batch`` (the GEM well, after the dash of the barcode), ``cell_type`` (the
    published labels), cell-cycle scores and phase, and the mitochondrial share among all genes.

    References
    ----------
    Zheng et al. (2017), doi:10.1038/ncomms14049.
    """
    import anndata

    scanpy = find_spec("scanpy")  # which takes seconds to import
    assert scanpy is not None
    assert scanpy.origin is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = anndata.read_h5ad(Path(scanpy.origin).with_name("datasets") / "10x_pbmc68k_reduced.h5ad")
    normalised = sparse.csr_matrix(published.raw.X, dtype=np.float64)
    totals = published.obs["n_counts"].to_numpy(dtype=np.float64)
    counts = sparse.diags(totals / _SCALED_TO) @ normalised.expm1()
    counts.data = np.rint(counts.data)
    counts.eliminate_zeros()

    cells = published.obs_names.rename(None)
    obs = published.obs[_KEPT].set_axis(cells)
    obs.insert(0, "batch", pd.Categorical(cells.str.rsplit("-", n=1).str[-1]))
    obs.insert(1, "cell_type", published.obs["bulk_labels"].array)
    genes = pd.DataFrame(index=published.raw.var_names.rename(None))
    return anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs=obs, var=genes)


ANTIBODIES = "Antibody Capture"
PROTEIN_MODALITIES = ("prot", "protein", "proteins", "adt")
_FEATURES = ("features.tsv.gz", "features.tsv")


def has_proteins(source: str, protein_key: str = PROTEIN_KEY) -> bool:
    """Whether a file brings proteins, by its headers alone: no counts are read and nothing is imported but h5py.

    Parameters
    ----------
    source
        What the user gave as ``input``: AnnData (``.h5ad``, ``.zarr``), MuData (``.h5mu``), or 10x (``.h5``, folder).
    protein_key
        obsm entry of AnnData.

    Returns
    -------
    ``False`` also for what does not exist or cannot be opened: whoever reads it says what is wrong.
    """
    path = user_path(source)
    try:
        if path.is_dir():
            return _folder_has(path, protein_key)
        is_hdf5 = path.is_file() and path.suffix in (".h5ad", ".h5", ".hdf5", ".h5mu")
        return is_hdf5 and _hdf5_has(path, protein_key)
    except (OSError, ValueError, KeyError, UnicodeDecodeError, EOFError):
        return False


def protein_modality(names: Iterable[str]) -> str | None:
    """The modality of proteins among those of a MuData file, if there is one."""
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[name] for name in PROTEIN_MODALITIES if name in by_lower), None)


def with_proteins(adata: AnnData, matrix: Any, names: pd.Index) -> AnnData:
    """Put counts of proteins into ``obsm["protein_expression"]`` as a table with names.

    Parameters
    ----------
    adata
        RNA of ``n_cells`` cells; changed in place.
    matrix
        ``(n_cells, n_proteins)``, dense or sparse.
    names
        Of the proteins.
    """
    dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    columns = pd.Index([str(name) for name in names])
    adata.obsm[PROTEIN_KEY] = pd.DataFrame(dense, index=adata.obs_names, columns=columns)
    return adata


def _hdf5_has(path: Path, protein_key: str) -> bool:
    import h5py

    with h5py.File(path, "r") as file:
        if "mod" in file:
            return protein_modality(file["mod"]) is not None
        if "obsm" in file:
            return protein_key in file["obsm"]
        if "matrix" in file and "features" in file["matrix"]:
            types = file["matrix/features/feature_type"]
            return ANTIBODIES.encode() in set(types[:])
    return False


def _folder_has(path: Path, protein_key: str) -> bool:
    for entry in sorted(path.iterdir()):
        if entry.name.endswith(_FEATURES):
            return _names_antibodies(entry)
    if (path / "obsm" / protein_key).is_dir():
        return True
    consolidated = path / "zarr.json"
    if not consolidated.is_file():
        return False
    metadata = json.loads(consolidated.read_bytes()).get("consolidated_metadata") or {}
    return f"obsm/{protein_key}" in metadata.get("metadata", {})


def _names_antibodies(features: Path) -> bool:
    with gzip.open(features, "rt") if features.suffix == ".gz" else features.open() as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return any(len(row) > 2 and row[2] == ANTIBODIES for row in rows)


RNA = "rna"


def read_mudata(path: Path) -> AnnData:
    """RNA of an ``.h5mu`` file with its proteins in ``obsm["protein_expression"]``.

    The two modalities are read as AnnData each, so that nothing in the file is executed. Cells with RNA and without
    proteins, or the reverse, are left out and counted in the log.

    Parameters
    ----------
    path
        File with the modalities ``rna`` and ``prot`` (or ``adt``, ``protein``).

    Raises
    ------
    InputError
        There is no RNA, or no cell has both; names the modalities there are.
    """
    import h5py
    from anndata.io import read_elem

    with reading(path, "MuData"), h5py.File(path, "r") as file:
        if "mod" not in file:
            raise InputError(f"{path} is no MuData file: it holds {', '.join(sorted(file)) or 'nothing'}")
        modalities = list(file["mod"])
        rna_name = next((name for name in modalities if name.lower() == RNA), None)
        if rna_name is None:
            raise InputError(f"{path} has no modality '{RNA}'{closest(RNA, modalities)}")
        protein_name = protein_modality(modalities)
        rna: AnnData = read_elem(file[f"mod/{rna_name}"])
        proteins: AnnData | None = read_elem(file[f"mod/{protein_name}"]) if protein_name else None
        shared_obs = read_elem(file["obs"]) if "obs" in file else None
    join_shared_columns(rna.obs, shared_obs)
    if proteins is None:
        logger.info("%s: no proteins (a modality %s)", path.name, " or ".join(PROTEIN_MODALITIES))
        return rna
    for names, what in ((rna.obs_names, rna_name), (proteins.obs_names, protein_name)):
        if not names.is_unique:
            raise InputError(
                f"{path}: cell names of the modality '{what}' occur more than once; make them unique"
            )
    both = rna.obs_names.intersection(proteins.obs_names, sort=False)
    if len(both) == 0:
        raise InputError(
            f"{path}: no cell has both '{rna_name}' and '{protein_name}'; are the cells named alike?"
        )
    left_out = rna.n_obs + proteins.n_obs - 2 * len(both)
    if left_out:
        logger.info(
            "%s: %d cells have only one of '%s' and '%s' and are left out",
            path.name, left_out, rna_name, protein_name,
        )  # fmt: skip
    rna, proteins = rna[both].copy(), proteins[both]
    return with_proteins(rna, proteins.X, proteins.var_names)


def join_shared_columns(obs: pd.DataFrame, shared: object) -> None:
    """Add the columns that MuData keeps once for all modalities, such as the batch, to those of the RNA."""
    if not isinstance(shared, pd.DataFrame):
        return
    known = {*obs.columns, *(f"{RNA}:{column}" for column in obs.columns)}
    for column in shared.columns:
        if column not in known and ":" not in column:
            obs[column] = shared[column].reindex(obs.index)


_MATRIX = re.compile(r"(?P<prefix>.*)matrix\.mtx(\.gz)?")
EXPRESSION = "Gene Expression"


def is_ten_x_folder(folder: Path) -> bool:
    """Whether there is a ``matrix.mtx``, gzipped or not, with or without a prefix."""
    return any(_MATRIX.fullmatch(entry.name) for entry in folder.iterdir())


def read_ten_x_folder(folder: Path) -> AnnData:
    """Read ``matrix.mtx``, ``features.tsv`` or ``genes.tsv``, and ``barcodes.tsv``; each may be gzipped.

    Returns
    -------
    Cells by genes, CSR float32, only features of the type Gene Expression; ``var["gene_ids"]`` holds
    the identifiers, ``obsm["protein_expression"]`` the counts of Antibody Capture features.

    Raises
    ------
    InputError
        A file is missing or damaged, there is more than one matrix, or the three do not agree in size.
    """
    from anndata import AnnData
    from scipy.io import mmread

    matches = (_MATRIX.fullmatch(entry.name) for entry in folder.iterdir())
    prefixes = sorted({match["prefix"] for match in matches if match})
    if len(prefixes) > 1:
        raise InputError(
            f"{folder} holds {len(prefixes)} matrices ({', '.join(prefixes)}); give each its own folder"
        )
    matrix_file = _one_of(folder, prefixes[0], "matrix.mtx")
    features_file = _one_of(folder, prefixes[0], "features.tsv", "genes.tsv")
    barcodes_file = _one_of(folder, prefixes[0], "barcodes.tsv")
    with reading(matrix_file, "a Matrix Market file"):
        counts = sparse.csr_matrix(mmread(matrix_file).T, dtype=np.float32)
    features, barcodes = _read_names(features_file), _read_names(barcodes_file)
    for file, names, size in (
        (features_file, features, counts.shape[1]),
        (barcodes_file, barcodes, counts.shape[0]),
    ):
        if len(names) != size:
            raise InputError(
                f"{file} has {len(names)} lines, but {matrix_file.name} is for {size}; one is incomplete"
            )

    names = features[min(1, features.shape[1] - 1)]  # files of one column hold identifiers only
    var = pd.DataFrame({"gene_ids": features[0].to_numpy()}, index=pd.Index(names.to_numpy()))
    if features.shape[1] > 2:
        var["feature_types"] = pd.Categorical(features[2])
    with reading(folder, "a 10x matrix folder"):
        adata = AnnData(counts, obs=pd.DataFrame(index=pd.Index(barcodes[0].to_numpy())), var=var)
        return _finished(adata, folder)


def read_ten_x_h5(path: Path) -> AnnData:
    """Read the HDF5 file of Cell Ranger 2 or later, as :func:`read_ten_x_folder`."""
    import scanpy as sc

    with reading(path, "a 10x HDF5 file"):
        return _finished(sc.read_10x_h5(path, gex_only=False), path)


def _finished(adata: AnnData, path: Path) -> AnnData:
    types = adata.var.get("feature_types")
    if types is not None and (types == EXPRESSION).any() and (types != EXPRESSION).any():
        is_gene, is_protein = (types == EXPRESSION).to_numpy(), (types == ANTIBODIES).to_numpy()
        if others := int((~is_gene & ~is_protein).sum()):
            logger.info("%s: %d features that are no genes or proteins are left out", path.name, others)
        proteins = adata[:, is_protein]
        adata = adata[:, is_gene].copy()
        if proteins.n_vars:
            logger.info("%s: %d proteins (%s)", path.name, proteins.n_vars, ANTIBODIES)
            with_proteins(adata, proteins.X, proteins.var_names)
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    adata.var_names_make_unique()
    return adata


def _one_of(folder: Path, prefix: str, *names: str) -> Path:
    for name in names:
        for file in (folder / f"{prefix}{name}.gz", folder / f"{prefix}{name}"):
            if file.is_file():
                return file
    wanted = " or ".join(prefix + name for name in names)
    raise InputError(f"{folder} holds {prefix}matrix.mtx but no {wanted} (.gz or not)")


def _read_names(file: Path) -> pd.DataFrame:
    with reading(file, "a table of names"):
        return pd.read_csv(
            file, sep="\t", header=None, dtype=str, quoting=csv.QUOTE_NONE, keep_default_na=False
        )


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
        path = input_path(self._source)
        return _read_folder(path) if path.is_dir() else _read_file(path)

    def save(self, data: Any) -> NoReturn:
        """Refuse: what the user brings is never written."""
        raise DatasetError(f"{self._source} belongs to the user and is read only")

    def _exists(self) -> bool:
        return self._source == DEMONSTRATION or user_path(self._source).exists()


def input_path(source: str) -> Path:
    """The file or folder that the user means by ``source``; an InputError names the nearest where there is none."""
    path = user_path(source)
    if not path.exists() and not {"/", "\\", "."} & set(source):
        names = [DEMONSTRATION, *(entry.name for entry in path.parent.iterdir())]
        raise InputError(
            f"input '{source}' is neither a path that exists nor the word {DEMONSTRATION}{closest(source, names)}"
        )
    require(path)
    return path


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
        keys, groups = set(file), [part for part in file.values() if isinstance(part, h5py.Group)]
        ten_x = "matrix" in keys or any("barcodes" in group for group in groups)
    if ten_x:
        return read_ten_x_h5(path)
    if not {"obs", "var"} <= keys:
        raise InputError(
            f"{path} is HDF5, but neither AnnData nor 10x: it holds {', '.join(sorted(keys)) or 'nothing'}"
        )
    with reading(path, "AnnData"):
        return anndata.read_h5ad(path)
