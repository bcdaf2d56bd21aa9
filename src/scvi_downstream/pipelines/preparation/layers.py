"""Which matrix of the user's file holds the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.errors import InputError, closest

from .values import CHUNK_VALUES

if TYPE_CHECKING:
    from anndata import AnnData

RAW = "raw"


def slot_name(counts_layer: str | None) -> str:
    """The slot as AnnData users write it: ``X``, ``layers['counts']`` or ``raw.X``."""
    if not counts_layer:
        return "X"
    return "raw.X" if counts_layer == RAW else f"layers['{counts_layer}']"


def slots(adata: AnnData) -> list[str | None]:
    """What ``counts_layer`` may be: ``None`` for X, a layer, ``raw`` where there is a raw slot."""
    # AnnData lists X among its layers, under the name None.
    in_raw = [RAW] if adata.raw is not None and RAW not in adata.layers else []
    return [None, *(str(name) for name in adata.layers if name is not None), *in_raw]


def matrix_of(adata: AnnData, counts_layer: str | None) -> tuple[Any, pd.DataFrame]:
    """The chosen matrix in memory, cells in rows, and the table of its genes.

    Parameters
    ----------
    adata
        Any AnnData; backed objects and views are read into memory.
    counts_layer
        Name of a layer, ``raw`` for ``adata.raw``, or ``None`` for X.

    Returns
    -------
    A CSR or CSC matrix or a NumPy array, never copied where it already is one, and ``var``.

    Raises
    ------
    InputError
        The layer does not exist, or the slot is empty or no matrix of numbers.
    """
    if counts_layer and counts_layer not in slots(adata):
        choices = [name for name in slots(adata) if name]
        raise InputError(
            f"counts_layer '{counts_layer}' is not a layer of the input{closest(counts_layer, choices)}"
        )
    from_raw = counts_layer == RAW and RAW not in adata.layers
    if from_raw:
        matrix, var = adata.raw.X, adata.raw.var
    else:
        matrix, var = adata.layers[counts_layer] if counts_layer else adata.X, adata.var
    if matrix is None:
        raise InputError(f"X of the input is empty{_instead(adata)}")
    return _in_memory(matrix, slot_name(counts_layer)), var


def _instead(adata: AnnData) -> str:
    choices = [f"counts_layer={name}" for name in slots(adata) if name]
    return f"; set {' or '.join(choices)}" if choices else " and it has no layers: bring raw counts"


def _in_memory(matrix: Any, slot: str) -> Any:
    if hasattr(matrix, "to_memory"):
        matrix = matrix.to_memory()
    if sparse.issparse(matrix):
        plain = matrix if matrix.format in {"csr", "csc"} else matrix.tocsr()
    else:
        plain = np.asarray(matrix)
        if plain.ndim == 1:
            plain = plain[:, None]
    if plain.dtype.kind not in "biuf":
        raise InputError(f"{slot} holds values of type {plain.dtype}, not numbers: bring raw counts")
    return plain


def as_counts(matrix: Any) -> sparse.csr_matrix:
    """The same values as canonical CSR float32 (sorted, no duplicates, no stored zeros).

    Returns
    -------
    The input's own arrays where they have this form already, new ones otherwise; the input stays as it is.
    """
    if not sparse.issparse(matrix):
        return _from_dense(matrix)
    rows = matrix if matrix.format == "csr" else matrix.tocsr()
    counts = sparse.csr_matrix(
        (rows.data.astype(np.float32, copy=False), rows.indices, rows.indptr), shape=rows.shape, copy=False
    )
    if counts.has_canonical_format and counts.data.all():
        return counts
    counts = counts.copy()
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def _from_dense(matrix: np.ndarray) -> sparse.csr_matrix:
    rows = max(1, CHUNK_VALUES // max(matrix.shape[1], 1))
    blocks = [
        sparse.csr_matrix(matrix[start : start + rows].astype(np.float32))
        for start in range(0, matrix.shape[0], rows)
    ]
    return sparse.vstack(blocks, format="csr")
