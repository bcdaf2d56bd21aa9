"""Quality metrics of cells, and the filters on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.errors import InputError
from scvi_downstream.parameters import CellFilters


@dataclass(frozen=True)
class Kept:
    """Which cells and genes stay, and what the others fell to.

    Attributes
    ----------
    cells, genes
        Boolean masks over the cells and genes of the input.
    dropped
        Numbers of cells and genes that left: empty and filtered.
    filters
        Per filter that is on: its threshold and how many cells (or genes) it alone would remove.
    """

    cells: np.ndarray
    genes: np.ndarray
    dropped: dict[str, int]
    filters: dict[str, dict[str, float]]


def measure_quality(
    counts: sparse.csr_matrix, cells: pd.Index, symbols: pd.Index, prefixes: tuple[str, ...]
) -> pd.DataFrame:
    """Counts, genes and mitochondrial share of every cell.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)``, no stored zeros.
    cells
        Cell names.
    symbols
        Gene symbols, in the order of the columns.
    prefixes
        Beginnings of the symbols of mitochondrial genes.

    Returns
    -------
    One row a cell: ``n_counts``, ``n_genes`` and ``mitochondrial_percent`` of the counts; the last is NaN
    where no gene is mitochondrial or the cell is empty.
    """
    n_counts = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    mitochondrial = (
        symbols.astype(str).str.startswith(prefixes) if prefixes else np.zeros(len(symbols), dtype=bool)
    )
    percent = np.full(len(cells), np.nan)
    if mitochondrial.any():
        part = counts @ np.asarray(mitochondrial, dtype=np.float64)
        np.divide(100 * part, n_counts, out=percent, where=n_counts > 0)
    return pd.DataFrame(
        {
            "n_counts": n_counts.astype(np.int64),
            "n_genes": np.diff(counts.indptr),
            "mitochondrial_percent": percent,
        },
        index=pd.Index(cells, name="cell"),
    )


def choose_cells_and_genes(counts: sparse.csr_matrix, quality: pd.DataFrame, filters: CellFilters) -> Kept:
    """Leave out empty cells and genes, and those that a filter removes.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)``, no stored zeros.
    quality
        Table of ``measure_quality``.
    filters
        Thresholds; both ends are kept.

    Raises
    ------
    InputError
        No cell or gene is left, or a filter needs mitochondrial genes and there are none.
    """
    filled = quality["n_counts"].to_numpy() > 0
    fails = _failing(quality, filters)
    cells = filled.copy()
    for bad in fails.values():
        cells &= ~bad
    removed = {
        name: {"threshold": getattr(filters, name), "removed": int((bad & filled).sum())}
        for name, bad in fails.items()
    }
    if not cells.any():
        raise _nothing_left(removed, int(filled.sum()), "cells")

    cells_per_gene = _cells_per_gene(counts, cells)
    least = filters.min_cells_per_gene or 1
    expressed = _cells_per_gene(counts, np.ones(len(cells), dtype=bool)) > 0
    genes = cells_per_gene >= least
    if filters.min_cells_per_gene:
        removed["min_cells_per_gene"] = {"threshold": least, "removed": int((expressed & ~genes).sum())}
    if not genes.any():
        raise _nothing_left(
            {"min_cells_per_gene": removed["min_cells_per_gene"]}, int(expressed.sum()), "genes"
        )
    emptied = cells & (counts @ genes.astype(np.float32) == 0)
    dropped = {
        "empty_cells": int((~filled).sum()),
        "filtered_cells": int((filled & ~cells).sum()),
        "emptied_cells": int(emptied.sum()),
        "empty_genes": int((~expressed).sum()),
        "filtered_genes": int((expressed & ~genes).sum()),
    }
    return Kept(cells & ~emptied, genes, dropped, removed)


def _failing(quality: pd.DataFrame, filters: CellFilters) -> dict[str, np.ndarray]:
    """Per filter that is on, the cells outside its threshold."""
    bounds = {
        "min_counts": ("n_counts", np.less),
        "max_counts": ("n_counts", np.greater),
        "min_genes": ("n_genes", np.less),
        "max_genes": ("n_genes", np.greater),
        "max_mitochondrial_percent": ("mitochondrial_percent", np.greater),
    }
    on = {name: bound for name, bound in bounds.items() if getattr(filters, name) is not None}
    if "max_mitochondrial_percent" in on and quality["mitochondrial_percent"].isna().all():
        raise InputError(
            "preparation.filters.max_mitochondrial_percent is set, but no gene symbol begins with one of "
            "preparation.mitochondrial_prefixes; set preparation.gene_symbols to the var column with "
            "symbols, or leave the filter off"
        )
    return {
        name: outside(quality[column].to_numpy(), getattr(filters, name))
        for name, (column, outside) in on.items()
    }


def _cells_per_gene(counts: sparse.csr_matrix, cells: np.ndarray) -> np.ndarray:
    chosen = counts if cells.all() else counts[cells]
    return np.bincount(chosen.indices, minlength=counts.shape[1])


def _nothing_left(removed: dict[str, dict[str, float]], n: int, what: str) -> InputError:
    name, worst = max(removed.items(), key=lambda item: item[1]["removed"])
    return InputError(
        f"the filters leave no {what}: preparation.filters.{name}={worst['threshold']:g} alone removes "
        f"{worst['removed']:,} of {n:,} {what}; relax it"
    )


def take(counts: sparse.csr_matrix, cells: np.ndarray, genes: np.ndarray) -> sparse.csr_matrix:
    """The chosen rows and columns, in arrays of their own."""
    if cells.all() and genes.all():
        return counts.copy()
    rows = counts if cells.all() else counts[cells]
    return rows if genes.all() else rows[:, genes]


def count_warnings(counts: sparse.csr_matrix, quality: pd.DataFrame) -> list[str]:
    """Integers that are hardly raw counts: presence and absence, or scaled to one total."""
    if counts.data.max() <= 1:
        return ["no count is above 1: the data look binarised, and models of counts expect raw counts"]
    totals = quality["n_counts"]
    if len(totals) > 1 and totals.max() - totals.min() <= 0.001 * totals.max():
        return [
            f"all cells have about {totals.median():,.0f} counts: the data look scaled to one total, "
            "and models expect raw counts"
        ]
    return []
