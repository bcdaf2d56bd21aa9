"""The study's cells mapped onto a reference model by scArches surgery."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.layout import layout
from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.saved import Reference, SavedModel
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.reference_mapping.mapping import (
    REFERENCE,
    check_reference,
    describe_cells,
    joint_latent,
    operate,
    part_of,
)
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.plots import draw_mapping
from scvi_downstream.pipelines.reference_mapping.query import (
    Query,
    build_query,
    find_label_key,
    match_genes,
    reference_labels,
)
from scvi_downstream.pipelines.reference_mapping.report import describe_reference, summarize, tabulate

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure
    from scvi.model.base import BaseModelClass

__all__ = [
    "embed_jointly",
    "join_mapped",
    "map_onto_reference",
    "plot_mapping",
    "summarize_mapping",
    "transfer_reference_labels",
]
logger = logging.getLogger(__name__)


def map_onto_reference(
    reference: Reference,
    counts: AnnData,
    keys: Keys,
    options: ReferenceMappingOptions,
    training: TrainingOptions,
    study: str,
    seed: int,
    accelerator: str,
    mapped_checkpoint: CheckpointStore,
) -> tuple[BaseModelClass, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Surgery: the reference's model with weights for the query's new categories, all else frozen.

    Parameters
    ----------
    reference
        The saved model and the counts that it was fitted on.
    counts
        The study's checked counts, all genes.
    keys
        The study's obs columns.
    options
        Share of genes that must be there, epochs.
    training
        Shares of cells, mini-batches, early stopping.
    study
        Names the batch of cells that have no other.
    seed, accelerator, mapped_checkpoint
        Of the training.

    Returns
    -------
    The model of the query; coordinates of both sets of cells with ``origin``, rows ``<origin>:<cell>``; curves;
    and what was mapped onto what, with notes.

    Raises
    ------
    InputError
        Too few genes are shared, what the model needs is not in obs, or its family knows no surgery.
    """
    check_reference(reference)
    query = _query(reference, counts, keys, options, study)
    for note in query.notes:
        logger.warning("mapping: %s", note)
    result = operate(
        reference,
        query,
        options,
        training,
        seed=seed,
        accelerator=accelerator,
        checkpoints=mapped_checkpoint,
    )
    latent = joint_latent(result.model, reference)
    facts = describe_reference(reference, query, find_label_key(reference, options.label_key), result.summary)
    return result.model, latent, result.history, facts


def embed_jointly(joint_latent: pd.DataFrame, embedding: EmbeddingOptions, seed: int) -> pd.DataFrame:
    """UMAP of reference and query in one neighbours graph: ``UMAP1``, ``UMAP2`` and ``origin``.

    Parameters
    ----------
    joint_latent
        Coordinates and ``origin``.
    embedding
        As for the study's own UMAP.
    seed
        Of the approximate search and the layout.
    """
    latent = joint_latent.drop(columns="origin")
    graph = neighbors_graph(
        latent.index,
        latent.to_numpy(np.float32),
        n_neighbors=embedding.n_neighbors,
        n_search=embedding.n_neighbors,
        exact_up_to=embedding.exact_up_to,
        seed=seed,
    )
    umap = layout(latent, graph, embedding, n_components=2, seed=seed)
    return umap.assign(origin=joint_latent["origin"])


def transfer_reference_labels(
    reference: Reference,
    counts: AnnData,
    mapped_model: SavedModel,
    joint_latent: pd.DataFrame,
    keys: Keys,
    options: ReferenceMappingOptions,
    study: str,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels of the nearest reference cells, and which cells are unlike all of them.

    Parameters
    ----------
    reference, counts, keys, study
        As for the surgery.
    mapped_model
        The model of the query; of scANVI, its own prediction stands beside the neighbours'.
    joint_latent
        Coordinates of both sets of cells.
    options
        Neighbours, the least probability of a label, the false discovery rate of unlike cells.
    seed
        Of the thinning behind the test.
    accelerator
        Where scANVI predicts.

    Returns
    -------
    One row a query cell, columns ``mapped_…``, see :func:`.transfer.describe_cells`; one row a batch,
    see :func:`.unlike.find_unlike`.
    """
    query = _query(reference, counts, keys, options, study)
    labels = reference_labels(reference, find_label_key(reference, options.label_key))
    return describe_cells(
        reference, query, mapped_model, joint_latent, labels, options, seed=seed, accelerator=accelerator
    )


def summarize_mapping(
    counts: AnnData,
    mapped_cell_types: pd.DataFrame,
    mapping_batches: pd.DataFrame,
    mapping_facts: dict[str, Any],
    keys: Keys,
    options: ReferenceMappingOptions,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Numbers and sentences of a mapping, and own against transferred labels.

    See :func:`.summary.summarize` and :func:`.summary.tabulate`.
    """
    labels = counts.obs[keys.label_key] if keys.label_key else None
    summary = summarize(mapped_cell_types, mapping_batches, mapping_facts, labels, options)
    return summary, tabulate(mapped_cell_types, labels, mapping_facts["types"])


def join_mapped(
    counts: AnnData,
    joint_latent: pd.DataFrame,
    joint_umap: pd.DataFrame,
    mapped_cell_types: pd.DataFrame,
    mapping_summary: dict[str, Any],
) -> AnnData:
    """The study's cells with what the mapping says of each, for scanpy and CELLxGENE.

    Returns
    -------
    Counts in ``X``, ``mapped_…`` in obs, ``X_mapped`` (joint latent) and ``X_umap`` (joint UMAP) in obsm, the
    reference's name in uns.
    """
    from anndata import AnnData

    cells = counts.obs_names
    own = counts.obs.drop(columns=[name for name in mapped_cell_types if name in counts.obs])
    mapped = AnnData(
        counts.X, obs=pd.concat([own, mapped_cell_types.loc[cells].set_axis(cells)], axis=1), var=counts.var
    )
    for name, table in (("X_mapped", joint_latent), ("X_umap", joint_umap)):
        mapped.obsm[name] = part_of(table, "query").loc[cells].to_numpy(np.float32)
    mapped.uns["reference"] = str(mapping_summary["reference"])
    return mapped


def plot_mapping(
    reference: Reference,
    joint_umap: pd.DataFrame,
    mapped_cell_types: pd.DataFrame,
    mapping_summary: dict[str, Any],
    options: ReferenceMappingOptions,
) -> Figure:
    """Joint UMAP by origin, label, uncertainty and flag."""
    labels = reference_labels(reference, find_label_key(reference, options.label_key))
    known = None if labels is None else pd.Series(labels, index=part_of(joint_umap, REFERENCE).index)
    return draw_mapping(joint_umap, known, mapped_cell_types, mapping_summary)


def _query(
    reference: Reference, counts: AnnData, keys: Keys, options: ReferenceMappingOptions, study: str
) -> Query:
    genes = reference.counts.var.reindex(reference.model.genes)
    match = match_genes(counts.var, genes, options.min_shared_genes)
    return build_query(reference, counts, match, keys, study)
