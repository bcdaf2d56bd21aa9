"""From the user's file to checked counts: quality of the cells, filters, highly variable genes, a summary."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.cells.guesses import guess_keys, unset_sentence
from scvi_downstream.cells.keys import PROTEIN_KEY, Keys
from scvi_downstream.cells.obs import join_metadata, with_crossed_samples
from scvi_downstream.cells.study_design import describe_design
from scvi_downstream.pipelines.preparation.colors import own_colors
from scvi_downstream.pipelines.preparation.covariates import (
    confounding_warnings,
    key_warnings,
    require_keys,
    typed_keys,
    with_typed_keys,
)
from scvi_downstream.pipelines.preparation.genes import find_highly_variable, with_symbols
from scvi_downstream.pipelines.preparation.options import CellFilters, PreparationOptions
from scvi_downstream.pipelines.preparation.validation import (
    CHUNK_VALUES,
    as_counts,
    matrix_of,
    prepare_proteins,
    require_counts,
    require_size,
    require_unique,
    storable,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.slow_types import AnnData

logger = logging.getLogger(__name__)

CELL_NAMES_REMEDY = "give every cell its own name, for example with AnnData.obs_names_make_unique()"
GENE_NAMES_REMEDY = "use gene identifiers as names, or AnnData.var_names_make_unique()"
KEPT_OBSM = ("spatial",)
_OUTSIDE = {
    "min_counts": ("n_counts", np.less),
    "max_counts": ("n_counts", np.greater),
    "min_genes": ("n_genes", np.less),
    "max_genes": ("n_genes", np.greater),
    "max_mitochondrial_percent": ("mitochondrial_percent", np.greater),
}
"""Filter of cells → metric, and where it lies in relation to the threshold when the cell is dropped."""


def prepare_counts(
    raw: AnnData,
    metadata: pd.DataFrame | None,
    keys: Keys,
    options: PreparationOptions,
    unset_keys: Collection[str] = (),
) -> tuple[AnnData, pd.DataFrame, dict[str, Any]]:
    """Check values and keys, leave out empty and filtered cells and genes, choose highly variable genes.

    Parameters
    ----------
    raw
        The user's data; stays as it is.
    metadata
        More obs columns, one row a cell or a sample, or ``None``.
    keys
        The counts layer and the obs columns of the study.
    options
        Thresholds, symbols, number of highly variable genes.
    unset_keys
        Parameters for which columns are looked for, only to name them.

    Returns
    -------
    Counts (X CSR float32, keys as categories, ``var["highly_variable"]``; where samples hold cells of several
    conditions also the obs column ``<sample_key>_x_<condition_key>``; the input's colours of categories in ``uns``),
    the quality metrics of the same cells (``n_counts``, ``n_genes``, ``mitochondrial_percent`` of all genes, and
    ``batch``), and a summary.

    Raises
    ------
    InputError
        Names the layer, column, cell, gene and value, and says what to do.
    """
    from anndata import AnnData

    matrix, raw_var = matrix_of(raw, keys.counts_layer)
    require_unique(raw.obs_names, "cell", CELL_NAMES_REMEDY)
    require_unique(raw_var.index, "gene", GENE_NAMES_REMEDY)
    require_size(matrix.shape, options.min_cells, options.min_genes)
    joined, join_facts = join_metadata(raw.obs, metadata, options.metadata_key, keys.sample_key)
    obs = storable(joined)
    require_keys(obs.columns, keys)
    require_counts(raw, keys.counts_layer, matrix, raw_var)

    all_counts = as_counts(matrix)
    var = with_symbols(storable(raw_var), options.gene_symbols)
    quality = measure_quality(all_counts, obs.index, symbols_of(var), options.mitochondrial_prefixes)
    kept = choose_cells_and_genes(all_counts, quality, options.filters)
    counts = _take(all_counts, kept.cells, kept.genes)
    require_size(counts.shape, options.min_cells, options.min_genes, when=" after filtering")
    typed = typed_keys(obs[kept.cells], keys, options)
    obs = with_crossed_samples(with_typed_keys(obs[kept.cells], typed), keys)
    quality = quality[kept.cells]
    batch = typed[keys.batch_key] if keys.batch_key else None
    if batch is not None:
        quality = quality.assign(batch=batch)
    variable = find_highly_variable(counts, var.index[kept.genes], batch, options.n_top_genes)
    var = var[kept.genes].assign(**variable.genes)
    proteins, protein_notes = prepare_proteins(raw, kept.cells, batch, keys)
    design = describe_design(obs, keys)
    colors, color_notes = own_colors(raw, obs)
    set_keys = {name: value for name, value in keys.model_dump(mode="json").items() if value}
    summary = {
        **_measure_counts(counts, var, quality),
        "keys": set_keys,
        "batches": _group_sizes(obs, keys.batch_key),
        "labels": _group_sizes(obs, keys.label_key),
        "conditions": _group_sizes(obs, keys.condition_key),
        "samples": _group_sizes(obs, keys.sample_key),
        "design": design,
        "looks_like": unset_sentence(guess_keys(obs, keys, unset_keys, options.unknown_labels)),
        "data_fingerprint": _fingerprint(counts, obs.index, var.index),
        "n_cells_raw": int(matrix.shape[0]),
        "n_genes_raw": int(matrix.shape[1]),
        "n_proteins": 0 if proteins is None else proteins.shape[1],
        "dropped": kept.dropped,
        "filters": kept.filters,
        "hvg_method": variable.method,
        "metadata": join_facts,
        "warnings": [
            *_count_warnings(counts, quality),
            *key_warnings(typed, keys),
            *design["warnings"],
            *confounding_warnings(typed, keys),
            *variable.warnings,
            *protein_notes,
            *color_notes,
        ],
    }
    _log_summary(summary)
    prepared = AnnData(counts, obs=obs, var=var)
    for name in KEPT_OBSM:
        if name in raw.obsm:
            prepared.obsm[name] = raw.obsm[name][kept.cells].copy()
    if proteins is not None:
        prepared.obsm[PROTEIN_KEY] = proteins
    prepared.uns.update(colors)
    prepared.uns["scvi_downstream"] = {"version": version("scvi-downstream"), "keys": set_keys}
    return prepared, quality, summary


def measure_quality(
    counts: sparse.csr_matrix, cells: pd.Index, symbols: pd.Index | pd.Series, prefixes: tuple[str, ...]
) -> pd.DataFrame:
    """Counts, genes and mitochondrial share of every cell.

    ``counts`` are ``(n_cells, n_genes)`` without stored zeros, ``prefixes`` beginnings of the symbols of
    mitochondrial genes. One row a cell: ``n_counts``, ``n_genes`` and ``mitochondrial_percent`` of the counts; the
    last is NaN where no gene is mitochondrial or the cell is empty.
    """
    n_counts = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    mitochondrial = symbols.astype(str).str.startswith(prefixes)
    percent = np.full(len(cells), np.nan)
    if mitochondrial.any():
        part = counts @ np.asarray(mitochondrial, dtype=np.float64)
        np.divide(100 * part, n_counts, out=percent, where=n_counts > 0)
    columns = {
        "n_counts": n_counts.astype(np.int64),
        "n_genes": np.diff(counts.indptr),
        "mitochondrial_percent": percent,
    }
    return pd.DataFrame(columns, index=pd.Index(cells, name="cell"))


@dataclass(frozen=True)
class Kept:
    """Which cells and genes stay, and what the others fell to.

    ``cells`` and ``genes`` are masks over those of the input; ``dropped`` numbers of cells and genes that left, empty
    and filtered; ``filters``: of each that is on, its threshold and how many cells (or genes) it alone would remove.
    """

    cells: np.ndarray
    genes: np.ndarray
    dropped: dict[str, int]
    filters: dict[str, dict[str, float]]


def choose_cells_and_genes(counts: sparse.csr_matrix, quality: pd.DataFrame, filters: CellFilters) -> Kept:
    """Leave out empty cells and genes, and those that a filter removes.

    ``counts`` are ``(n_cells, n_genes)`` without stored zeros, ``quality`` of :func:`measure_quality`; both ends of a
    filter are kept. An InputError says that no cell or gene is left, or that a filter needs mitochondrial genes and
    there are none.
    """
    if filters.max_mitochondrial_percent is not None and quality["mitochondrial_percent"].isna().all():
        raise InputError(
            "preparation.filters.max_mitochondrial_percent is set, but no gene symbol begins with one of "
            "preparation.mitochondrial_prefixes; set preparation.gene_symbols to the var column with "
            "symbols, or leave the filter off"
        )
    filled = quality["n_counts"].to_numpy() > 0
    cells = filled.copy()
    removed: dict[str, dict[str, float]] = {}
    for name, (metric, outside) in _OUTSIDE.items():
        threshold = getattr(filters, name)
        if threshold is not None:
            bad = outside(quality[metric].to_numpy(), threshold)
            cells &= ~bad
            removed[name] = {"threshold": threshold, "removed": int((bad & filled).sum())}
    if not cells.any():
        raise _nothing_left(removed, int(filled.sum()), "cells")

    expressed = _cells_per_gene(counts) > 0
    least = filters.min_cells_per_gene or 1
    genes = _cells_per_gene(counts if cells.all() else counts[cells]) >= least
    if filters.min_cells_per_gene:
        of_genes: dict[str, float] = {"threshold": least, "removed": int((expressed & ~genes).sum())}
        removed["min_cells_per_gene"] = of_genes
        if not genes.any():
            raise _nothing_left({"min_cells_per_gene": of_genes}, int(expressed.sum()), "genes")
    emptied = cells & (counts @ genes.astype(np.float32) == 0)
    dropped = {
        "empty_cells": int((~filled).sum()),
        "filtered_cells": int((filled & ~cells).sum()),
        "emptied_cells": int(emptied.sum()),
        "empty_genes": int((~expressed).sum()),
        "filtered_genes": int((expressed & ~genes).sum()),
    }
    return Kept(cells & ~emptied, genes, dropped, removed)


def _cells_per_gene(counts: sparse.csr_matrix) -> np.ndarray:
    return np.bincount(counts.indices, minlength=counts.shape[1])


def _nothing_left(removed: dict[str, dict[str, float]], n: int, what: str) -> InputError:
    name, worst = max(removed.items(), key=lambda item: item[1]["removed"])
    return InputError(
        f"the filters leave no {what}: preparation.filters.{name}={worst['threshold']:g} alone removes "
        f"{worst['removed']:,} of {n:,} {what}; relax it"
    )


def _take(counts: sparse.csr_matrix, cells: np.ndarray, genes: np.ndarray) -> sparse.csr_matrix:
    """The chosen rows and columns, in arrays of their own."""
    if cells.all() and genes.all():
        return counts.copy()
    rows = counts if cells.all() else counts[cells]
    return rows if genes.all() else rows[:, genes]


def _count_warnings(counts: sparse.csr_matrix, quality: pd.DataFrame) -> list[str]:
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


def _measure_counts(counts: sparse.csr_matrix, var: pd.DataFrame, quality: pd.DataFrame) -> dict[str, Any]:
    n_cells, n_genes = counts.shape
    percent = quality["mitochondrial_percent"]
    return {
        "n_cells": n_cells,
        "n_genes": n_genes,
        "n_highly_variable": int(var["highly_variable"].sum()),
        "sparsity": 1 - counts.nnz / (n_cells * n_genes),
        "median_counts_per_cell": float(quality["n_counts"].median()),
        "median_genes_per_cell": float(quality["n_genes"].median()),
        "median_mitochondrial_percent": None if percent.isna().all() else float(percent.median()),
    }


def _group_sizes(obs: pd.DataFrame, column: str | None) -> dict[str, int]:
    """Cells per category, in the order of the categories; empty without a column."""
    if not column:
        return {}
    return {str(name): int(size) for name, size in obs[column].value_counts(sort=False).items()}


def _fingerprint(counts: sparse.csr_matrix, cells: pd.Index, genes: pd.Index) -> str:
    """SHA-256 of shape, names and canonical counts; the same whatever format the counts came in."""
    digest = hashlib.sha256(repr(tuple(int(n) for n in counts.shape)).encode())
    for names in (cells, genes):
        digest.update("\n".join(map(str, names)).encode() + b"\0")
    for values, dtype in ((counts.indptr, "<i8"), (counts.indices, "<i8"), (counts.data, "<f4")):
        for start in range(0, len(values), CHUNK_VALUES):
            digest.update(np.ascontiguousarray(values[start : start + CHUNK_VALUES], dtype=dtype).tobytes())
    return digest.hexdigest()


def _log_summary(summary: dict[str, Any]) -> None:
    """Say in a few lines what is kept, what left and what to be careful about."""
    dropped = {name.replace("_", " "): number for name, number in summary["dropped"].items() if number}
    left_out = ", ".join(f"{number:,} {name}" for name, number in dropped.items()) or "nothing"
    kept = f"{summary['n_cells']:,} cells and {summary['n_genes']:,} genes kept"
    logger.info("%s; left out: %s", kept, left_out)
    for name, removal in summary["filters"].items():
        logger.info("filter %s=%g alone removes %s", name, removal["threshold"], f"{removal['removed']:,}")
    if joined := summary["metadata"]:
        matched = f"{joined['n_cells_matched']:,} cells matched, {joined['n_cells_unmatched']:,} not"
        without_cells = f"{joined['n_rows_without_cells']:,} rows without a cell"
        logger.info("metadata joined on '%s': %s; %s", joined["key"], matched, without_cells)
    logger.info("highly variable genes: %s", summary["hvg_method"])
    for sentence in summary["design"]["sentences"]:
        logger.info("design: %s", sentence)
    if summary["looks_like"]:
        logger.info(summary["looks_like"])
    for sentence in summary["warnings"]:
        logger.warning(sentence)
