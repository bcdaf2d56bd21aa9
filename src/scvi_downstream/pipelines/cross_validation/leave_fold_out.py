"""One fold: a model fitted on the others, and what it gives the cells of this one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.scoring.likelihood import cell_elbo

from .folds import assign_folds, marginal_cells, strata_of
from .held_out import score_cells, score_cells_of_unknown_batch
from .refit import Recipe, fit_on, held_out_cells

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

    from scvi_downstream.models.fitting import Fit
    from scvi_downstream.parameters import EvaluationOptions

_CURVES = ("elbo_train", "elbo_validation")


def leave_fold_out(
    genes: AnnData,
    fold: int,
    n_folds: int,
    recipe: Recipe,
    evaluation: EvaluationOptions,
    checkpoints: CheckpointStore,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit on the other folds and score this one.

    Parameters
    ----------
    genes
        `n_cells` × modelled genes.
    fold
        1 to ``n_folds``.
    n_folds
        Number of folds.
    recipe
        How the model is fitted.
    evaluation
        Samples of the marginal likelihood and for how many cells, of all folds together.
    checkpoints
        Where an interrupted training is taken up.

    Returns
    -------
    One row a cell with ``fold``, ``role`` (held_out, train), ``batch`` (where there are batches) and its likelihoods in
    nats: ``elbo`` of all (without dropout), the others of held-out cells alone, ``…_batch_unknown`` where the model is
    not told the batch. And the record of the training (:func:`training_record`).
    """
    folds = assign_folds(strata_of(genes.obs, recipe.keys), genes.n_obs, n_folds, recipe.seed)
    seen, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    chosen = marginal_cells(genes.obs, recipe.keys, evaluation.marginal_ll_max_cells, recipe.seed)[held_out]
    cells = held_out_cells(genes, seen, held_out, recipe)
    fitted = fit_on(genes, seen, recipe, checkpoints, part=fold)
    start = time.perf_counter()
    model, n_samples = fitted.model, evaluation.marginal_ll_samples
    scores = score_cells(model, cells, chosen, n_samples, recipe.seed)
    unknown, _ = score_cells_of_unknown_batch(
        model, cells, recipe.keys_seen.batch_key, known_batches(model), chosen, n_samples, recipe.seed
    )
    scores = scores.join(unknown[["elbo", "marginal_ll"]].add_suffix("_batch_unknown"))
    trained = np.sort(np.asarray(model.train_indices))
    trained_elbo = pd.DataFrame(
        {"elbo": cell_elbo(model, trained, recipe.seed)}, index=model.adata.obs_names[trained]
    )
    table = pd.concat([scores, trained_elbo], keys=["held_out", "train"], names=["role", "cell"])
    table = table.reset_index("role").assign(fold=fold)
    if recipe.keys.batch_key:
        table["batch"] = genes.obs[recipe.keys.batch_key].astype(str).reindex(table.index)
    described = ["fold", "role", *(["batch"] if recipe.keys.batch_key else [])]
    table = table.astype({name: "category" for name in described if name != "fold"})
    seconds = time.perf_counter() - start
    record = training_record(fitted, len(held_out)) | {"fold": fold, "seconds_scoring": seconds}
    return table[[*described, *scores.columns]], record


def training_record(fitted: Fit, n_held_out: int) -> dict[str, Any]:
    """What a training was, with its curves.

    Returns
    -------
    The training's summary, ``n_held_out`` and ``curves``: the loss by epoch of training and validation cells (negative
    ELBO, in nats per cell).
    """
    curves = {name: fitted.history[name].tolist() for name in _CURVES if name in fitted.history}
    return fitted.summary | {"n_held_out": n_held_out, "curves": curves}


def known_batches(model: BaseModelClass) -> list[str]:
    """Batches that a model was fitted on."""
    return [str(name) for name in model.adata_manager.get_state_registry("batch").categorical_mapping]
