"""What the mapping says of each query cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.models import SavedModel
from scvi_downstream.models.quiet import quiet
from scvi_downstream.models.reference import Reference
from scvi_downstream.parameters import ReferenceMappingOptions

from .labels import called_types, most_probable, nearest_labels
from .mapping import QUERY, REFERENCE, part_of
from .query import Query
from .unlike import MappedCells, find_unlike

if TYPE_CHECKING:
    from anndata import AnnData

PREFIX = "mapped_"


def describe_cells(
    reference: Reference,
    query: Query,
    mapped_model: SavedModel,
    joint: pd.DataFrame,
    labels: pd.Categorical | None,
    options: ReferenceMappingOptions,
    *,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Transferred labels with their uncertainty, and the test of being unlike the reference.

    Parameters
    ----------
    reference, query
        The model with its counts, and the cells mapped.
    mapped_model
        The model of the query.
    joint
        Latent coordinates with ``origin``.
    labels
        Of the reference's cells, or ``None``.
    options
        Neighbours, least probability, false discovery rate.
    seed, accelerator
        Of the test; of scANVI's prediction.

    Returns
    -------
    One row a query cell: ``mapped_cell_type`` (``unknown`` where the probability is low or the cell is unlike
    the reference), ``mapped_nearest_type``, ``mapped_probability``, ``mapped_uncertainty``, of a scANVI
    reference ``mapped_scanvi_type`` and ``mapped_scanvi_probability``, then ``mapped_deviation``, ``mapped_p``,
    ``mapped_p_adjusted``, ``mapped_unlike`` and ``mapped_distance``; those of labels only with labels. And
    the batches of :func:`.unlike.find_unlike`.
    """
    known, wanted = part_of(joint, REFERENCE), part_of(joint, QUERY)
    unlike, batches = find_unlike(
        MappedCells(_shared_counts(reference, query), known.to_numpy(), _batch(reference)),
        MappedCells(_counts_of(query.genes, query), wanted.to_numpy(), query.batch),
        labels=labels,
        n_neighbors=options.n_neighbors,
        fdr=options.unlike_fdr,
        seed=seed,
    )
    unlike = unlike.set_axis(wanted.index)
    tables = [unlike]
    if labels is not None:
        types = nearest_labels(known, labels, wanted, options.n_neighbors)
        uncertain = (types["probability"] < options.min_probability) | unlike["unlike"]
        called = called_types(types["nearest_type"].array, uncertain.to_numpy())
        types.insert(0, "cell_type", called)
        types["uncertainty"] = 1 - types["probability"]
        tables = [types, *_scanvi(mapped_model, query, accelerator), unlike]
    return pd.concat(tables, axis=1).add_prefix(PREFIX), batches


def _scanvi(mapped_model: SavedModel, query: Query, accelerator: str) -> list[pd.DataFrame]:
    """Prediction of scANVI itself, when the reference is one."""
    if mapped_model.family != "SCANVI":
        return []
    with quiet():
        soft = mapped_model.attach(query.genes, accelerator).predict(soft=True)
    best = most_probable(soft, "scanvi_type", "scanvi_probability")
    return [best.set_axis(query.genes.obs_names.rename("cell"))]


def _shared_counts(reference: Reference, query: Query) -> sparse.csr_matrix:
    return _counts_of(reference.counts[:, reference.model.genes], query, reference.model.setup.get("layer"))


def _counts_of(genes: AnnData, query: Query, layer: str | None = None) -> sparse.csr_matrix:
    matrix = genes.layers[layer] if layer else genes.X
    return sparse.csr_matrix(matrix, dtype=np.float32)[:, np.flatnonzero(query.present)]


def _batch(reference: Reference) -> np.ndarray:
    key = reference.model.setup.get("batch_key")
    if not key:
        return np.full(reference.counts.n_obs, "one", dtype=object).astype(str)
    return reference.counts.obs[key].astype(str).to_numpy(dtype=str)
