"""Samples compared by MrVI: distances, effects of conditions, abundance, counterfactual expression."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.samples.abundance import compare_sample_abundance
from scvi_downstream.pipelines.samples.comparison import cluster_samples, compare_samples
from scvi_downstream.pipelines.samples.distances import read_latent_z
from scvi_downstream.pipelines.samples.expression import compare_sample_expression, decode_as_samples
from scvi_downstream.pipelines.samples.plots import (
    plot_sample_abundance,
    plot_sample_distances,
    plot_sample_expression,
    plot_sample_map,
)
from scvi_downstream.pipelines.samples.report import summarize_samples

_READ = ["fitted", "counts", "clusters"]
_OPTIONS = ["params:replicates", "params:samples"]
_COMPUTE = [*_OPTIONS, "params:seed", "params:accelerator"]
_RESULTS = ["sample_distances", "sample_effects", "sample_expression", "sample_abundance"]
_DENSITIES = ["sample_density_ratios", "sample_abundance"]


def template() -> Pipeline:
    """fitted, counts, clusters, umap ─► distances, effects, expression, abundance ─► verdicts, figures."""
    read = [*_READ, *_COMPUTE]
    decoded = [*_READ, "sample_expression", *_COMPUTE]
    grouped = ["sample_distances", "counts", "clusters", *_OPTIONS]
    results = [*_RESULTS, "counts", "clusters", *_OPTIONS]
    clustered, colored = ["sample_distances", "sample_clusters"], ["counts", "params:keys"]
    changes = ["sample_expression", "params:samples"]
    nodes = [
        step(read_latent_z, ["fitted", "counts", "params:accelerator"], "latent_z"),
        step(compare_samples, read, ["sample_distances", "sample_effects"]),
        step(cluster_samples, grouped, "sample_clusters"),
        step(compare_sample_expression, read, "sample_expression"),
        step(compare_sample_abundance, read, _DENSITIES),
        step(decode_as_samples, decoded, "sample_counterfactuals"),
        step(summarize_samples, results, "sample_summary"),
        step(plot_sample_distances, [*clustered, *colored], "sample_distances_figure"),
        step(plot_sample_map, [*clustered, "sample_effects", *colored], "sample_map_figure"),
        step(plot_sample_expression, changes, "sample_expression_figure"),
        step(plot_sample_abundance, ["umap", *_DENSITIES], "sample_abundance_figure"),
    ]
    return Pipeline(nodes, tags="samples")


def create_pipeline(study: Study) -> Pipeline:
    """Of the model that compares samples; without one, the first node says what is missing."""
    model = study.first_with("sample_distances") or study.primary
    outputs = {"latent_z": f"{model}.latent_z"}
    return on_model(template(), model, ["fitted", "clusters", "umap"], outputs=outputs)
