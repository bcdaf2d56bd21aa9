"""What preparation did, in numbers, and the fingerprint of its result."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.parameters import Keys

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
