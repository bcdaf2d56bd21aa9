"""Refusing what is no count, with the cell and the gene where it stands."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.errors import InputError

_LARGEST_EXACT = 2**24  # float32 does not hold every integer beyond


def refuse_other_than_counts(matrix: sparse.csr_matrix, cells: pd.Index, columns: pd.Index) -> None:
    """Look at every stored value.

    Parameters
    ----------
    matrix
        Cells × genes or proteins; its values become float32 when they are counts.
    cells, columns
        Names of rows and columns.

    Raises
    ------
    InputError
        A value is missing, infinite, negative, no integer or too large.
    """
    values = np.asarray(matrix.data, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~((values >= 0) & (values <= _LARGEST_EXACT) & (values == np.floor(values)))
    if not bad.any():
        matrix.data = values.astype(np.float32)
        return
    first = int(np.argmax(bad))
    row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
    raise InputError(
        f"{values[first]:g} for '{columns[matrix.indices[first]]}' in cell '{cells[row]}' is no count "
        f"({int(bad.sum()):,} of {len(values):,} values are none); give raw counts, not normalised ones"
    )
