"""What the cells are: labels transferred and scored, clusters named by marker genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.annotation.consensus import cell_type_table, find_consensus
from scvi_downstream.pipelines.annotation.label_split import (
    labels_of,
    require_same_cells,
    split_labels,
    why_not_transferable,
)
from scvi_downstream.pipelines.annotation.marker_table import find_markers, overlap
from scvi_downstream.pipelines.annotation.naming import (
    cells_by_name,
    choose_names,
    score_types,
    summarize_names,
)
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.plots import (
    plot_calibration,
    plot_cell_types,
    plot_cluster_names,
    plot_confusion,
    plot_label_contingency,
)
from scvi_downstream.pipelines.annotation.report import summarize_transfer, without_transfer
from scvi_downstream.pipelines.annotation.scores import contingency, score_clusterings
from scvi_downstream.pipelines.annotation.transfer import (
    clustering_of,
    latent_without_held_out,
    predict_with_clusters,
    predict_with_neighbors,
    predict_with_scanvi,
    trained_on_labels,
    tuned_spec,
    unlike_p_values,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = BaseModelClass = Any

__all__ = [
    "agree_on_cell_types",
    "compare_with_labels",
    "hold_out_labels",
    "match_markers",
    "name_clusters",
    "plot_calibration",
    "plot_cell_types",
    "plot_cluster_names",
    "plot_confusion",
    "plot_label_contingency",
    "transfer_with_clusters",
    "transfer_with_neighbors",
    "transfer_with_scanvi",
]


def hold_out_labels(counts: AnnData, keys: Keys, annotation: AnnotationOptions, seed: int) -> pd.DataFrame:
    """Which labels the methods are given, and which are held out; see :func:`.label_split.split_labels`.

    Raises
    ------
    InputError
        No ``label_key``, or one that is not in obs.
    """
    return split_labels(labels_of(counts, keys), annotation, seed)


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

    Returns
    -------
    The model that is scored: it has not seen the held-out labels; `n_cells` × types, probabilities.
    Without labels to transfer, the primary model and a table without columns.
    """
    if why_not_transferable(label_split):
        return fitted.attach(counts), pd.DataFrame(index=label_split.index)
    spec = tuned_spec(fitted, training, annotation, counts.n_obs)
    return predict_with_scanvi(
        counts,
        fitted,
        require_same_cells(label_split, counts.obs, "label_split"),
        spec,
        keys,
        seed=seed,
        accelerator=accelerator,
        checkpoints=annotation_checkpoint,
    )


def transfer_with_neighbors(
    counts: AnnData,
    fitted: SavedModel,
    annotation_model: SavedModel,
    latent: pd.DataFrame,
    label_split: pd.DataFrame,
    annotation: AnnotationOptions,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels of the nearest labelled cells in a latent space that has not seen the held-out labels.

    That is the primary model's, or where that was trained on labels, the one of ``annotation_model``.

    Returns
    -------
    `n_cells` × types, probabilities; ``distance`` and ``p``, see :func:`.transfer.predict_with_neighbors`.
    """
    if why_not_transferable(label_split):
        return pd.DataFrame(index=label_split.index), pd.DataFrame(index=label_split.index)
    if trained_on_labels(fitted):
        latent = latent_without_held_out(annotation_model, counts, label_split, accelerator)
    return predict_with_neighbors(latent, label_split, annotation.n_neighbors)


def transfer_with_clusters(
    fitted: SavedModel, clusters: pd.DataFrame, label_split: pd.DataFrame, annotation: AnnotationOptions
) -> pd.DataFrame:
    """Frequencies of the labels in each cell's cluster: `n_cells` × types.

    No column when the primary model was trained on labels: its clusters have seen the held-out ones.
    """
    if why_not_transferable(label_split) or trained_on_labels(fitted):
        return pd.DataFrame(index=label_split.index)
    return predict_with_clusters(clusters, label_split, annotation.clustering)


def agree_on_cell_types(
    label_split: pd.DataFrame,
    transfer_scanvi: pd.DataFrame,
    transfer_neighbors: pd.DataFrame,
    transfer_clusters: pd.DataFrame,
    label_distances: pd.DataFrame,
    annotation: AnnotationOptions,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """One type a cell, and how good the methods and their consensus are on held-out cells.

    Returns
    -------
    Cell × facts (:func:`.consensus.cell_type_table`); scores and sentences; scores by type, confusion and
    calibration, tidy by ``method``.
    """
    methods = {"scanvi": transfer_scanvi, "knn": transfer_neighbors, "clusters": transfer_clusters}
    tables = {name: table for name, table in methods.items() if table.shape[1]}
    if not tables:
        return without_transfer(label_split)
    found = find_consensus(label_split, tables, annotation, seed)
    unlike_p = unlike_p_values(tables.values(), label_distances["p"], label_split["role"])
    cell_types = cell_type_table(label_split, found, unlike_p, annotation)
    scores = summarize_transfer(label_split, found, cell_types, label_distances["p"], annotation)
    return cell_types, scores, found.by_type, found.confusion, found.calibration


def compare_with_labels(
    clusters: pd.DataFrame, counts: AnnData, keys: Keys, annotation: AnnotationOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement of every clustering with the labels; cells of each cluster and label of one clustering."""
    labels = labels_of(counts, keys).loc[clusters.index]
    chosen = clustering_of(clusters, annotation.clustering)
    return score_clusterings(clusters, labels), contingency(chosen, labels)


def name_clusters(
    counts: AnnData,
    clusters: pd.DataFrame,
    marker_table: pd.DataFrame,
    keys: Keys,
    annotation: AnnotationOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Name clusters by the user's marker genes.

    Returns
    -------
    One row a cluster (:func:`.naming.choose_names`); one row a cluster and type
    (:func:`.marker_scores.score_types`); ``cell_type_markers`` of each cell; summary with sentences.

    Raises
    ------
    InputError
        Something is wrong with the table, or none of its genes is in the counts; see
        :func:`.marker_table.find_markers`.
    """
    options = annotation.markers
    known = find_markers(marker_table, counts, options.min_genes)
    known.log()
    chosen = clustering_of(clusters, annotation.clustering).loc[counts.obs_names]
    scores, means = score_types(counts, chosen, known, n_random_sets=options.n_random_sets, seed=seed)
    names = choose_names(scores, means, known, options)
    cells = cells_by_name(chosen, names)
    labels = counts.obs[keys.label_key] if keys.label_key else None
    return names, scores, cells, summarize_names(names, cells, known, labels)


def match_markers(
    markers: pd.DataFrame, marker_table: pd.DataFrame, counts: AnnData, annotation: AnnotationOptions
) -> pd.DataFrame:
    """Markers found by differential expression against the listed ones; see :func:`.marker_overlap.overlap`."""
    return overlap(markers, find_markers(marker_table, counts, annotation.markers.min_genes), counts)
