"""The study's cells mapped onto a reference model by scArches surgery."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.reference_mapping.mapping import (
    embed_jointly,
    join_mapped,
    map_onto_reference,
    transfer_reference_labels,
)
from scvi_downstream.pipelines.reference_mapping.plots import plot_mapping
from scvi_downstream.pipelines.reference_mapping.report import summarize_mapping

_KEYS, _OPTIONS, _PREPARATION = "params:keys", "params:reference_mapping", "params:preparation"
_GIVEN, _SETTINGS = ["reference", "counts"], [_KEYS, _OPTIONS, _PREPARATION]
_RUN = ["params:study", "params:seed", "params:accelerator"]


def template() -> Pipeline:
    """Reference, counts ─► surgery ─► joint latent ─► labels, cells unlike the reference."""
    return Pipeline(
        [
            step(
                map_onto_reference,
                [*_GIVEN, *_SETTINGS, "params:training", *_RUN, "params:checkpoint.mapped"],
                ["mapped_model", "joint_latent", "mapping_history", "mapping_facts"],
            ),
            step(embed_jointly, ["joint_latent", "params:embedding", "params:seed"], "joint_umap"),
            step(
                transfer_reference_labels,
                [*_GIVEN, "mapped_model", "joint_latent", *_SETTINGS, *_RUN],
                ["mapped_cell_types", "mapping_batches"],
            ),
            step(
                summarize_mapping,
                ["counts", "mapped_cell_types", "mapping_batches", "mapping_facts", _KEYS, _OPTIONS],
                ["mapping_summary", "mapping_confusion"],
            ),
            step(
                join_mapped,
                ["counts", "joint_latent", "joint_umap", "mapped_cell_types", "mapping_summary"],
                "mapped",
            ),
            step(
                plot_mapping,
                ["reference", "joint_umap", "mapped_cell_types", "mapping_summary", _OPTIONS, _PREPARATION],
                "mapping_figure",
            ),
        ],
        tags="reference_mapping",
    )


def create_pipeline(_: Study) -> Pipeline:
    """Onto the reference of the study."""
    return template()
