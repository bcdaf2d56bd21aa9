"""Models of the kept cells, and what they decode for cells in another condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import build_and_fit, reproducible
from scvi_downstream.models.mrvi import decode_as_sample
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.prediction.comparison import Decoded
from scvi_downstream.pipelines.prediction.design import UNSEEN, Decoder, block_names
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.runtime.options import Accelerator
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData, BaseModelClass
from scvi_downstream.runtime.threads import quiet

SAMPLE_COLUMN, CONDITION_COLUMN = "prediction_sample", "prediction_condition"
SEPARATOR = " × "
_KEYS = {"SCVI": Keys(batch_key=CONDITION_COLUMN), "MRVI": Keys(sample_key=SAMPLE_COLUMN)}


def train_on_kept(
    counts: AnnData,
    prediction_split: pd.DataFrame,
    options: PredictionOptions,
    training: TrainingOptions,
    seed: int,
    accelerator: Accelerator,
    checkpoint: CheckpointStore,
    *,
    family: str,
) -> tuple[BaseModelClass, dict[str, Any]]:
    """Fit a model to the cells that are not held out; where nothing can be predicted, one that has learnt nothing.

    Parameters
    ----------
    counts, prediction_split
        Raw counts of all cells; of :func:`.design.hold_out_cells`.
    options, training
        Options of the model, and those of the study's trainings, which they replace.
    seed, accelerator, checkpoint
        Of the training.
    family
        ``SCVI``, whose batch is the condition, or ``MRVI``, whose samples are sample × condition.

    Returns
    -------
    The model, and the summary of its training (seconds, epochs, …).
    """
    kept = kept_cells(counts, prediction_split)
    if not block_names(prediction_split):
        smallest = options.model_copy(update={"scvi": {"n_hidden": 1, "n_latent": 1}})
        spec = smallest.spec("SCVI", training)
        with reproducible(0), quiet():
            model = spec.build(kept, _KEYS["SCVI"])
        return model, {"model": spec.name, "trained": False, "seconds": 0.0, "epochs": 0}
    spec = options.spec(family, training)
    trained = build_and_fit(
        kept, spec, _KEYS[family], seed=seed, accelerator=accelerator, checkpoints=checkpoint
    )
    return trained.model, trained.summary


def kept_cells(counts: AnnData, split: pd.DataFrame) -> AnnData:
    """The modelled genes of the cells that models may see, with the columns that the models see.

    A sample's cells of one condition are a sample of their own: ``donor × condition``.
    """
    from anndata import AnnData

    split = split.loc[counts.obs_names]
    kept = np.flatnonzero((~split["role"].isin(UNSEEN)).to_numpy())
    genes = np.flatnonzero(counts.var["highly_variable"].to_numpy())
    condition = split["condition"].iloc[kept].astype(str)
    sample = split["sample"].iloc[kept].astype(str)
    columns = {
        CONDITION_COLUMN: pd.Categorical(condition),
        SAMPLE_COLUMN: pd.Categorical(sample + SEPARATOR + condition),
    }
    obs = pd.DataFrame(columns, index=counts.obs_names[kept])
    return AnnData(X=counts.X[kept][:, genes], obs=obs, var=pd.DataFrame(index=counts.var_names[genes]))


def scvi_decoder(fitted: SavedModel, kept: AnnData, n_draws: int, seed: int, accelerator: str) -> Decoder:
    """Cells decoded with another condition in the place of their own: scVI's ``transform_batch``.

    ``fitted``, whose batch is the condition, was fitted to the ``kept`` cells; ``n_draws`` are of each cell's latent
    state. Lopez et al. (2018), doi:10.1038/s41592-018-0229-2.
    """
    model = fitted.attach(kept, accelerator)

    def decode_as(positions: np.ndarray, condition: str) -> np.ndarray:
        # the same seed gives the same draws of the latent state in both conditions
        with reproducible(seed), quiet():
            shares = model.get_normalized_expression(
                indices=positions,
                transform_batch=[condition],
                n_samples=n_draws,
                return_mean=False,
                return_numpy=True,
            )
        return np.asarray(shares, dtype=np.float32).reshape(n_draws, len(positions), -1)

    def decode(cells: pd.Index, source: str, target: str) -> Decoded:
        positions = model.adata.obs_names.get_indexer(cells)
        return Decoded(decode_as(positions, source), decode_as(positions, target))

    return decode


def mrvi_decoder(fitted: SavedModel, kept: AnnData, split: pd.DataFrame, accelerator: str) -> Decoder:
    """Cells decoded as if from each training sample of a condition, averaged.

    ``fitted``, whose samples are sample × condition, was fitted to the ``kept`` cells; ``split`` is that of
    :func:`.design.hold_out`. Where training samples hold both conditions, only those are used, so that the donors' own
    differences cancel in the change. Boyeau et al. (2024), doi:10.1101/2022.10.04.510898.
    """
    model = fitted.attach(kept, accelerator)
    trained = split[~split["role"].isin(UNSEEN)]
    by_condition = trained["sample"].astype(str).groupby(trained["condition"].astype(str))
    samples = {condition: set(found) for condition, found in by_condition}

    def average(positions: np.ndarray, named: list[str], condition: str) -> np.ndarray:
        total = np.zeros((len(positions), model.adata.n_vars), dtype=np.float64)
        for sample in track(named, "prediction: MrVI decodes cells as other samples", len(named)):
            total += decode_as_sample(model, positions, sample + SEPARATOR + condition, library_size=1.0)
        return (total / len(named)).astype(np.float32)[None]

    def decode(cells: pd.Index, source: str, target: str) -> Decoded:
        positions = model.adata.obs_names.get_indexer(cells)
        both, names = samples[source] & samples[target], (source, target)
        return Decoded(*(average(positions, sorted(both or samples[name]), name) for name in names))

    return decode
