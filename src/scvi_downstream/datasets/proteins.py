"""Proteins that come with RNA counts: a look whether there are any, and their place in AnnData."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.datasets.user_paths import user_path
from scvi_downstream.proteins import PROTEIN_KEY

if TYPE_CHECKING:
    from anndata import AnnData

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
        return (
            path.is_file()
            and path.suffix in (".h5ad", ".h5", ".hdf5", ".h5mu")
            and _hdf5_has(path, protein_key)
        )
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
