"""Each method's probabilities: honest for held-out cells, from all labels for unknown ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.label_transfer import transfer_labels
from scvi_downstream.models.autoencoders import ScanviSpec
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Split, fit, reproducible
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.annotation.label_split import (
    GIVEN,
    HELD_OUT,
    labels_seen,
    require_same_cells,
    rows_by_rule,
)
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.statistics.testing import benjamini_hochberg

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCANVI

logger = logging.getLogger(__name__)


PRIOR_CELLS = 1.0


def label_frequencies(clusters: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """Frequency of each label in each cell's cluster, the cell itself left out.

    The frequencies over all clusters are added with the weight of one cell, so that a cluster without labels
    has these.

    Parameters
    ----------
    clusters
        Cluster of each of `n_cells` cells.
    labels
        Categories of the same cells; missing where no label is seen.

    Returns
    -------
    `n_cells` × types, rows sum to 1.
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


LABEL_COLUMN = "given_label"
# Epochs of fine tuning: as many gradient steps as 5,000 cells have, but no fewer epochs than scvi-tools' own 10.
TUNING_EPOCHS, TUNING_UP_TO, LEAST_EPOCHS = 40, 5000, 10
VALIDATION_SHARE = 0.1


def trained_on_labels(fitted: SavedModel) -> bool:
    """Whether a model was set up with labels, so that its latent has seen all of them."""
    return fitted.setup.get("labels_key") is not None


def tuned_spec(
    fitted: SavedModel, training: TrainingOptions, options: AnnotationOptions, n_cells: int
) -> ScanviSpec:
    """A scANVI of the sizes of ``fitted``, whose weights are the start when it is an scVI that saw no labels.

    Fine tuning takes at most 40 epochs, without early stopping: that looks at the ELBO, which is at its best
    before the classifier has learnt anything.
    """
    starts = fitted.family in ScanviSpec.initialisable_from and not trained_on_labels(fitted)
    epochs = max(round(TUNING_EPOCHS * min(1, TUNING_UP_TO / n_cells)), LEAST_EPOCHS)
    tuning = {"max_epochs": epochs, "early_stopping": False} if starts else {}
    chosen = TrainingOptions.model_validate({**training.model_dump(), **tuning, **options.training})
    sizes = {name: value for name, value in fitted.settings.items() if name in ScanviSpec.model_fields}
    return ScanviSpec(
        **sizes, name="annotation", init_from=fitted.family if starts else None, training=chosen
    )


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
    labelled = np.flatnonzero(labels.notna())
    frequent = labels.value_counts().index[0]
    spared = rng.choice(np.flatnonzero((labels == frequent).to_numpy()))
    others = rng.permutation(np.flatnonzero(labels.isna()))
    others = others[: round(VALIDATION_SHARE * len(labels))]
    validation = np.append(others, spared)
    train = np.setdiff1d(np.arange(len(labels)), validation)
    logger.info("annotation: scANVI sees %d labels of %d cells", len(labelled), len(labels))
    return Split(train=train, validation=validation, test=np.array([], dtype=int))


def fit_scanvi(
    counts: AnnData,
    fitted: SavedModel,
    labels: pd.Series,
    spec: ScanviSpec,
    keys: Keys,
    *,
    seed: int,
    accelerator: str,
    checkpoints: CheckpointStore,
) -> SCANVI:
    """Fit scANVI to all cells and the labels given.

    Parameters
    ----------
    counts
        Raw counts of `n_cells` cells.
    fitted
        The primary model: genes, and weights to start from.
    labels
        Categories of the same cells, missing where the model is not to see one.
    spec
        Of :func:`tuned_spec`.
    keys
        The study's obs columns.
    seed, accelerator, checkpoints
        As for :func:`.fitting.fit`.
    """
    labelled = with_label_column(counts, labels)
    genes = labelled[:, fitted.genes].copy()
    own_keys = keys.model_copy(update={"label_key": LABEL_COLUMN})
    with reproducible(seed), quiet():
        if spec.init_from:
            model = spec.build_from(genes, own_keys, fitted.attach(labelled))
        else:
            model = spec.build(genes, own_keys)
    trained = fit(
        model,
        spec,
        seed=seed,
        accelerator=accelerator,
        checkpoints=checkpoints,
        label_key=LABEL_COLUMN,
        split=split_for_labels(labels, seed),
    ).model
    trained.module.eval()
    return trained


def predict(model: SCANVI) -> pd.DataFrame:
    """Probability of every type for every cell, at the mean of its latent posterior: `n_cells` × types."""
    with quiet():
        return model.predict(soft=True).rename(columns=str)


def distance_p_values(distances: np.ndarray, is_labelled: np.ndarray) -> np.ndarray:
    """Conformal p-values of each cell's mean distance to its labelled neighbours, missing for labelled cells.

    Under the hypothesis that a cell is of the types that the labelled cells are of, its distance is as large
    as that of a labelled cell, which leaves itself out, in a share p of cases.

    Parameters
    ----------
    distances
        ``(n_cells,)`` mean distances.
    is_labelled
        ``(n_cells,)`` whether a cell's label is seen.

    References
    ----------
    Bates et al. (2023), doi:10.1214/22-AOS2244.
    """
    known = np.sort(distances[is_labelled])
    as_far = len(known) - np.searchsorted(known, distances, side="left")
    return np.where(is_labelled, np.nan, (1 + as_far) / (len(known) + 1))


def certainty_p_values(certainty: np.ndarray, roles: pd.Series) -> np.ndarray:
    """Conformal p-values of each cell's highest probability among those of held-out cells, missing for given cells.

    Under the hypothesis that a cell is of the types that are transferred, it is as uncertain as a held-out
    cell in a share p of cases. Held-out cells are compared with the other ones.

    Parameters
    ----------
    certainty
        ``(n_cells,)`` highest mean probability, uncalibrated: calibration makes cells of known types certain,
        and others with them.
    roles
        Of :func:`.split_labels`.
    """
    held_out = (roles == HELD_OUT).to_numpy()
    known = np.sort(certainty[held_out])
    as_uncertain = np.searchsorted(known, certainty, side="right")
    p = (1 + as_uncertain - held_out) / (len(known) + 1 - held_out)
    return np.where(roles == GIVEN, np.nan, np.minimum(p, 1))


def unlike_p_values(tables: Iterable[pd.DataFrame], distance_p: pd.Series, roles: pd.Series) -> pd.Series:
    """Whether distance or certainty is out of the ordinary: the smaller p-value, times two (Bonferroni).

    Parameters
    ----------
    tables
        `n_cells` × types of each method, uncalibrated.
    distance_p
        Of :func:`distance_p_values`.
    roles
        Of :func:`.split_labels`.
    """
    certainty = np.mean([table.to_numpy() for table in tables], axis=0).max(axis=1)
    smaller = np.fmin(certainty_p_values(certainty, roles), distance_p.to_numpy())
    return pd.Series(np.minimum(2 * smaller, 1), index=roles.index, name="unlike_p")


def unlike_labelled(p: pd.Series, roles: pd.Series, fdr: float) -> pd.Series:
    """Whether a cell is unlike the labelled ones, at a false discovery rate within its role."""
    adjusted = p.groupby(roles, observed=True).transform(lambda values: benjamini_hochberg(values.to_numpy()))
    return (adjusted <= fdr).rename("unlike")


def needs_all_labels(label_split: pd.DataFrame) -> bool:
    """Whether there are cells to predict from more labels than the given ones."""
    return {UNKNOWN, HELD_OUT} <= set(label_split["role"].astype(str))


def predict_with_scanvi(
    counts: AnnData,
    fitted: SavedModel,
    label_split: pd.DataFrame,
    spec: ScanviSpec,
    keys: Keys,
    *,
    seed: int,
    accelerator: str,
    checkpoints: CheckpointStore,
) -> tuple[SCANVI, pd.DataFrame]:
    """The scANVI that has seen the given labels; `n_cells` × types, those of unknown cells by a second one.

    Parameters are those of :func:`.scanvi_transfer.fit_scanvi`.
    """

    def fitted_to(*, held_out_too: bool, folder: str) -> tuple[SCANVI, pd.DataFrame]:
        model = fit_scanvi(
            counts,
            fitted,
            labels_seen(label_split, held_out_too=held_out_too),
            spec,
            keys,
            seed=seed,
            accelerator=accelerator,
            checkpoints=CheckpointStore(checkpoints.path / folder),
        )
        return model, predict(model)

    model, first = fitted_to(held_out_too=False, folder="given")
    if not needs_all_labels(label_split):
        return model, rows_by_rule(label_split, first, first)
    _, second = fitted_to(held_out_too=True, folder="all")
    return model, rows_by_rule(label_split, first, second)


def latent_without_held_out(
    annotation_model: SavedModel, counts: AnnData, label_split: pd.DataFrame, accelerator: str
) -> pd.DataFrame:
    """Latent of the scANVI that has seen the given labels alone: `n_cells` × `n_latent`."""
    labelled = with_label_column(counts, labels_seen(label_split, held_out_too=False))
    with quiet():
        latent = annotation_model.attach(labelled, accelerator=accelerator).get_latent_representation()
    return pd.DataFrame(latent, index=counts.obs_names)


def predict_with_neighbors(
    latent: pd.DataFrame, label_split: pd.DataFrame, n_neighbors: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Weights of the labels among each cell's nearest labelled cells, itself left out.

    Parameters
    ----------
    latent
        `n_cells` × `n_latent`, of a model that has not seen the held-out labels.
    label_split
        Label and role of the same cells.
    n_neighbors
        Number of neighbours.

    Returns
    -------
    `n_cells` × types; ``distance`` (mean, to the neighbours) and ``p`` (see :func:`.distance_p_values`).
    """
    points = require_same_cells(latent, label_split, "the latent")

    def from_labels(*, held_out_too: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
        seen = labels_seen(label_split, held_out_too=held_out_too)
        found, distances = transfer_labels(points, seen, points, n_neighbors, exclude_self=True)
        mean = distances.mean(axis=1)
        p = distance_p_values(mean, seen.notna().to_numpy())
        return found, pd.DataFrame({"distance": mean, "p": p}, index=label_split.index)

    first, distances = from_labels(held_out_too=False)
    if not needs_all_labels(label_split):
        return rows_by_rule(label_split, first, first), distances
    second, from_all = from_labels(held_out_too=True)
    unknown = label_split["role"] == UNKNOWN
    distances[unknown] = from_all[unknown]
    return rows_by_rule(label_split, first, second), distances


def predict_with_clusters(clusters: pd.DataFrame, label_split: pd.DataFrame, clustering: str) -> pd.DataFrame:
    """Frequencies of the labels in each cell's cluster: `n_cells` × types."""
    column = clustering_of(require_same_cells(clusters, label_split, "the clusters"), clustering)
    first = label_frequencies(column, labels_seen(label_split, held_out_too=False))
    if not needs_all_labels(label_split):
        return rows_by_rule(label_split, first, first)
    return rows_by_rule(
        label_split, first, label_frequencies(column, labels_seen(label_split, held_out_too=True))
    )


def clustering_of(clusters: pd.DataFrame, clustering: str) -> pd.Series:
    """The column named by ``annotation.clustering``.

    Raises
    ------
    InputError
        There is no such clustering.
    """
    if clustering not in clusters:
        raise InputError(
            f"annotation.clustering '{clustering}' is not among the clusterings{closest(clustering, clusters.columns)}"
        )
    return clusters[clustering]
