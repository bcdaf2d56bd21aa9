"""Samples compared by MrVI: distances, effects of conditions, abundance, counterfactual expression."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import on_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.samples.nodes import (
    cluster_samples,
    compare_sample_abundance,
    compare_sample_expression,
    compare_samples,
    decode_as_samples,
    plot_sample_abundance,
    read_latent_z,
    summarize_samples,
)
from scvi_downstream.pipelines.samples.plots import (
    plot_sample_distances,
    plot_sample_expression,
    plot_sample_map,
)

_READ = ["fitted", "counts", "clusters"]
_OPTIONS = ["params:keys", "params:samples"]
_COMPUTE = [*_OPTIONS, "params:seed", "params:accelerator"]


def template() -> Pipeline:
    """fitted, counts, clusters, umap ─► distances, effects, expression, abundance ─► verdicts, figures."""
    return Pipeline(
        [
            Node(read_latent_z, ["fitted", "counts", "params:accelerator"], "latent_z", name="read_latent_z"),
            Node(
                compare_samples,
                [*_READ, *_COMPUTE],
                ["sample_distances", "sample_effects"],
                name="compare_samples",
            ),
            Node(
                cluster_samples,
                ["sample_distances", "counts", "clusters", *_OPTIONS],
                "sample_clusters",
                name="cluster_samples",
            ),
            Node(
                compare_sample_expression,
                [*_READ, *_COMPUTE],
                "sample_expression",
                name="compare_sample_expression",
            ),
            Node(
                compare_sample_abundance,
                [*_READ, *_COMPUTE],
                ["sample_density_ratios", "sample_abundance"],
                name="compare_sample_abundance",
            ),
            Node(
                decode_as_samples,
                [*_READ, "sample_expression", *_COMPUTE],
                "sample_counterfactuals",
                name="decode_as_samples",
            ),
            Node(
                summarize_samples,
                [
                    "sample_distances",
                    "sample_effects",
                    "sample_expression",
                    "sample_abundance",
                    "counts",
                    "clusters",
                    *_OPTIONS,
                ],
                "sample_summary",
                name="summarize_samples",
            ),
            Node(
                plot_sample_distances,
                ["sample_distances", "sample_clusters"],
                "sample_distances_figure",
                name="plot_sample_distances",
            ),
            Node(
                plot_sample_map,
                ["sample_distances", "sample_clusters", "sample_effects"],
                "sample_map_figure",
                name="plot_sample_map",
            ),
            Node(
                plot_sample_expression,
                ["sample_expression", "params:samples"],
                "sample_expression_figure",
                name="plot_sample_expression",
            ),
            Node(
                plot_sample_abundance,
                ["umap", "sample_density_ratios", "sample_abundance"],
                "sample_abundance_figure",
                name="plot_sample_abundance",
            ),
        ],
        tags="samples",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Of the model that compares samples; without one, the first node says what is missing."""
    model = study.first_with("sample_distances") or study.primary
    outputs = {"latent_z": f"{model}.latent_z"}
    return on_model(template(), model, ["fitted", "clusters", "umap"], outputs=outputs)
