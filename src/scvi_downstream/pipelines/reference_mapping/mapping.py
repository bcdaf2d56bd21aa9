"""Surgery, its training, and both sets of cells in one latent space."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import Fit, fit, reproducible
from scvi_downstream.models.saved import Reference, SavedModel
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.models.surgery import n_new_weights, query_model
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.query import (
    Query,
    called_types,
    most_probable,
    nearest_labels,
)
from scvi_downstream.pipelines.reference_mapping.unlike import MappedCells, find_unlike
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

logger = logging.getLogger(__name__)


REFERENCE, QUERY = "reference", "query"
EPOCHS, CELLS_OF_EPOCHS = 200, 40_000
LEARNING_RATE = 1e-3


def operate(
    reference: Reference,
    query: Query,
    options: ReferenceMappingOptions,
    training: TrainingOptions,
    *,
    seed: int,
    accelerator: str,
    checkpoints: CheckpointStore,
) -> Fit:
    """Open the reference's model for the query and train the weights of its new categories alone.

    Parameters
    ----------
    reference, query
        The model, and cells in its form.
    options
        ``max_epochs``.
    training
        Shares of cells, mini-batches and early stopping of the study; learning rate 0.001, no weight decay and
        no warm-up of the KL term, since all else is trained already.
    seed, accelerator, checkpoints
        As in :func:`scvi_downstream.models.fitting.fit`.

    Returns
    -------
    The model of the query; where nothing is new, as the reference has it, with an empty history.
    """
    with reproducible(seed):
        model = query_model(reference.model, query.genes, accelerator)
    n_new = n_new_weights(model)
    if not n_new:
        return Fit(_as_it_is(model), _empty_history(), {"epochs": 0, "n_new_weights": 0})
    own = {
        "max_epochs": options.max_epochs or epochs_for_surgery(query.genes.n_obs),
        "lr": LEARNING_RATE,
        "weight_decay": 0.0,
        "n_epochs_kl_warmup": None,
    }
    spec = parse_spec(
        {
            "name": "mapped",
            "family": reference.model.family,
            "init_from": REFERENCE,
            "training": {**training.model_dump(), **own},
        }
    )
    result = fit(model, spec, seed=seed, accelerator=accelerator, checkpoints=checkpoints)
    return Fit(result.model, result.history, result.summary | {"n_new_weights": n_new})


def epochs_for_surgery(n_cells: int) -> int:
    """200 epochs up to 40,000 cells, then as many gradient steps as those, with at least 20 epochs."""
    return max(20, min(EPOCHS, round(EPOCHS * CELLS_OF_EPOCHS / n_cells)))


def joint_latent(model: BaseModelClass, reference: Reference) -> pd.DataFrame:
    """Posterior means of the cells of the reference and of the query by the one model.

    Returns
    -------
    ``latent_1``, … and ``origin`` (``reference`` or ``query``); rows are named ``<origin>:<cell>``, since both
    may hold cells of one name.
    """
    known = _reference_genes(reference)
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
    tables = []
    for origin, (cells, latent) in latents.items():
        index = pd.Index([f"{origin}:{cell}" for cell in cells], name="cell")
        columns = [f"latent_{i + 1}" for i in range(latent.shape[1])]
        tables.append(pd.DataFrame(latent, index=index, columns=columns).assign(origin=origin))
    joint = pd.concat(tables)
    return joint.assign(origin=pd.Categorical(joint["origin"], categories=[REFERENCE, QUERY]))


def part_of(joint: pd.DataFrame, origin: str) -> pd.DataFrame:
    """Coordinates of the cells of one origin under their own names."""
    part = joint.loc[(joint["origin"] == origin).to_numpy()].drop(columns="origin")
    return part.set_axis(part.index.str.removeprefix(f"{origin}:").rename("cell"), axis=0)


def check_reference(reference: Reference) -> None:
    """Refuse counts of the reference that lack genes of its model or are no counts.

    Raises
    ------
    InputError
        Names genes or values.
    """
    layer = reference.model.setup.get("layer")
    genes = _reference_genes(reference)
    matrix = genes.layers[layer] if layer else genes.X
    values = matrix.data if hasattr(matrix, "tocsr") else np.asarray(matrix).ravel()
    wrong = (values < 0) | (values != np.round(values))
    if wrong.any():
        raise InputError(
            f"the reference's {f'layer {layer}' if layer else 'X'} holds {values[wrong][0]:g}, which is no "
            "count; name a file with the raw counts that the model was fitted on, --params reference_counts=…"
        )


def _reference_genes(reference: Reference) -> AnnData:
    from scipy import sparse

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


def _as_it_is(model: BaseModelClass) -> BaseModelClass:
    """A model that has nothing to learn, with the query's cells in the place of the reference's split."""
    logger.info("mapped: the query brings no new category, so no weight is trained")
    model.train_indices_ = np.arange(model.adata.n_obs)
    model.validation_indices_ = model.test_indices_ = np.arange(0)
    model.history_ = {}
    model.is_trained_ = True
    return model


def _empty_history() -> pd.DataFrame:
    return pd.DataFrame(
        {"elbo_train": [], "elbo_validation": []}, index=pd.Index([], name="epoch", dtype=int), dtype=float
    )


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
