"""Checks of the user's data: names, size, and that every value is a count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError

from .layers import matrix_of, slot_name, slots
from .values import PROBLEMS, check_values, locate

if TYPE_CHECKING:
    from anndata import AnnData


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
