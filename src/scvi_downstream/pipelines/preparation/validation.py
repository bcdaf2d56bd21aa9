"""Checks of the user's data: names, size, and that every value of genes and proteins is a count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import measured_by_batch
from scvi_downstream.cells.keys import PROTEIN_KEY, RAW, Keys
from scvi_downstream.cells.obs import text_of
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import count, quoted, up_to

CHUNK_VALUES = 2**22
"""Values that are looked at together, so that temporary arrays stay in the order of 16 MiB."""
LARGEST_EXACT_COUNT = 2**24
"""Above this, float32 does not hold every integer."""
PROBLEMS = ("NaN", "infinite", "negative", "not an integer", "too large for float32")
PROTEIN_NAMES = "protein_names"
"""Key in uns of the names of proteins whose obsm entry is an array."""
N_PROTEINS_NAMED = 8


def require_unique(names: pd.Index, what: str, remedy: str) -> None:
    """Refuse names that occur more than once or are empty.

    Parameters
    ----------
    names, what, remedy
        Names of cells, genes or proteins; ``cell``, ``gene`` or ``protein``; what the user can do about it.
    """
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        first = quoted(repeated)
        raise InputError(f"{len(repeated):,} {what} names occur more than once, first {first}; {remedy}")
    empty = np.flatnonzero(names.isna() | (names.astype(str).str.strip() == ""))
    if len(empty):
        raise InputError(
            f"{len(empty):,} {what} names are empty, first at position {empty[0]}; give every {what} a name"
        )


def require_size(shape: tuple[int, int], min_cells: int, min_genes: int, *, when: str = "") -> None:
    """Refuse data with too few cells or genes for any model."""
    for number, least, noun in zip(shape, (min_cells, min_genes), ("cell", "gene"), strict=True):
        if number < least:
            raise InputError(
                f"the data hold {count(number, noun)}{when}, and a model needs at least {least}; "
                f"bring more, or lower preparation.min_{noun}s"
            )


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
    columns = [_storable_column(table.iloc[:, i]) for i in range(table.shape[1])]
    stored = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=table.index)
    stored.columns = pd.Index(["index_column" if name == "_index" else name for name in names], dtype=object)
    # A named index clashes with a column of the same name in the file.
    stored.index = table.index.astype(str).rename(None)
    return stored


def _storable_column(values: pd.Series) -> pd.Series:
    if isinstance(values.dtype, pd.SparseDtype):
        values = values.sparse.to_dense()
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _plain_categories(values)
    if pd.api.types.is_bool_dtype(dtype) and not values.isna().any():
        return values.astype(bool)
    if dtype.kind not in "iuf":
        return _texts(values)
    if not pd.api.types.is_extension_array_dtype(dtype):
        return values
    return values.astype("float64" if dtype.kind == "f" or values.isna().any() else "int64")


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
    texts = values.astype(object).where(known, None).map(text_of, na_action="ignore")
    if known.all() and texts.nunique() == len(texts):
        return texts.astype(str)
    return pd.Series(pd.Categorical(texts), index=values.index)


@dataclass(frozen=True)
class ValueCheck:
    """What a look at every stored value of a matrix found.

    ``n_bad`` counts the values per problem, in the order of ``PROBLEMS``, a value once, at its first problem;
    ``first`` are the positions among the ``n_values`` stored ones of the first bad value per problem, -1 where there
    is none; ``total`` is the sum of the finite values.
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

    ``matrix`` is CSR, CSC or dense, of any numeric type.
    """
    n_bad = np.zeros(len(PROBLEMS), dtype=np.int64)
    first = np.full(len(PROBLEMS), -1, dtype=np.int64)
    total = 0.0
    n_values = len(matrix.data) if sparse.issparse(matrix) else int(matrix.size)
    progress = Progress("checking that every value is a count", n_values)
    for start, values in _chunks(matrix):
        for position, bad in enumerate(_problems(values)):
            found = int(np.count_nonzero(bad))
            if found and first[position] < 0:
                first[position] = start + int(np.argmax(bad))
            n_bad[position] += found
        total += float(np.sum(values, where=np.isfinite(values), dtype=np.float64))
        progress.advance(len(values))
    return ValueCheck(n_values, tuple(n_bad.tolist()), tuple(first.tolist()), total)


def _chunks(matrix: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Stored values of whole rows of a dense matrix, or of any part of a sparse one, after their position."""
    if sparse.issparse(matrix):
        for start in range(0, len(matrix.data), CHUNK_VALUES):
            yield start, matrix.data[start : start + CHUNK_VALUES]
    else:
        for row, block in _row_blocks(matrix):
            yield row * matrix.shape[1], block.ravel()


def _row_blocks(matrix: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    n_rows = max(1, CHUNK_VALUES // max(matrix.shape[1], 1))
    for row in range(0, len(matrix), n_rows):
        yield row, matrix[row : row + n_rows]


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
    choices = [name for name in _slots(adata) if name]
    if counts_layer and counts_layer not in choices:
        raise InputError(
            f"counts_layer '{counts_layer}' is not a layer of the input{closest(counts_layer, choices)}"
        )
    if counts_layer == RAW and RAW not in adata.layers:
        matrix, var = adata.raw.X, adata.raw.var
    else:
        matrix, var = adata.layers[counts_layer] if counts_layer else adata.X, adata.var
    if matrix is None:
        settings = " or ".join(f"counts_layer={name}" for name in choices)
        instead = f"; set {settings}" if choices else " and it has no layers: bring raw counts"
        raise InputError(f"X of the input is empty{instead}")
    return _in_memory(matrix, slot_name(counts_layer)), var


def _slots(adata: AnnData) -> list[str | None]:
    """What ``counts_layer`` may be: ``None`` for X, a layer, ``raw`` where there is a raw slot."""
    # AnnData lists X among its layers, under the name None.
    in_raw = [RAW] if adata.raw is not None and RAW not in adata.layers else []
    return [None, *(str(name) for name in adata.layers if name is not None), *in_raw]


def slot_name(counts_layer: str | None) -> str:
    """The slot as AnnData users write it: ``X``, ``layers['counts']`` or ``raw.X``."""
    if not counts_layer:
        return "X"
    return "raw.X" if counts_layer == RAW else f"layers['{counts_layer}']"


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

    The input's own arrays where they have this form already, new ones otherwise; the input stays as it is.
    """
    if not sparse.issparse(matrix):
        blocks = [sparse.csr_matrix(block.astype(np.float32)) for _, block in _row_blocks(matrix)]
        return sparse.vstack(blocks, format="csr")
    rows = matrix if matrix.format == "csr" else matrix.tocsr()
    arrays = (rows.data.astype(np.float32, copy=False), rows.indices, rows.indptr)
    counts = sparse.csr_matrix(arrays, shape=rows.shape, copy=False)
    if counts.has_canonical_format and counts.data.all():
        return counts
    counts = counts.copy()
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def require_counts(adata: AnnData, counts_layer: str | None, matrix: Any, var: pd.DataFrame) -> None:
    """Refuse a matrix with any value that is no count, and say which slot holds counts.

    Parameters
    ----------
    adata, counts_layer
        The user's data, searched for another slot with counts; slot that the user chose.
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
    others = [name for name in _slots(adata) if name != (chosen or None) and (name or adata.X is not None)]
    good = [name for name in others if _holds_counts(adata, name)]
    if not good:
        return f"no {'other ' if others else ''}layer holds integer counts: bring raw counts"
    settings = [f"set counts_layer={name}" if name else "leave counts_layer empty" for name in good]
    verb = "holds" if len(good) == 1 else "hold"
    return f"{' and '.join(map(slot_name, good))} {verb} integer counts: {' or '.join(settings)}"


def _holds_counts(adata: AnnData, name: str | None) -> bool:
    try:
        return check_values(matrix_of(adata, name)[0]).holds_counts
    except InputError:
        return False


def prepare_proteins(
    raw: AnnData, cells: np.ndarray, batches: pd.Series | None, keys: Keys
) -> tuple[pd.DataFrame | None, list[str]]:
    """Raw counts of the proteins of some cells, and what to know of them.

    Parameters
    ----------
    raw
        The user's data; stays as it is.
    cells
        ``(n_raw_cells,)`` mask of the cells that are kept.
    batches
        Batch of each kept cell; ``None``: no batches are known.
    keys
        ``protein_key`` names the obsm entry. Where it is empty, ``protein_expression`` is taken if it holds counts.

    Returns
    -------
    ``n_cells`` × ``n_proteins`` float32 (``None``: there are none), 0 where not measured; and sentences.

    Raises
    ------
    InputError
        The entry is missing, has repeated names, or any value is no count; names the protein, cell and value.
    """
    key = keys.protein_key or PROTEIN_KEY
    if key not in raw.obsm:
        if keys.protein_key is None:
            return None, []
        raise InputError(
            f"protein_key '{key}' is not in obsm{closest(key, list(raw.obsm))}; name the entry with counts of proteins"
        )
    try:
        table, notes = _protein_table(raw, key)
        table = _protein_counts(table[cells], batches, key)
    except InputError as error:
        if keys.protein_key:
            raise
        return None, [f"proteins are left out, as protein_key is empty and {error}"]
    empty = table.columns[(table.to_numpy() == 0).all(axis=0)]
    if len(empty):
        subject, have, are = _phrases(empty)
        notes.append(f"{subject} {have} no count in any cell and {are} left out")
        table = table.drop(columns=empty)
    return table, [*notes, *_unmeasured_notes(table, batches), *_empty_cell_notes(table, batches)]


def _protein_table(raw: AnnData, key: str) -> tuple[pd.DataFrame, list[str]]:
    """The entry as a table of floats, with names that can be stored."""
    entry: Any = raw.obsm[key]
    if isinstance(entry, pd.DataFrame):
        names, values = entry.columns, entry.to_numpy()
    else:
        values = entry.toarray() if hasattr(entry, "toarray") else np.asarray(entry)
        names = raw.uns.get(PROTEIN_NAMES, [f"protein_{i + 1}" for i in range(values.shape[1])])
        if len(names) != values.shape[1]:
            raise InputError(
                f"uns['{PROTEIN_NAMES}'] holds {len(names)} names, but obsm['{key}'] has {values.shape[1]} columns; "
                "one name a column is needed"
            )
    if values.shape[1] == 0:
        raise InputError(f"obsm['{key}'] has no columns; leave protein_key empty where there are no proteins")
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"obsm['{key}'] does not hold numbers ({error}); bring counts of proteins"
        ) from error
    names = pd.Index([str(name) for name in names])
    remedy = "give every protein its own name"
    require_unique(names, "protein", remedy)
    # HDF5 and zarr take a slash for a folder
    stored = pd.Index([name.replace("/", "-") for name in names])
    require_unique(stored, "protein", f"{remedy} also with '-' in the place of '/'")
    notes = []
    if not stored.equals(names):
        subject, _, are = _phrases(names[names != stored])
        notes.append(f"names of proteins cannot hold '/' in files: {subject} {are} written with '-'")
    return pd.DataFrame(values, index=raw.obs_names, columns=stored), notes


def _protein_counts(table: pd.DataFrame, batches: pd.Series | None, key: str) -> pd.DataFrame:
    """The same as float32 with 0 where a protein is NaN in a whole batch; anything but counts is refused."""
    values = table.to_numpy(copy=True)
    codes = np.zeros(len(values), dtype=int) if batches is None else batches.cat.codes.to_numpy()
    for code in np.unique(codes):
        inside = codes == code
        values[np.ix_(inside, np.isnan(values[inside]).all(axis=0))] = 0
    missing, infinite, negative, fraction, _ = _problems(values)
    normalised = (
        "proteins must be raw counts, and these look normalised (CLR, DSB or a logarithm); bring the counts"
    )
    fill = "fill it in, leave the cell out, or leave the protein without values in the batch"
    for bad, what, remedy in (
        (missing | infinite, "is not finite", fill),
        (negative, "is negative", normalised),
        (fraction, "is not an integer", normalised),
    ):
        if bad.any():
            cell, protein = np.argwhere(bad)[0]
            raise InputError(
                f"obsm['{key}'] does not hold counts: the value {values[cell, protein]:g} of protein "
                f"'{table.columns[protein]}' in cell '{table.index[cell]}' {what} ({int(bad.sum()):,} of "
                f"{bad.size:,} values); {remedy}"
            )
    if not values.any():
        raise InputError(
            f"obsm['{key}'] is zero everywhere; bring counts of proteins or leave protein_key empty"
        )
    return pd.DataFrame(values.astype(np.float32), index=table.index, columns=table.columns)


def _unmeasured_notes(table: pd.DataFrame, batches: pd.Series | None) -> list[str]:
    if batches is None:
        return []
    notes = []
    for batch, measured in measured_by_batch(table, batches).iterrows():
        absent = table.columns[~measured.to_numpy()]
        subject, have, are = _phrases(absent)
        if len(absent) == table.shape[1]:
            notes.append(f"batch '{batch}' has no counts of proteins, which are taken as not measured there")
        elif len(absent):
            notes.append(
                f"{subject} {have} no count in batch '{batch}' and {are} taken as not "
                "measured there (models: override_missing_proteins takes them as zero)"
            )
    return notes


def _empty_cell_notes(table: pd.DataFrame, batches: pd.Series | None) -> list[str]:
    empty = table.to_numpy().sum(axis=1) == 0
    if batches is not None:
        measured = measured_by_batch(table, batches).any(axis=1)
        empty &= batches.astype(str).isin(measured.index[measured].astype(str)).to_numpy()
    n_empty = int(empty.sum())
    if n_empty == 0:
        return []
    cells, are = ("cells have", "they") if n_empty > 1 else ("cell has", "it")
    return [f"{n_empty:,} {cells} no count of any protein in a batch that has some; {are} may be debris"]


def _phrases(names: pd.Index) -> tuple[str, str, str]:
    """``protein 'CD3'``, ``has``, ``is``, or the plural of all three."""
    shown = up_to([f"'{name}'" for name in names], N_PROTEINS_NAMED)
    return (f"protein {shown}", "has", "is") if len(names) == 1 else (f"proteins {shown}", "have", "are")
