"""Counts as Cell Ranger, STARsolo and alike write them."""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.datasets.proteins import ANTIBODIES, with_proteins
from scvi_downstream.datasets.reading import reading
from scvi_downstream.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
_MATRIX = re.compile(r"(?P<prefix>.*)matrix\.mtx(\.gz)?")
_EXPRESSION = "Gene Expression"


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

    prefixes = sorted(
        {match["prefix"] for entry in folder.iterdir() if (match := _MATRIX.fullmatch(entry.name))}
    )
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
    if types is not None and (types == _EXPRESSION).any() and (types != _EXPRESSION).any():
        is_gene, is_protein = (types == _EXPRESSION).to_numpy(), (types == ANTIBODIES).to_numpy()
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
