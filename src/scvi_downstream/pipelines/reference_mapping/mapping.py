"""Surgery, its training, and both sets of cells in one latent space."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.models import parse_spec
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Fit, fit, reproducible
from scvi_downstream.models.quiet import quiet
from scvi_downstream.models.reference import Reference
from scvi_downstream.models.surgery import n_new_weights, query_model
from scvi_downstream.parameters import ReferenceMappingOptions, TrainingOptions

from .query import Query

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
