"""Each method's probabilities: honest for held-out cells, from all labels for unknown ones."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.label_transfer import transfer_labels
from scvi_downstream.models.autoencoders import ScanviSpec
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Split, build_and_fit
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.annotation.label_split import (
    chosen_clustering,
    join_rounds,
    labels_seen,
    predict_in_rounds,
    require_same_cells,
    why_not_transferable,
)
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.statistics.testing import conformal_p

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCANVI
    from scvi.model.base import BaseModelClass
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = SCANVI = BaseModelClass = Any

logger = logging.getLogger(__name__)

LABEL_COLUMN = "given_label"
# Epochs of fine tuning: as many gradient steps as 5,000 cells have, but no fewer than 4 epochs. Four times as many
# neither found more held-out labels of five data sets of 700 to 2,700 cells nor were better calibrated, on average.
TUNING_EPOCHS, TUNING_UP_TO, LEAST_EPOCHS = 10, 5000, 4
VALIDATION_SHARE = 0.1  # As for every model of the study.
PRIOR_CELLS = 1.0  # Weight, in cells, of the frequencies over all clusters in each cluster.


def transfer_with_scanvi(
    counts: AnnData,
    fitted: SavedModel,
    label_split: pd.DataFrame,
    keys: Keys,
    annotation: AnnotationOptions,
    training: TrainingOptions,
    seed: int,
    accelerator: str,
    annotation_checkpoint: CheckpointStore,
) -> tuple[BaseModelClass, pd.DataFrame]:
    """Predict with a scANVI of the given labels, started from the primary model where that is an scVI.

    Unknown cells are predicted by a second scANVI that has seen all labels.

    Parameters
    ----------
    counts, label_split
        Raw counts, label and role of `n_cells` cells.
    fitted
        The primary model: genes, and weights to start from.
    keys
        The study's obs columns.
    annotation, training
        Options of the training that are changed, and those of the study.
    seed, accelerator, annotation_checkpoint
        As for :func:`.fitting.fit`.

    Returns
    -------
    The model that is scored: it has not seen the held-out labels; `n_cells` × types, probabilities.
    Without labels to transfer, the primary model and a table without columns.
    """
    if why_not_transferable(label_split):
        return fitted.attach(counts), pd.DataFrame(index=label_split.index)
    split = require_same_cells(label_split, counts.obs, "label_split")
    spec = tuned_spec(fitted, training, annotation, counts.n_obs)

    def predict(labels: pd.Series, name: str) -> tuple[SCANVI, pd.DataFrame]:
        checkpoints = CheckpointStore(annotation_checkpoint.path / name)
        model = fit_scanvi(
            counts, fitted, labels, spec, keys, seed=seed, accelerator=accelerator, checkpoints=checkpoints
        )
        with quiet():  # at the mean of each cell's latent posterior
            return model, model.predict(soft=True).rename(columns=str)

    (model, first), (_, second) = predict_in_rounds(split, predict)
    return model, join_rounds(split, first, second)


def trained_on_labels(fitted: SavedModel) -> bool:
    """Whether a model was set up with labels, so that its latent has seen all of them."""
    return fitted.setup.get("labels_key") is not None


def tuned_spec(
    fitted: SavedModel, training: TrainingOptions, options: AnnotationOptions, n_cells: int
) -> ScanviSpec:
    """A scANVI of the sizes of ``fitted``, whose weights are the start when it is an scVI that saw no labels.

    Fine tuning takes at most 10 epochs, without early stopping: that looks at the ELBO, which is at its best
    before the classifier has learnt anything.
    """
    starts = fitted.family in ScanviSpec.initialisable_from and not trained_on_labels(fitted)
    epochs = max(round(TUNING_EPOCHS * min(1, TUNING_UP_TO / n_cells)), LEAST_EPOCHS)
    tuning = {"max_epochs": epochs, "early_stopping": False} if starts else {}
    chosen = TrainingOptions.model_validate({**training.model_dump(), **tuning, **options.training})
    sizes = {name: value for name, value in fitted.settings.items() if name in ScanviSpec.model_fields}
    start = fitted.family if starts else None
    return ScanviSpec(**sizes, name="annotation", init_from=start, training=chosen)


def with_label_column(counts: AnnData, labels: pd.Series) -> AnnData:
    """Counts with one more obs column; the matrix is shared, ``counts`` stays as it is."""
    from anndata import AnnData

    texts = labels.astype(object).where(labels.notna(), UNKNOWN).to_numpy()
    obs = counts.obs.assign(**{LABEL_COLUMN: pd.Categorical(texts)})
    return AnnData(X=counts.X, obs=obs, var=counts.var)


def split_for_labels(labels: pd.Series, seed: int) -> Split:
    """Training cells hold all labelled cells but one; validation cells are a tenth of all, mostly unlabelled.

    scvi-tools draws mini-batches of labelled cells in validation too, so one of them, of the most frequent
    type, is there.
    """
    rng = np.random.default_rng(seed)
    frequent = labels.value_counts().index[0]
    spared = rng.choice(np.flatnonzero((labels == frequent).to_numpy()))
    others = rng.permutation(np.flatnonzero(labels.isna()))[: round(VALIDATION_SHARE * len(labels))]
    validation = np.append(others, spared)
    train = np.setdiff1d(np.arange(len(labels)), validation)
    logger.info("annotation: scANVI sees %d labels of %d cells", labels.count(), len(labels))
    return Split(train=train, validation=validation, test=np.array([], dtype=int))


def fit_scanvi(
    counts: AnnData,
    fitted: SavedModel,
    labels: pd.Series,
    spec: ScanviSpec,
    keys: Keys,
    *,
    seed: int,
    **settings: Any,
) -> SCANVI:
    """Fit scANVI to all cells and the labels given, missing where the model is not to see one.

    ``fitted`` is the primary model: its genes, and weights to start from where ``spec`` of :func:`tuned_spec` says
    so; ``settings`` are accelerator and checkpoints of :func:`.fitting.fit`.
    """
    labelled = with_label_column(counts, labels)
    genes = labelled[:, fitted.genes].copy()
    own_keys = keys.model_copy(update={"label_key": LABEL_COLUMN})
    initial = partial(fitted.attach, labelled) if spec.init_from else None
    split = split_for_labels(labels, seed)
    model = build_and_fit(genes, spec, own_keys, seed=seed, initial=initial, split=split, **settings).model
    model.module.eval()
    return model


def transfer_with_neighbors(
    counts: AnnData,
    fitted: SavedModel,
    annotation_model: SavedModel,
    latent: pd.DataFrame,
    label_split: pd.DataFrame,
    annotation: AnnotationOptions,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Weights of the labels among each cell's nearest labelled cells, itself left out.

    Neighbours are sought in a latent space that has not seen the held-out labels: the primary model's, or where
    that was trained on labels, the one of ``annotation_model``.

    Parameters
    ----------
    counts, label_split
        Raw counts, label and role of `n_cells` cells.
    fitted, annotation_model
        The primary model, and the scANVI that has seen the given labels alone.
    latent
        `n_cells` × `n_latent` of the primary model.
    annotation, accelerator
        ``n_neighbors``, and where to compute.

    Returns
    -------
    `n_cells` × types, probabilities; ``distance`` (mean, to the neighbours) and ``p`` (see
    :func:`distance_p_values`). Without labels to transfer, both have no column.
    """
    if why_not_transferable(label_split):
        return pd.DataFrame(index=label_split.index), pd.DataFrame(index=label_split.index)
    if trained_on_labels(fitted):
        latent = _latent_without_held_out(annotation_model, counts, label_split, accelerator)
    points = require_same_cells(latent, label_split, "the latent")

    def predict(labels: pd.Series, _: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        found, distances = transfer_labels(points, labels, points, annotation.n_neighbors, exclude_self=True)
        mean = distances.mean(axis=1)
        p = distance_p_values(mean, labels.notna().to_numpy())
        return found, pd.DataFrame({"distance": mean, "p": p}, index=label_split.index)

    (first, near), (second, near_any) = predict_in_rounds(label_split, predict)
    distances = near.where(label_split["role"] != UNKNOWN, near_any)
    return join_rounds(label_split, first, second), distances


def _latent_without_held_out(
    annotation_model: SavedModel, counts: AnnData, label_split: pd.DataFrame, accelerator: str
) -> pd.DataFrame:
    """Latent of the scANVI that has seen the given labels alone: `n_cells` × `n_latent`."""
    labelled = with_label_column(counts, labels_seen(label_split, held_out_too=False))
    with quiet():
        latent = annotation_model.attach(labelled, accelerator=accelerator).get_latent_representation()
    return pd.DataFrame(latent, index=counts.obs_names)


def distance_p_values(distances: np.ndarray, is_labelled: np.ndarray) -> np.ndarray:
    """Conformal p-values of each cell's mean distance to its labelled neighbours, missing for labelled cells.

    Under the hypothesis that a cell is of the types that the labelled cells are of, its distance is as large as
    that of a labelled cell, which leaves itself out, in a share p of cases.
    """
    return np.where(is_labelled, np.nan, conformal_p(distances[is_labelled], distances))


def transfer_with_clusters(
    fitted: SavedModel, clusters: pd.DataFrame, label_split: pd.DataFrame, annotation: AnnotationOptions
) -> pd.DataFrame:
    """Frequencies of the labels in each cell's cluster: `n_cells` × types.

    Where ``fitted``, the primary model, was trained on labels, its clusters have seen the held-out ones, and the table
    has no column. ``clusters`` hold the clustering of ``annotation``, ``label_split`` label and role of the same cells.
    """
    if why_not_transferable(label_split) or trained_on_labels(fitted):
        return pd.DataFrame(index=label_split.index)
    column = chosen_clustering(require_same_cells(clusters, label_split, "the clusters"), annotation)
    rounds = predict_in_rounds(label_split, lambda labels, _: label_frequencies(column, labels))
    return join_rounds(label_split, *rounds)


def label_frequencies(clusters: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """Frequency of each label in each cell's cluster, the cell itself left out: `n_cells` × types, rows sum to 1.

    The frequencies over all clusters are added with the weight of one cell, so that a cluster without labels has
    these. Labels are categories, missing where none is seen.
    """
    cluster_codes, _ = pd.factorize(clusters)
    label_codes = labels.cat.codes.to_numpy()
    labelled = label_codes >= 0
    types = labels.cat.categories
    counts = np.zeros((cluster_codes.max() + 1, len(types)))
    np.add.at(counts, (cluster_codes[labelled], label_codes[labelled]), 1)
    overall = counts.sum(axis=0) / counts.sum()
    own = np.zeros((len(labels), len(types)))
    own[np.flatnonzero(labelled), label_codes[labelled]] = 1
    seen = counts[cluster_codes] - own + PRIOR_CELLS * overall
    return pd.DataFrame(seen / seen.sum(axis=1, keepdims=True), index=labels.index, columns=types)
