"""From the user's file to checked counts, and figures of their quality."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cell_metadata import join_metadata
from scvi_downstream.parameters import Keys, PreparationOptions
from scvi_downstream.plots.highly_variable import plot_highly_variable
from scvi_downstream.plots.quality import plot_quality
from scvi_downstream.proteins import PROTEIN_KEY
from scvi_downstream.samples import with_crossed_samples

from .cell_cycle import score_phases
from .confounding import confounding_warnings
from .covariates import covariates_of
from .genes import gene_labels, with_symbols
from .highly_variable import find_highly_variable
from .keys import key_warnings, require_keys, typed_keys, with_typed_keys
from .layers import as_counts, matrix_of
from .proteins import prepare_proteins
from .quality import choose_cells_and_genes, count_warnings, measure_quality, take
from .storable import storable
from .summary import log_summary, summarize
from .validation import require_counts, require_size, require_unique

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "gather_covariates",
    "plot_highly_variable",
    "plot_quality",
    "prepare_counts",
    "score_cell_cycle",
]

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
