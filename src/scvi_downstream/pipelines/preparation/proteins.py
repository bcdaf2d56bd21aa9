"""Counts of proteins: found, named, checked, and where they were not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.proteins import PROTEIN_KEY, measured_by_batch
from scvi_downstream.pipelines.preparation.validation import require_unique
from scvi_downstream.runtime.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData

NAMES_KEY = "protein_names"
NAMES_REMEDY = "give every protein its own name"
_SHOWN = 8


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
        table, notes = _named(raw, key)
        table = _counts(table[cells], batches, key)
    except InputError as error:
        if keys.protein_key:
            raise
        return None, [f"proteins are left out, as protein_key is empty and {error}"]
    empty = table.columns[(table.to_numpy() == 0).all(axis=0)]
    if len(empty):
        notes.append(f"{_listed(empty)} {_have(empty)} no count in any cell and {_are(empty)} left out")
        table = table.drop(columns=empty)
    return table, [*notes, *_missing_notes(table, batches), *_empty_cell_notes(table, batches)]


def _named(raw: AnnData, key: str) -> tuple[pd.DataFrame, list[str]]:
    """The entry as a table of floats, with names that can be stored."""
    entry: Any = raw.obsm[key]
    if isinstance(entry, pd.DataFrame):
        names, values = entry.columns, entry.to_numpy()
    else:
        values = entry.toarray() if hasattr(entry, "toarray") else np.asarray(entry)
        names = pd.Index(raw.uns.get(NAMES_KEY, [f"protein_{i + 1}" for i in range(values.shape[1])]))
        if len(names) != values.shape[1]:
            raise InputError(
                f"uns['{NAMES_KEY}'] holds {len(names)} names, but obsm['{key}'] has {values.shape[1]} columns; "
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
    require_unique(names, "protein", NAMES_REMEDY)
    # HDF5 and zarr take a slash for a folder
    storable = pd.Index([name.replace("/", "-") for name in names])
    notes = []
    if not storable.equals(names):
        require_unique(storable, "protein", f"{NAMES_REMEDY} also with '-' in the place of '/'")
        changed = names[names != storable]
        notes.append(
            f"names of proteins cannot hold '/' in files: {_listed(changed)} {_are(changed)} written with '-'"
        )
    return pd.DataFrame(values, index=raw.obs_names, columns=storable), notes


def _counts(table: pd.DataFrame, batches: pd.Series | None, key: str) -> pd.DataFrame:
    """The same as float32 with 0 where a protein is NaN in a whole batch; anything but counts is refused."""
    values = table.to_numpy(copy=True)
    _fill_unmeasured(values, batches)
    missing = ~np.isfinite(values)
    negative = ~missing & (values < 0)
    fraction = ~missing & ~negative & (values != np.floor(values))
    normalised = (
        "proteins must be raw counts, and these look normalised (CLR, DSB or a logarithm); bring the counts"
    )
    for bad, what, remedy in (
        (
            missing,
            "is not finite",
            "fill it in, leave the cell out, or leave the protein without values in the batch",
        ),
        (negative, "is negative", normalised),
        (fraction, "is not an integer", normalised),
    ):
        if bad.any():
            cell, protein = (int(part[0]) for part in np.nonzero(bad))
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


def _fill_unmeasured(values: np.ndarray, batches: pd.Series | None) -> None:
    """Put 0 where a protein is NaN in every cell of a batch."""
    names = np.zeros(len(values), dtype=int) if batches is None else batches.cat.codes.to_numpy()
    for batch in np.unique(names):
        inside = names == batch
        unmeasured = np.isnan(values[inside]).all(axis=0)
        values[np.ix_(inside, unmeasured)] = 0


def _missing_notes(table: pd.DataFrame, batches: pd.Series | None) -> list[str]:
    if batches is None:
        return []
    notes = []
    for batch, measured in measured_by_batch(table, batches).iterrows():
        absent = table.columns[~measured.to_numpy()]
        if len(absent) == table.shape[1]:
            notes.append(f"batch '{batch}' has no counts of proteins, which are taken as not measured there")
        elif len(absent):
            notes.append(
                f"{_listed(absent)} {_have(absent)} no count in batch '{batch}' and {_are(absent)} taken as not "
                "measured there (models: override_missing_proteins takes them as zero)"
            )
    return notes


def _empty_cell_notes(table: pd.DataFrame, batches: pd.Series | None) -> list[str]:
    empty = table.to_numpy().sum(axis=1) == 0
    if batches is None:
        n_empty = int(empty.sum())
    else:
        measured = measured_by_batch(table, batches).any(axis=1)
        n_empty = int(
            (empty & batches.astype(str).isin(measured.index[measured].astype(str)).to_numpy()).sum()
        )
    if n_empty == 0:
        return []
    cells, are = ("cells have", "they") if n_empty > 1 else ("cell has", "it")
    return [f"{n_empty:,} {cells} no count of any protein in a batch that has some; {are} may be debris"]


def _listed(names: pd.Index) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"protein{'s' if len(names) > 1 else ''} {shown}{more}"


def _have(names: pd.Index) -> str:
    return "have" if len(names) > 1 else "has"


def _are(names: pd.Index) -> str:
    return "are" if len(names) > 1 else "is"
