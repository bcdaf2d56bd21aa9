"""Each method's probabilities: honest for held-out cells, from all labels for unknown ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scvi_downstream.errors import InputError, closest
from scvi_downstream.label_transfer import transfer_labels
from scvi_downstream.models import SavedModel
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.quiet import quiet
from scvi_downstream.parameters import UNKNOWN, Keys

from .cluster_majority import label_frequencies
from .label_split import HELD_OUT, labels_seen, require_same_cells, rows_by_rule
from .scanvi_transfer import fit_scanvi, predict, with_label_column
from .unlike import distance_p_values

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCANVI

    from scvi_downstream.models.scanvi import ScanviSpec


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
