"""Labels predicted by scANVI, fitted to the given ones.

Xu et al. (2021), doi:10.15252/msb.20209620.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.models import SavedModel
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import fit, reproducible
from scvi_downstream.models.quiet import quiet
from scvi_downstream.models.scanvi import ScanviSpec
from scvi_downstream.models.split import Split
from scvi_downstream.parameters import UNKNOWN, AnnotationOptions, Keys, TrainingOptions

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCANVI

logger = logging.getLogger(__name__)
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
