"""From the user's file to checked counts, and figures of their quality."""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import join_metadata, with_crossed_samples
from scvi_downstream.cells.proteins import PROTEIN_KEY
from scvi_downstream.pipelines.preparation.covariates import (
    choose_cells_and_genes,
    confounding_warnings,
    count_warnings,
    covariates_of,
    measure_quality,
    take,
)
from scvi_downstream.pipelines.preparation.genes import gene_labels, score_phases, with_symbols
from scvi_downstream.pipelines.preparation.highly_variable import find_highly_variable
from scvi_downstream.pipelines.preparation.keys import key_warnings, require_keys, typed_keys, with_typed_keys
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.preparation.proteins import prepare_proteins
from scvi_downstream.pipelines.preparation.validation import (
    as_counts,
    matrix_of,
    require_counts,
    require_size,
    require_unique,
    storable,
)

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


CHUNK_VALUES = 2**22


def fingerprint(counts: sparse.csr_matrix, cells: pd.Index, genes: pd.Index) -> str:
    """SHA-256 of shape, names and counts; the same whatever format the counts came in.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` canonical CSR.
    cells, genes
        Names of rows and columns.
    """
    digest = hashlib.sha256(repr(tuple(int(n) for n in counts.shape)).encode())
    for names in (cells, genes):
        digest.update("\n".join(map(str, names)).encode() + b"\0")
    for values, dtype in ((counts.indptr, "<i8"), (counts.indices, "<i8"), (counts.data, "<f4")):
        for start in range(0, len(values), CHUNK_VALUES):
            digest.update(np.ascontiguousarray(values[start : start + CHUNK_VALUES], dtype=dtype).tobytes())
    return digest.hexdigest()


def group_sizes(obs: pd.DataFrame, column: str | None) -> dict[str, int]:
    """Cells per category, in the order of the categories; empty without a column."""
    if not column:
        return {}
    return {str(name): int(size) for name, size in obs[column].value_counts(sort=False).items()}


def summarize(
    counts: sparse.csr_matrix, obs: pd.DataFrame, var: pd.DataFrame, quality: pd.DataFrame, keys: Keys
) -> dict[str, Any]:
    """Numbers on the prepared counts.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)``.
    obs, var
        Cells with their keys, genes with ``highly_variable``.
    quality
        Metrics of the same cells.
    keys
        What the user set.
    """
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
        "keys": {
            name: value if isinstance(value, str) else list(value)
            for name, value in keys.model_dump().items()
            if value
        },
        "batches": group_sizes(obs, keys.batch_key),
        "labels": group_sizes(obs, keys.label_key),
        "conditions": group_sizes(obs, keys.condition_key),
        "samples": group_sizes(obs, keys.sample_key),
        "data_fingerprint": fingerprint(counts, obs.index, var.index),
    }


def log_summary(summary: dict[str, Any]) -> None:
    """Say in a few lines what is kept, what left and what to be careful about."""
    dropped = {name.replace("_", " "): number for name, number in summary["dropped"].items() if number}
    left_out = ", ".join(f"{number:,} {name}" for name, number in dropped.items()) or "nothing"
    logger.info(
        "%s cells and %s genes kept; left out: %s",
        f"{summary['n_cells']:,}",
        f"{summary['n_genes']:,}",
        left_out,
    )
    for name, removal in summary["filters"].items():
        logger.info("filter %s=%g alone removes %s", name, removal["threshold"], f"{removal['removed']:,}")
    if summary["metadata"]:
        joined = summary["metadata"]
        logger.info(
            "metadata joined on '%s': %s cells matched, %s not; %s rows without a cell",
            joined["key"],
            f"{joined['n_cells_matched']:,}",
            f"{joined['n_cells_unmatched']:,}",
            f"{joined['n_rows_without_cells']:,}",
        )
    logger.info("highly variable genes: %s", summary["hvg_method"])
    for sentence in summary["warnings"]:
        logger.warning(sentence)


CELL_NAMES_REMEDY = "give every cell its own name, for example with AnnData.obs_names_make_unique()"
GENE_NAMES_REMEDY = "use gene identifiers as names, or AnnData.var_names_make_unique()"
KEPT_OBSM = ("spatial",)


def prepare_counts(
    raw: AnnData, metadata: pd.DataFrame | None, keys: Keys, options: PreparationOptions
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

    Returns
    -------
    Counts (X CSR float32, keys as categories, ``var["highly_variable"]``; where samples hold cells of several
    conditions also the obs column ``<sample_key>_x_<condition_key>``), the quality metrics of the same cells
    (``n_counts``, ``n_genes``, ``mitochondrial_percent`` of all genes, and ``batch``), and a summary.

    Raises
    ------
    InputError
        Names the layer, column, cell, gene and value, and says what to do.
    """
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
    quality = measure_quality(all_counts, obs.index, gene_labels(var), options.mitochondrial_prefixes)
    kept = choose_cells_and_genes(all_counts, quality, options.filters)
    counts = take(all_counts, kept.cells, kept.genes)
    require_size(counts.shape, options.min_cells, options.min_genes, when=" after filtering")
    typed = typed_keys(obs[kept.cells], keys, options)
    obs = with_crossed_samples(with_typed_keys(obs[kept.cells], typed), keys)
    quality = quality[kept.cells]
    if keys.batch_key:
        quality = quality.assign(batch=typed[keys.batch_key])
    variable = find_highly_variable(
        counts, var.index[kept.genes], typed[keys.batch_key] if keys.batch_key else None, options.n_top_genes
    )
    var = var[kept.genes].assign(**variable.genes)
    proteins, protein_notes = prepare_proteins(
        raw, kept.cells, typed[keys.batch_key] if keys.batch_key else None, keys
    )
    notes = [
        *count_warnings(counts, quality),
        *key_warnings(typed, keys),
        *confounding_warnings(typed, keys),
        *variable.warnings,
        *protein_notes,
    ]
    summary = summarize(counts, obs, var, quality, keys) | {
        "n_cells_raw": int(matrix.shape[0]),
        "n_genes_raw": int(matrix.shape[1]),
        "n_proteins": 0 if proteins is None else proteins.shape[1],
        "dropped": kept.dropped,
        "filters": kept.filters,
        "hvg_method": variable.method,
        "metadata": join_facts,
        "warnings": notes,
    }
    log_summary(summary)
    prepared = _assemble(raw, counts, obs, var, cells=kept.cells, keys=keys)
    if proteins is not None:
        prepared.obsm[PROTEIN_KEY] = proteins
    return prepared, quality, summary


def _assemble(
    raw: AnnData,
    counts: sparse.csr_matrix,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    *,
    cells: np.ndarray,
    keys: Keys,
) -> AnnData:
    """The counts with what the models and the report read, and nothing else of the user's file."""
    from anndata import AnnData

    prepared = AnnData(counts, obs=obs, var=var)
    for name in KEPT_OBSM:
        if name in raw.obsm:
            prepared.obsm[name] = raw.obsm[name][cells].copy()
    set_keys = {
        name: value if isinstance(value, str) else list(value)
        for name, value in keys.model_dump().items()
        if value
    }
    prepared.uns["scvi_downstream"] = {"version": version("scvi-downstream"), "keys": set_keys}
    return prepared


def score_cell_cycle(counts: AnnData, seed: int) -> pd.DataFrame:
    """S and G2/M scores and phase of every cell; see :func:`.cell_cycle.score_phases`.

    Returns
    -------
    One row a cell: ``S_score``, ``G2M_score``, ``phase``; no columns where obs has them already, or where too
    few genes of the lists are found.
    """
    return score_phases(counts, seed)


def gather_covariates(
    counts: AnnData, qc_metrics: pd.DataFrame, cell_cycle: pd.DataFrame, keys: Keys
) -> pd.DataFrame:
    """What is known of each cell, typed; see :func:`.covariates.covariates_of`.

    Returns
    -------
    One row a cell: keys, quality, cell cycle and the other usable columns of obs; numbers or categories.
    """
    return covariates_of(counts.obs, qc_metrics, cell_cycle, keys)
