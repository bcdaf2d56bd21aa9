"""The study's cells mapped onto a reference: surgery, one latent space for both, and labels carried over in it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import Fit, fit, reproducible
from scvi_downstream.models.saved import Reference, SavedModel
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.pipelines.embedding.nodes import build_neighbors, compute_umap
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.query import (
    Query,
    build_query,
    called_types,
    find_label_key,
    most_probable,
    nearest_labels,
    reference_labels,
)
from scvi_downstream.pipelines.reference_mapping.report import describe_reference
from scvi_downstream.pipelines.reference_mapping.unlike import MappedCells, find_unlike
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.slow_types import AnnData, BaseModelClass
from scvi_downstream.runtime.threads import quiet

logger = logging.getLogger(__name__)

REFERENCE, QUERY = "reference", "query"
PREFIX = "mapped_"
# As many gradient steps as 200 epochs of 40,000 cells have, but no fewer epochs than 20.
EPOCHS, CELLS_OF_EPOCHS, LEAST_EPOCHS = 200, 40_000, 20
LEARNING_RATE = 1e-3


def map_onto_reference(
    reference: Reference,
    counts: AnnData,
    keys: Keys,
    options: ReferenceMappingOptions,
    preparation: PreparationOptions,
    training: TrainingOptions,
    study: str,
    seed: int,
    accelerator: str,
    mapped_checkpoint: CheckpointStore,
) -> tuple[BaseModelClass, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Surgery: the reference's model with weights for the query's new categories, all else frozen.

    Parameters
    ----------
    reference, counts
        The saved model with the counts that it was fitted on; the study's checked counts, all genes.
    keys, study
        The study's obs columns; its name is that of the batch of cells that have no other.
    options, preparation
        Share of genes that must be there, epochs; what stands for no label.
    training
        Shares of cells, mini-batches, early stopping.
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
    from scvi_downstream.models.surgery import n_new_weights, query_model

    check_reference(reference)
    query = build_query(reference, counts, keys, options, study)
    for note in query.notes:
        logger.warning("mapping: %s", note)
    with reproducible(seed):
        model = query_model(reference.model, query.genes, accelerator)
    n_new = n_new_weights(model)
    if n_new:
        spec = _surgery_spec(reference, query, options, training)
        result = fit(model, spec, seed=seed, accelerator=accelerator, checkpoints=mapped_checkpoint)
    else:
        result = _without_training(model)
    summary = result.summary | {"n_new_weights": n_new}
    facts = describe_reference(
        reference, query, find_label_key(reference, options.label_key), preparation.unknown_labels, summary
    )
    return result.model, _encode_jointly(result.model, reference), result.history, facts


def _surgery_spec(
    reference: Reference, query: Query, options: ReferenceMappingOptions, training: TrainingOptions
) -> ModelSpec:
    """Training of the new weights alone: no weight decay and no warm-up, since all else is trained already."""
    alike = round(EPOCHS * CELLS_OF_EPOCHS / query.genes.n_obs)
    epochs = options.max_epochs or max(LEAST_EPOCHS, min(EPOCHS, alike))
    own = {"max_epochs": epochs, "lr": LEARNING_RATE, "weight_decay": 0.0, "n_epochs_kl_warmup": None}
    spec = {"name": "mapped", "family": reference.model.family, "init_from": REFERENCE}
    return parse_spec(spec | {"training": training.model_dump() | own})


def _without_training(model: BaseModelClass) -> Fit:
    """The model as the reference has it, since nothing is new; the query's cells stand for its training cells."""
    logger.info("mapped: the query brings no new category, so no weight is trained")
    model.train_indices_ = np.arange(model.adata.n_obs)
    model.validation_indices_ = model.test_indices_ = np.arange(0)
    model.history_ = {}
    model.is_trained_ = True
    curves = ["elbo_train", "elbo_validation"]
    history = pd.DataFrame(index=pd.Index([], name="epoch", dtype=int), columns=curves, dtype=float)
    return Fit(model, history, {"epochs": 0})


def _encode_jointly(model: BaseModelClass, reference: Reference) -> pd.DataFrame:
    """Posterior means of the cells of the reference and of the query by the one model, ``latent_1``, …, and ``origin``.

    Rows are named ``<origin>:<cell>``, since both may hold cells of one name.
    """
    known = _modelled_genes(reference)
    with quiet():
        try:
            latents = {
                REFERENCE: (reference.counts.obs_names, model.get_latent_representation(known)),
                QUERY: (model.adata.obs_names, model.get_latent_representation()),
            }
        except (KeyError, ValueError) as error:
            reason = error.args[0] if error.args else error
            raise InputError(
                f"the counts of the reference {reference.name} do not fit its model: {reason}"
            ) from error
    names = [f"{origin}:{cell}" for origin, (cells, _) in latents.items() for cell in cells]
    origins = np.repeat(list(latents), [len(cells) for cells, _ in latents.values()])
    values = np.concatenate([latent for _, latent in latents.values()])
    joint = pd.DataFrame(values, index=pd.Index(names, name="cell"))
    joint.columns = [f"latent_{i + 1}" for i in joint.columns]
    return joint.assign(origin=pd.Categorical(origins, categories=list(latents)))


def _take_origin(joint: pd.DataFrame, origin: str) -> pd.DataFrame:
    """Coordinates of the cells of one origin under their own names."""
    part = joint.loc[(joint["origin"] == origin).to_numpy()].drop(columns="origin")
    return part.set_axis(part.index.str.removeprefix(f"{origin}:").rename("cell"), axis=0)


def check_reference(reference: Reference) -> None:
    """Refuse counts of the reference that lack genes of its model or are no counts: an InputError names them."""
    layer = reference.model.setup.get("layer")
    matrix = _matrix(_modelled_genes(reference), layer)
    values = matrix.data if hasattr(matrix, "tocsr") else np.asarray(matrix).ravel()
    wrong = (values < 0) | (values != np.round(values))
    if wrong.any():
        raise InputError(
            f"the reference's {f'layer {layer}' if layer else 'X'} holds {values[wrong][0]:g}, which is no "
            "count; name a file with the raw counts that the model was fitted on, --params reference_counts=…"
        )


def _modelled_genes(reference: Reference) -> AnnData:
    """The reference's counts of the genes of its model, in the order of the model."""
    layer = reference.model.setup.get("layer")
    if layer and layer not in reference.counts.layers:
        raise InputError(
            f"the model of the reference {reference.name} was fitted on the layer '{layer}', which its counts "
            "do not hold; name the right file, --params reference_counts=…"
        )
    names = reference.counts.var_names
    if len(twice := names[names.duplicated()]):
        raise InputError(
            f"the counts of the reference {reference.name} hold {len(twice):,} gene names more than once, such as "
            f"'{twice[0]}'; give every gene its own name, for example with AnnData.var_names_make_unique()"
        )
    positions = names.get_indexer(reference.model.genes)
    if (positions < 0).any():
        missing = reference.model.genes[positions < 0]
        raise InputError(
            f"{len(missing):,} of the {len(positions):,} genes of the reference {reference.name} are not in its own "
            f"counts, such as '{missing[0]}'; name the right file, --params reference_counts=…"
        )
    genes = reference.counts[:, positions].copy()
    if genes.X is not None and not sparse.issparse(genes.X):
        genes.X = sparse.csr_matrix(genes.X)
    return genes


def _matrix(counts: AnnData, layer: str | None) -> Any:
    return counts.layers[layer] if layer else counts.X


def embed_jointly(joint_latent: pd.DataFrame, embedding: EmbeddingOptions, seed: int) -> pd.DataFrame:
    """UMAP of reference and query in one neighbours graph: ``UMAP1``, ``UMAP2`` and ``origin``.

    ``joint_latent`` holds coordinates and ``origin``; options are as for the study's own UMAP.
    """
    latent = joint_latent.drop(columns="origin")
    # no metric is computed of these cells, so that no more neighbours are searched than the graph has
    own = embedding.model_copy(update={"n_neighbors_metrics": embedding.n_neighbors})
    graph = build_neighbors(latent, own, seed)
    return compute_umap(latent, graph, embedding, seed).assign(origin=joint_latent["origin"])


def transfer_reference_labels(
    reference: Reference,
    counts: AnnData,
    mapped_model: SavedModel,
    joint_latent: pd.DataFrame,
    keys: Keys,
    options: ReferenceMappingOptions,
    preparation: PreparationOptions,
    study: str,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels of the nearest reference cells, and which cells are unlike all of them.

    Parameters
    ----------
    reference, counts, keys, preparation, study
        As for the surgery.
    mapped_model
        The model of the query; of scANVI, its own prediction, on ``accelerator``, stands beside the neighbours'.
    joint_latent
        Coordinates of both sets of cells.
    options, seed
        Neighbours, the least probability of a label, the false discovery rate of unlike cells; seed of the thinning.

    Returns
    -------
    One row a query cell: ``mapped_cell_type`` (``unknown`` where the probability is low or the cell is unlike
    the reference), ``mapped_nearest_type``, ``mapped_probability``, ``mapped_uncertainty``, of a scANVI
    reference ``mapped_scanvi_type`` and ``mapped_scanvi_probability``, then ``mapped_deviation``, ``mapped_p``,
    ``mapped_p_adjusted``, ``mapped_unlike`` and ``mapped_distance``; those of labels only with labels. And
    one row a batch, see :func:`.unlike.find_unlike`.
    """
    query = build_query(reference, counts, keys, options, study)
    label_key = find_label_key(reference, options.label_key)
    labels = reference_labels(reference, label_key, preparation.unknown_labels)
    known, wanted = _take_origin(joint_latent, REFERENCE), _take_origin(joint_latent, QUERY)
    shared = np.flatnonzero(query.present)
    modelled = _matrix(reference.counts[:, reference.model.genes], reference.model.setup.get("layer"))
    known_counts, wanted_counts = (
        sparse.csr_matrix(matrix, dtype=np.float32)[:, shared] for matrix in (modelled, query.genes.X)
    )
    unlike, batches = find_unlike(
        MappedCells(known_counts, known.to_numpy(), _reference_batches(reference)),
        MappedCells(wanted_counts, wanted.to_numpy(), query.batch),
        labels=labels,
        n_neighbors=options.n_neighbors,
        fdr=options.unlike_fdr,
        seed=seed,
    )
    tables = [unlike.set_axis(wanted.index)]
    if labels is not None:
        types = nearest_labels(known, labels, wanted, options.n_neighbors)
        uncertain = (types["probability"] < options.min_probability) | tables[0]["unlike"]
        types.insert(0, "cell_type", called_types(types["nearest_type"].array, uncertain.to_numpy()))
        types["uncertainty"] = 1 - types["probability"]
        tables.insert(0, types)
        if mapped_model.family == "SCANVI":
            with quiet():
                probabilities = mapped_model.attach(query.genes, accelerator).predict(soft=True)
            best = most_probable(probabilities, "scanvi_type", "scanvi_probability")
            tables.insert(1, best.set_axis(wanted.index))
    return pd.concat(tables, axis=1).add_prefix(PREFIX), batches


def _reference_batches(reference: Reference) -> np.ndarray:
    key = reference.model.setup.get("batch_key")
    if not key:
        return np.full(reference.counts.n_obs, "one")
    return reference.counts.obs[key].astype(str).to_numpy(dtype=str)


def join_mapped(
    counts: AnnData,
    joint_latent: pd.DataFrame,
    joint_umap: pd.DataFrame,
    mapped_cell_types: pd.DataFrame,
    mapping_summary: dict[str, Any],
) -> AnnData:
    """The study's cells with what the mapping says of each, for scanpy and CELLxGENE.

    ``joint_latent`` and ``joint_umap`` are coordinates of both sets of cells, ``mapped_cell_types`` is of
    :func:`transfer_reference_labels`, and ``mapping_summary`` names the reference.

    Returns
    -------
    Counts in ``X``, ``mapped_…`` in obs, ``X_mapped`` (joint latent) and ``X_umap`` (joint UMAP) in obsm, the
    reference's name in uns.
    """
    from anndata import AnnData

    cells = counts.obs_names
    own = counts.obs.drop(columns=mapped_cell_types.columns, errors="ignore")
    obs = pd.concat([own, mapped_cell_types.loc[cells].set_axis(cells)], axis=1)
    mapped = AnnData(counts.X, obs=obs, var=counts.var)
    for name, table in (("X_mapped", joint_latent), ("X_umap", joint_umap)):
        mapped.obsm[name] = _take_origin(table, QUERY).loc[cells].to_numpy(np.float32)
    mapped.uns["reference"] = str(mapping_summary["reference"])
    return mapped
