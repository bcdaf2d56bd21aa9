"""What the cells are: labels transferred and scored, clusters named by marker genes."""

from kedro.pipeline import Pipeline
from pydantic import ValidationError

from scvi_downstream.models.families import explain
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.annotation.consensus import agree_on_cell_types
from scvi_downstream.pipelines.annotation.label_split import hold_out_labels
from scvi_downstream.pipelines.annotation.marker_table import match_markers
from scvi_downstream.pipelines.annotation.naming import name_clusters
from scvi_downstream.pipelines.annotation.plots import (
    plot_calibration,
    plot_cell_types,
    plot_cluster_names,
    plot_confusion,
    plot_label_contingency,
)
from scvi_downstream.pipelines.annotation.scores import compare_with_labels
from scvi_downstream.pipelines.annotation.transfer import (
    transfer_with_clusters,
    transfer_with_neighbors,
    transfer_with_scanvi,
)
from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.runtime.errors import InputError

_KEYS, _OPTIONS, _SEED = "params:keys", "params:annotation", "params:seed"
_SCORES = "annotation_scores"
_TRAINING = [_KEYS, _OPTIONS, "params:training", _SEED, "params:accelerator", "params:checkpoint.annotation"]
_TRANSFERS = ["transfer_scanvi", "transfer_neighbors", "transfer_clusters", "label_distances"]
_SCORED = [_SCORES, "annotation_by_type", "annotation_confusion", "annotation_calibration"]


def template(*, labels: bool, markers: bool) -> Pipeline:
    """Counts, latent, clusters ─► three transfers ─► consensus, scores; marker table ─► names of clusters."""
    by_scanvi, agreement = ["annotation_model", "transfer_scanvi"], ["label_agreement", "label_contingency"]
    points = ["counts", "fitted", "annotation_model", "latent", "label_split", _OPTIONS, "params:accelerator"]
    transfer = [
        step(hold_out_labels, ["counts", _KEYS, _OPTIONS, _SEED], "label_split"),
        step(transfer_with_scanvi, ["counts", "fitted", "label_split", *_TRAINING], by_scanvi),
        step(transfer_with_neighbors, points, ["transfer_neighbors", "label_distances"]),
        step(transfer_with_clusters, ["fitted", "clusters", "label_split", _OPTIONS], "transfer_clusters"),
        step(agree_on_cell_types, ["label_split", *_TRANSFERS, _OPTIONS, _SEED], ["cell_types", *_SCORED]),
        step(compare_with_labels, ["clusters", "counts", _KEYS, _OPTIONS], agreement),
        step(plot_cell_types, ["umap", "counts", "cell_types", _SCORES, _KEYS], "cell_types_figure"),
        step(plot_confusion, ["annotation_confusion", _SCORES], "confusion_figure"),
        step(plot_calibration, ["annotation_calibration", _SCORES], "calibration_figure"),
        step(plot_label_contingency, ["label_contingency", "label_agreement"], "label_contingency_figure"),
    ]
    names = ["cluster_names", "marker_scores", "marker_cell_types", "naming_summary"]
    naming = [
        step(name_clusters, ["counts", "clusters", "marker_table", _KEYS, _OPTIONS, _SEED], names),
        step(match_markers, ["markers", "marker_table", "counts", _OPTIONS], "marker_overlap"),
        step(
            plot_cluster_names, ["marker_scores", "cluster_names", "naming_summary"], "cluster_names_figure"
        ),
    ]
    return Pipeline([*(transfer if labels else []), *(naming if markers else [])], tags="annotation")


def create_pipeline(study: Study) -> Pipeline:
    """On the primary model; what is transferred and named is what labels and marker table allow.

    Raises
    ------
    InputError
        An option of the training that does not exist.
    """
    changes = study.options["annotation"].training
    try:
        TrainingOptions.model_validate({**study.options["training"].model_dump(), **changes})
    except ValidationError as error:
        raise InputError(explain(error, TrainingOptions, "annotation.training")) from None
    markers = "marker_naming" in study.analyses
    labels = "label_transfer" in study.analyses or not markers  # alone, its first node says what is missing
    made = template(labels=labels, markers=markers)
    return on_model(made, study.primary, ["fitted", "latent", "clusters", "umap"])
