"""Batch structure before and after the model: how much is technique, how much is biology."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects import structure, variance
from scvi_downstream.pipelines.batch_effects import variance as gene_variance
from scvi_downstream.pipelines.batch_effects.design import (
    Design,
    choose_cells,
    decode_corrected,
    leading_components,
    why_not_corrected,
)
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.plots import (
    plot_batch_effects,
    plot_batch_genes,
    plot_batch_variance,
)
from scvi_downstream.pipelines.batch_effects.report import summarize
from scvi_downstream.pipelines.batch_effects.structure import compare_separation

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.models.saved import SavedModel
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = SavedModel = Any

__all__ = [
    "compare_label_separation",
    "correct_expression",
    "measure_batch_structure",
    "partition_gene_variance",
    "partition_variance",
    "plot_batch_effects",
    "plot_batch_genes",
    "plot_batch_variance",
    "summarize_batch_effects",
]
logger = logging.getLogger(__name__)


def correct_expression(
    fitted: SavedModel,
    counts: AnnData,
    pca_latent: pd.DataFrame,
    keys: Keys,
    options: BatchEffectOptions,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Corrected log expression of the measured cells and its principal components; empty when there is none.

    Parameters
    ----------
    fitted
        The primary model.
    counts
        Counts that it was fitted on.
    pca_latent
        PCA of log counts, for the number of components.
    keys
        The study's obs columns.
    options
        Whether to correct, posterior samples, most cells.
    seed
        Of the sample of cells and of the posterior samples.
    accelerator
        Where to compute.

    Returns
    -------
    ``n_cells`` × ``n_modelled_genes`` and ``n_cells`` × ``n_components``, float32.
    """
    reason = why_not_corrected(fitted, options)
    if reason:
        logger.info("no corrected expression: %s", reason)
        return pd.DataFrame(), pd.DataFrame()
    design = choose_cells(counts, keys, options, seed)
    expression = decode_corrected(
        fitted, counts, str(keys.batch_key), design, options, seed=seed, accelerator=accelerator
    )
    return expression, leading_components(expression, pca_latent.shape[1], seed)


def measure_batch_structure(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    latent: pd.DataFrame,
    corrected_latent: pd.DataFrame,
    keys: Keys,
    options: BatchEffectOptions,
    seed: int,
) -> pd.DataFrame:
    """Mixing of batches and classifiers of the batch, one row a representation; see `structure.measure`."""
    design = choose_cells(counts, keys, options, seed)
    rows = [
        {
            "stage": stage,
            "representation": name,
            **structure.measure(points, design, options, seed=seed, label=f"telling batches by {name}"),
        }
        for (stage, name), points in _embeddings(design, pca_latent, latent, corrected_latent).items()
    ]
    return pd.DataFrame(rows).reindex(columns=list(structure.COLUMNS))


def partition_variance(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    latent: pd.DataFrame,
    corrected_expression: pd.DataFrame,
    keys: Keys,
    options: BatchEffectOptions,
    seed: int,
) -> pd.DataFrame:
    """Shares of variance by batch and biology, four rows a representation; see `variance.partition`."""
    design = choose_cells(counts, keys, options, seed)
    values: dict[tuple[str, str], variance.Values] = {
        ("before", "expression"): _log_counts(counts, design),
        **_embeddings(design, pca_latent, latent, pd.DataFrame()),
    }
    if not corrected_expression.empty:
        values["corrected", "corrected_expression"] = corrected_expression.loc[design.cells].to_numpy()
    parts = [
        variance.partition(points, design, seed=seed).assign(stage=stage, representation=name)
        for (stage, name), points in values.items()
    ]
    return pd.concat(parts, ignore_index=True)[list(variance.COLUMNS)]


def partition_gene_variance(
    counts: AnnData, corrected_expression: pd.DataFrame, keys: Keys, options: BatchEffectOptions, seed: int
) -> pd.DataFrame:
    """Modelled genes by the share of their variance that is batch alone; see `gene_variance.rank_genes`."""
    design = choose_cells(counts, keys, options, seed)
    genes = counts.var_names[counts.var["highly_variable"].to_numpy()]
    corrected = None
    if not corrected_expression.empty:
        corrected = corrected_expression.loc[design.cells].reindex(columns=genes).to_numpy()
    return gene_variance.rank_genes(_log_counts(counts, design), corrected, genes, design)


def compare_label_separation(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    latent: pd.DataFrame,
    corrected_latent: pd.DataFrame,
    keys: Keys,
    options: BatchEffectOptions,
    seed: int,
) -> pd.DataFrame:
    """Whether labels stay apart, one row a label and representation; see `separation.compare_separation`."""
    design = choose_cells(counts, keys, options, seed)
    return compare_separation(_embeddings(design, pca_latent, latent, corrected_latent), design, seed=seed)


def summarize_batch_effects(
    batch_effects: pd.DataFrame,
    batch_variance: pd.DataFrame,
    batch_genes: pd.DataFrame,
    batch_by_label: pd.DataFrame,
    preparation_summary: dict[str, Any],
    keys: Keys,
    options: BatchEffectOptions,
) -> dict[str, Any]:
    """The verdict in words and its numbers; see `verdict.summarize`."""
    return summarize(
        batch_effects, batch_variance, batch_genes, batch_by_label, preparation_summary, keys, options
    )


def _embeddings(
    design: Design, pca_latent: pd.DataFrame, latent: pd.DataFrame, corrected_latent: pd.DataFrame
) -> dict[tuple[str, str], np.ndarray]:
    """Coordinates of the measured cells by stage and representation."""
    tables = {("before", "pca"): pca_latent, ("after", "latent"): latent}
    if not corrected_latent.empty:
        tables["corrected", "corrected_pca"] = corrected_latent
    return {key: table.loc[design.cells].to_numpy() for key, table in tables.items()}


def _log_counts(counts: AnnData, design: Design) -> Any:
    genes = np.flatnonzero(counts.var["highly_variable"].to_numpy())
    return log_normalize(counts[design.positions], genes)
