"""Models fitted without a part of the cells, and what they give that part."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.pipelines.cross_validation.options import CrossValidationOptions
from scvi_downstream.pipelines.cross_validation.plots import plot_cross_validation, plot_fold_curves
from scvi_downstream.pipelines.cross_validation.refit import Recipe, leave_batches_out, leave_fold_out
from scvi_downstream.pipelines.cross_validation.report import summarise
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime.options import Accelerator

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing anndata is slow
    AnnData = Any

__all__ = [
    "fit_fold",
    "fit_without_batches",
    "of_fold",
    "plot_cross_validation",
    "plot_fold_curves",
    "summarise_cross_validation",
]


def fit_fold(
    counts: AnnData,
    spec: dict[str, Any],
    keys: Keys,
    options: CrossValidationOptions,
    evaluation: EvaluationOptions,
    seed: int,
    accelerator: Accelerator,
    checkpoint: CheckpointStore,
    initial_spec: dict[str, Any] | None = None,
    *,
    fold: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit one model on all folds but one, and score the cells of this one.

    Parameters
    ----------
    counts
        Checked counts, ``n_cells × n_genes``.
    spec
        An entry of ``models:`` with its training options.
    keys
        obs columns of the study.
    options
        Number of folds and limit of epochs.
    evaluation
        Bounds of the marginal log-likelihood.
    seed
        The study's seed; a model's own goes first.
    accelerator
        Where to compute.
    checkpoint
        Where an interrupted training is taken up.
    initial_spec
        Of the model whose weights are the start, which is then fitted on the same cells first.
    fold
        1 to ``options.n_folds``.

    Returns
    -------
    See :func:`.leave_fold_out.leave_fold_out`.
    """
    recipe = _recipe(spec, initial_spec, keys, options, seed, accelerator)
    store = CheckpointStore(checkpoint.path / f"fold_{fold}")
    return leave_fold_out(_genes(counts), fold, options.n_folds, recipe, evaluation, store)


def of_fold(fold: int) -> Callable[..., tuple[pd.DataFrame, dict[str, Any]]]:
    """:func:`fit_fold` of one fold, under a name that tells which."""
    return update_wrapper(partial(fit_fold, fold=fold), fit_fold)


def fit_without_batches(
    counts: AnnData,
    spec: dict[str, Any],
    keys: Keys,
    options: CrossValidationOptions,
    evaluation: EvaluationOptions,
    seed: int,
    accelerator: Accelerator,
    checkpoint: CheckpointStore,
    initial_spec: dict[str, Any] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit one model without each batch in turn, on as many cells as a fold's, and score the batch that is left out.

    Parameters are those of :func:`fit_fold`; ``options.max_batches`` limits how many batches are left out.

    Returns
    -------
    See :func:`.leave_batch_out.leave_batches_out`.
    """
    recipe = _recipe(spec, initial_spec, keys, options, seed, accelerator)
    store = CheckpointStore(checkpoint.path / "batches")
    n_seen = round(counts.n_obs * (1 - 1 / options.n_folds))
    return leave_batches_out(_genes(counts), options.max_batches, n_seen, recipe, evaluation, store)


def summarise_cross_validation(
    spec: dict[str, Any], keys: Keys, counts: AnnData, **parts: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Scores of all folds and batches, what they say with which certainty, and whether the model overfits.

    Parameters
    ----------
    spec
        The model.
    keys
        Names the batch and the label.
    counts
        For the labels.
    parts
        ``cells_<k>`` and ``training_<k>`` of every fold, and, where batches were left out, ``batch_cells`` and
        ``batch_trainings``.

    Returns
    -------
    One row a fold and a batch, and numbers with ``sentences``; see :func:`.summary.summarise`.
    """
    n_folds = sum(name.startswith("cells_") for name in parts)
    folds = range(1, n_folds + 1)
    return summarise(
        parse_spec(spec),
        [parts[f"cells_{fold}"] for fold in folds],
        [parts[f"training_{fold}"] for fold in folds],
        parts.get("batch_cells"),
        parts.get("batch_trainings"),
        counts.obs[[key for key in (keys.batch_key, keys.label_key) if key]],
        keys,
    )


def _recipe(
    spec: dict[str, Any],
    initial_spec: dict[str, Any] | None,
    keys: Keys,
    options: CrossValidationOptions,
    seed: int,
    accelerator: Accelerator,
) -> Recipe:
    parsed = parse_spec(spec)
    initial = None if initial_spec is None else parse_spec(initial_spec)
    own = seed if parsed.seed is None else parsed.seed
    return Recipe(parsed, initial, keys, own, accelerator).shortened(options.max_epochs)


def _genes(counts: AnnData) -> AnnData:
    return counts[:, counts.var["highly_variable"]].copy()
