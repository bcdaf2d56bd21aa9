"""What cells would express in another condition: predicted from cells, scored against what is measured."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import prediction_spec
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.pipelines.prediction.design import TRAINING, NothingToPredictError, hold_out
from scvi_downstream.pipelines.prediction.groups import Decoder, block_names, find_groups, require_groups
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.prediction.plots import (
    plot_prediction_changes,
    plot_prediction_genes,
    plot_prediction_scores,
)
from scvi_downstream.pipelines.prediction.report import summarize
from scvi_downstream.pipelines.prediction.scores import compare_groups, no_tables
from scvi_downstream.pipelines.prediction.training import (
    MRVI_KEYS,
    SCVI_KEYS,
    MrviDecoder,
    ScviDecoder,
    fit_kept,
    kept_cells,
    untrained,
)
from scvi_downstream.runtime.options import Accelerator

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass
else:  # Kedro resolves the annotations, and importing these for that would slow every command
    AnnData = BaseModelClass = Any

__all__ = [
    "compare_predictions",
    "hold_out_cells",
    "plot_prediction_changes",
    "plot_prediction_genes",
    "plot_prediction_scores",
    "summarize_prediction",
    "train_mrvi",
    "train_scvi",
]
logger = logging.getLogger(__name__)


def hold_out_cells(
    counts: AnnData, keys: Keys, options: PredictionOptions, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Which cells are trained on, predicted from and held out; see :func:`.design.hold_out`.

    Where the study holds nothing to predict and the user named no condition, all cells are ``training`` and the facts
    have a ``reason`` instead: the rest of the study goes on.

    Raises
    ------
    InputError
        A column or a condition that does not exist, or conditions named that cannot be predicted.
    """
    try:
        split, design = hold_out(counts, keys, options, seed)
        require_groups(split, design, options)
    except NothingToPredictError as error:
        if options.source or options.target:
            raise
        logger.warning("prediction is left out: %s", error)
        nothing = pd.DataFrame(
            {"condition": "", "group": "", "sample": "", "block": ""}, index=counts.obs_names
        )
        split = nothing.assign(role=TRAINING).astype("category").rename_axis("cell")
        design = {"reason": str(error)}
    return split, design


def train_scvi(
    counts: AnnData,
    prediction_split: pd.DataFrame,
    options: PredictionOptions,
    training: TrainingOptions,
    seed: int,
    accelerator: Accelerator,
    prediction_checkpoint: CheckpointStore,
) -> tuple[BaseModelClass, dict[str, Any]]:
    """Fit an scVI, whose batch is the condition, to the cells that are not held out.

    Returns
    -------
    The model, and the summary of its training (seconds, epochs, …).
    """
    spec = prediction_spec("SCVI", options.scvi, training)
    return _train(counts, prediction_split, spec, SCVI_KEYS, seed, accelerator, prediction_checkpoint)


def train_mrvi(
    counts: AnnData,
    prediction_split: pd.DataFrame,
    options: PredictionOptions,
    training: TrainingOptions,
    seed: int,
    accelerator: Accelerator,
    prediction_mrvi_checkpoint: CheckpointStore,
) -> tuple[BaseModelClass, dict[str, Any]]:
    """Fit a MrVI, whose samples are sample × condition, to the cells that are not held out.

    Returns
    -------
    The model, and the summary of its training (seconds, epochs, …).
    """
    spec = prediction_spec("MRVI", options.mrvi, training)
    return _train(counts, prediction_split, spec, MRVI_KEYS, seed, accelerator, prediction_mrvi_checkpoint)


def _train(
    counts: AnnData,
    split: pd.DataFrame,
    spec: ModelSpec,
    keys: Keys,
    seed: int,
    accelerator: Accelerator,
    checkpoint: CheckpointStore,
) -> tuple[BaseModelClass, dict[str, Any]]:
    if not block_names(split):
        return untrained(counts, split)
    trained = fit_kept(
        kept_cells(counts, split), spec, keys, seed=seed, accelerator=accelerator, checkpoints=checkpoint
    )
    return trained.model, trained.summary


def compare_predictions(
    counts: AnnData,
    prediction_split: pd.DataFrame,
    prediction_design: dict[str, Any],
    options: PredictionOptions,
    seed: int,
    accelerator: Accelerator,
    prediction_model: SavedModel,
    prediction_mrvi_model: SavedModel | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Predict the held-out cells' mean expression from source cells, beside baselines, and score it.

    Returns
    -------
    ``predicted_expression``, ``prediction_scores``, ``prediction_differences``, ``prediction_groups``,
    ``prediction_by_gene``; see :func:`.compare.compare_groups`.

    Raises
    ------
    InputError
        When no cell type has enough cells.
    """
    if "reason" in prediction_design:
        tables = no_tables()
        return tables.expression, tables.scores, tables.differences, tables.groups, tables.by_gene
    kept = kept_cells(counts, prediction_split)
    decoders: dict[str, Decoder] = {
        "scvi": ScviDecoder(prediction_model, kept, options.n_samples, seed, accelerator)
    }
    if prediction_mrvi_model is not None:
        decoders["mrvi"] = MrviDecoder(prediction_mrvi_model, kept, prediction_split, accelerator)
    symbols = counts.var["symbol"] if "symbol" in counts.var else counts.var_names.to_series()
    genes = pd.DataFrame(
        {"gene": kept.var_names, "symbol": symbols.reindex(kept.var_names).astype(str).to_numpy()}
    )
    tables = compare_groups(
        find_groups(counts, prediction_split, prediction_design, decoders, options, seed),
        len(block_names(prediction_split)),
        genes,
        options,
        seed,
    )
    return tables.expression, tables.scores, tables.differences, tables.groups, tables.by_gene


def summarize_prediction(
    prediction_design: dict[str, Any],
    prediction_scores: pd.DataFrame,
    prediction_differences: pd.DataFrame,
    prediction_groups: pd.DataFrame,
    **training: dict[str, Any],
) -> dict[str, Any]:
    """Whether predictions beat no change and other baselines, in numbers and sentences; see `.sentences.summarize`.

    ``training`` holds the summaries of the models' trainings by model.
    """
    if "reason" in prediction_design:
        reason = prediction_design["reason"]
        return {"reason": reason, "targets": {}, "sentences": [f"Nothing was predicted: {reason}."]}
    seconds = {model: float(summary["seconds"]) for model, summary in training.items()}
    return summarize(prediction_design, prediction_scores, prediction_differences, prediction_groups, seconds)
