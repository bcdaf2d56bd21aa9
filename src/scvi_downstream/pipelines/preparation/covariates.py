"""Everything known of each cell that a latent dimension could follow, typed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import as_categories, crossed_name
from scvi_downstream.pipelines.preparation.genes import COLUMNS as CELL_CYCLE
from scvi_downstream.pipelines.preparation.options import CellFilters
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.statistics.testing import explained_share

logger = logging.getLogger(__name__)


MAX_CATEGORIES = 50
NO_VALUE = frozenset({UNKNOWN, "na", "nan"})
N_NAMED = 5


def covariates_of(
    obs: pd.DataFrame, quality: pd.DataFrame, cell_cycle: pd.DataFrame, keys: Keys
) -> pd.DataFrame:
    """The study's keys, quality, cell cycle and every other column of obs that varies and makes groups.

    Parameters
    ----------
    obs
        Of the prepared counts, one row a cell.
    quality
        ``n_counts``, ``n_genes``, ``mitochondrial_percent`` of the same cells.
    cell_cycle
        Scores and phase, or no columns.
    keys
        Their columns are kept whatever their number of categories.

    Returns
    -------
    One row a cell. Numbers (more than two values) as float64, with ``log10_n_counts`` for the counts; groups
    (strings, booleans, numbers with two values; 2 to 50 of them and fewer than cells) as categories; what is
    missing or ``unknown`` is missing. Constant columns are left out, and so are those that say the same as an
    earlier one: equal groups under other names, numbers in the same order.
    """
    chosen = [*keys.categorical.values(), *keys.continuous_covariates]
    measured = {
        "log10_n_counts": np.log10(quality["n_counts"]),
        "n_genes": quality["n_genes"],
        "mitochondrial_percent": quality["mitochondrial_percent"],
    }
    sources = {name: obs[name] for name in chosen} | measured | dict(cell_cycle.items())
    crossed = crossed_name(keys) if keys.sample_key and keys.condition_key else None  # two keys said again
    names = [name for name in CELL_CYCLE if name in obs] + [name for name in obs.columns if name != crossed]
    sources = sources | {name: obs[name] for name in names if name not in sources}
    columns: dict[str, pd.Series] = {}
    said: dict[bytes, str] = {}
    for name, values in sources.items():
        column = _usable(values, always=name in chosen)
        if column is None:
            continue
        if (first := said.setdefault(_says(column), name)) != name and name not in chosen:
            logger.info("covariates: '%s' says the same as '%s' and is left out", name, first)
            continue
        columns[str(name)] = column
    return pd.DataFrame(columns, index=obs.index)


def _usable(values: pd.Series, *, always: bool) -> pd.Series | None:
    """Typed values, or ``None`` where they are of no use."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index=values.index)
        numbers = numbers.where(np.isfinite(numbers))
        n_values = numbers.nunique()
        if n_values > 2:
            return numbers
        values = numbers
    groups = pd.Series(as_categories(values), index=values.index)
    kept = [name for name in groups.cat.categories if str(name).lower() not in NO_VALUE]
    groups = groups.cat.set_categories(kept)
    few = len(kept) <= MAX_CATEGORIES and len(kept) < groups.notna().sum()
    return groups if len(kept) >= 2 and (few or always) else None


def _says(column: pd.Series) -> bytes:
    """Equal for columns that part, or order, the cells in the same way."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return b"groups" + np.asarray(pd.factorize(column)[0], dtype=np.int32).tobytes()
    return b"numbers" + np.asarray(pd.factorize(column, sort=True)[0], dtype=np.int32).tobytes()


STRONG_ASSOCIATION = 0.95
LARGE_EXPLAINED_SHARE = 0.3


def confounding_warnings(typed: pd.DataFrame, keys: Keys) -> list[str]:
    """One sentence per key that the batch determines, or nearly so.

    A sample lies in one batch by design, and is not looked at.

    Parameters
    ----------
    typed
        Categories and numbers of the keys, one row a cell.
    keys
        Columns of ``typed`` by their part in the study.
    """
    if not keys.batch_key or typed[keys.batch_key].nunique() < 2:
        return []
    batch = typed[keys.batch_key]
    sentences = []
    categorical = (keys.label_key, keys.condition_key, *keys.categorical_covariates)
    for column in [name for name in categorical if name and name != keys.batch_key]:
        known = (typed[column] != UNKNOWN).to_numpy()
        sentences += _categorical_warning(batch[known], typed[column][known])
    for column in keys.continuous_covariates:
        share = explained_share(typed[column].to_numpy(), batch)
        if share > LARGE_EXPLAINED_SHARE:
            sentences.append(
                f"batch '{batch.name}' explains {share:.0%} of the variance of '{column}': "
                f"correcting for the batch also removes part of what goes with '{column}'"
            )
    return sentences


def _categorical_warning(batch: pd.Series, key: pd.Series) -> list[str]:
    table = pd.crosstab(batch, key)
    table = table.loc[table.sum(axis=1) > 0, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return []
    consequence = f"correcting for the batch also removes differences between values of '{key.name}'"
    if ((table > 0).sum(axis=1) == 1).all():
        return [
            f"each batch of '{batch.name}' has one value of '{key.name}' only, so the two are confounded: "
            f"{consequence}"
        ]
    association = cramers_v(table.to_numpy())
    if association > STRONG_ASSOCIATION:
        return [
            f"batch '{batch.name}' and '{key.name}' are confounded (Cramér's V {association:.2f}): "
            f"{consequence}"
        ]
    return []


def cramers_v(table: np.ndarray) -> float:
    """Cramér's V of a contingency table, in [0, 1].

    Parameters
    ----------
    table
        ``(n_rows, n_columns)`` counts, no empty row or column, at least two of each.

    References
    ----------
    Cramér (1946), Mathematical Methods of Statistics, p. 282.
    """
    from scipy.stats.contingency import association

    return float(association(table, method="cramer"))


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
