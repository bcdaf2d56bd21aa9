"""Checks of the user's data: names, size, and that every value is a count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.obs import text_of
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.progress import Progress

if TYPE_CHECKING:
    from anndata import AnnData


def storable(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with columns that AnnData can write.

    Strings that repeat, mixed objects, dates and intervals become categories of strings; nullable numbers
    plain ones; column names strings without ``/`` and other than ``_index``.

    Parameters
    ----------
    table
        obs or var; stays as it is.
    """
    names = [str(name).replace("/", "_") for name in table.columns]
    names = ["index_column" if name == "_index" else name for name in names]
    columns = [_storable_column(table.iloc[:, i]) for i in range(table.shape[1])]
    stored = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=table.index)
    stored.columns = pd.Index(names, dtype=object)
    # A named index clashes with a column of the same name in the file.
    stored.index = table.index.astype(str).rename(None)
    return stored


def _storable_column(values: pd.Series) -> pd.Series:
    dtype = values.dtype
    if isinstance(dtype, pd.SparseDtype):
        values = values.sparse.to_dense()
        dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _plain_categories(values)
    if pd.api.types.is_bool_dtype(dtype) and not values.isna().any():
        return values.astype(bool)
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype) and dtype.kind in "iuf":
        if not pd.api.types.is_extension_array_dtype(dtype):
            return values
        return values.astype("float64" if values.isna().any() or dtype.kind == "f" else "int64")
    return _texts(values)


def _plain_categories(values: pd.Series) -> pd.Series:
    categories = values.cat.categories
    if categories.inferred_type in {"string", "integer", "floating", "boolean"} and len(categories):
        return values
    texts = [text_of(category) for category in categories]
    if len(set(texts)) == len(texts):
        return values.cat.rename_categories(texts)
    return _texts(values.astype(object))


def _texts(values: pd.Series) -> pd.Series:
    """Strings, as categories where they repeat or some are missing."""
    known = values.notna()
    texts = values.astype(object).where(known, None)
    texts = texts.map(text_of, na_action="ignore")
    if known.all() and texts.nunique() == len(texts):
        return texts.astype(str)
    return pd.Series(pd.Categorical(texts), index=values.index)


CHUNK_VALUES = 2**22
LARGEST_EXACT_COUNT = 2**24
"""Above this, float32 does not hold every integer."""
PROBLEMS = ("NaN", "infinite", "negative", "not an integer", "too large for float32")


@dataclass(frozen=True)
class ValueCheck:
    """What a look at every stored value of a matrix found.

    Attributes
    ----------
    n_values
        Number of stored values.
    n_bad
        Number of values per problem, in the order of ``PROBLEMS``; a value counts once, at its first problem.
    first
        Position among the stored values of the first bad value per problem; -1 where there is none.
    total
        Sum of the finite values.
    """

    n_values: int
    n_bad: tuple[int, ...]
    first: tuple[int, ...]
    total: float

    @property
    def holds_counts(self) -> bool:
        """Whether all values are counts and any of them is above zero."""
        return not any(self.n_bad) and self.total > 0


def check_values(matrix: Any) -> ValueCheck:
    """Look at every stored value, a chunk at a time.

    Parameters
    ----------
    matrix
        CSR, CSC or dense, any numeric type.
    """
    n_bad = np.zeros(len(PROBLEMS), dtype=np.int64)
    first = np.full(len(PROBLEMS), -1, dtype=np.int64)
    total = 0.0
    progress = Progress("checking that every value is a count", _n_values(matrix))
    for start, values in _chunks(matrix):
        for position, bad in enumerate(_problems(values)):
            found = int(np.count_nonzero(bad))
            if found and first[position] < 0:
                first[position] = start + int(np.argmax(bad))
            n_bad[position] += found
        total += float(np.sum(values, where=np.isfinite(values), dtype=np.float64))
        progress.advance(len(values))
    return ValueCheck(_n_values(matrix), tuple(n_bad.tolist()), tuple(first.tolist()), total)


def _n_values(matrix: Any) -> int:
    return len(matrix.data) if sparse.issparse(matrix) else int(matrix.size)


def _chunks(matrix: Any) -> Iterator[tuple[int, np.ndarray]]:
    if sparse.issparse(matrix):
        for start in range(0, len(matrix.data), CHUNK_VALUES):
            yield start, matrix.data[start : start + CHUNK_VALUES]
        return
    n_cells, n_genes = matrix.shape
    rows = max(1, CHUNK_VALUES // max(n_genes, 1))
    for row in range(0, n_cells, rows):
        yield row * n_genes, matrix[row : row + rows].ravel()


def _problems(values: np.ndarray) -> Iterator[np.ndarray]:
    """One mask per entry of ``PROBLEMS``; they do not overlap."""
    if values.dtype.kind == "f":
        missing, infinite = np.isnan(values), np.isinf(values)
        fine = ~(missing | infinite)
        negative = fine & (values < 0)
        fine &= ~negative
        fraction = fine & (values != np.floor(values))
        fine &= ~fraction
    else:
        missing = infinite = fraction = np.zeros(values.shape, dtype=bool)
        negative = values < 0
        fine = ~negative
    yield from (missing, infinite, negative, fraction, fine & (values > LARGEST_EXACT_COUNT))


def locate(matrix: Any, stored: int) -> tuple[float, int, int]:
    """Value, cell and gene of a stored value."""
    if not sparse.issparse(matrix):
        cell, gene = divmod(stored, matrix.shape[1])
        return float(matrix[cell, gene]), cell, gene
    major = int(np.searchsorted(matrix.indptr, stored, side="right")) - 1
    minor = int(matrix.indices[stored])
    cell, gene = (major, minor) if matrix.format == "csr" else (minor, major)
    return float(matrix.data[stored]), cell, gene


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


def require_counts(adata: AnnData, counts_layer: str | None, matrix: Any, var: pd.DataFrame) -> None:
    """Refuse a matrix with any value that is no count, and say which slot holds counts.

    Parameters
    ----------
    adata
        The user's data, searched for another slot with counts.
    counts_layer
        Slot that the user chose.
    matrix, var
        The chosen matrix and its genes.

    Raises
    ------
    InputError
        Names the first offending value, its cell and gene, how many there are, and the slot to use instead.
    """
    check = check_values(matrix)
    if check.holds_counts:
        return
    slot = slot_name(counts_layer)
    remedy = _other_slots(adata, counts_layer)
    if not any(check.n_bad):
        raise InputError(f"all values of {slot} are zero; {remedy}")
    position = next(i for i, bad in enumerate(check.n_bad) if bad)
    value, cell, gene = locate(matrix, check.first[position])
    share = 100 * check.n_bad[position] / check.n_values
    raise InputError(
        f"{slot} does not hold raw counts: value {value:g} of cell '{adata.obs_names[cell]}' and gene "
        f"'{var.index[gene]}' is {PROBLEMS[position]} ({check.n_bad[position]:,} of {check.n_values:,} "
        f"stored values are, {share:.2g} %); {remedy}"
    )


def _other_slots(adata: AnnData, chosen: str | None) -> str:
    """Which other slot holds counts, and how to choose it."""
    others = [name for name in slots(adata) if name != (chosen or None) and (name or adata.X is not None)]
    good = [name for name in others if _holds_counts(adata, name)]
    if not good:
        return f"no {'other ' if others else ''}layer holds integer counts: bring raw counts"
    settings = [f"set counts_layer={name}" if name else "leave counts_layer empty" for name in good]
    verb = "holds" if len(good) == 1 else "hold"
    return f"{' and '.join(map(slot_name, good))} {verb} integer counts: {' or '.join(settings)}"


def _holds_counts(adata: AnnData, name: str | None) -> bool:
    try:
        matrix, _ = matrix_of(adata, name)
    except InputError:
        return False
    return check_values(matrix).holds_counts


def require_unique(names: pd.Index, what: str, remedy: str) -> None:
    """Refuse names that occur more than once or are empty.

    Parameters
    ----------
    names
        Cell or gene names.
    what
        ``cell`` or ``gene``.
    remedy
        What the user can do about it.
    """
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        first = ", ".join(f"'{name}'" for name in repeated[:3])
        raise InputError(f"{len(repeated):,} {what} names occur more than once, first {first}; {remedy}")
    empty = np.flatnonzero(names.isna() | (names.astype(str).str.strip() == ""))
    if len(empty):
        raise InputError(
            f"{len(empty):,} {what} names are empty, first at position {empty[0]}; give every {what} a name"
        )


def require_size(shape: tuple[int, int], min_cells: int, min_genes: int, *, when: str = "") -> None:
    """Refuse data with too few cells or genes for any model."""
    for number, least, what in zip(shape, (min_cells, min_genes), ("cells", "genes"), strict=True):
        if number < least:
            noun = what[:-1] if number == 1 else what
            raise InputError(
                f"the data hold {number:,} {noun}{when}, and a model needs at least {least}; "
                f"bring more, or lower preparation.min_{what}"
            )
