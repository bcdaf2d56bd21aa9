"""Named pipelines of the study: the templates, copied per model, and what joins them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from scvi_downstream.configuration import load_parameters
from scvi_downstream.graph import CurrentStudy, StudyGraph, study_graph
from scvi_downstream.pipelines import (
    annotation,
    batch_effects,
    clustering,
    comparison,
    de,
    embedding,
    evaluation,
    factors,
    imputation,
    metadata,
    prediction,
    preparation,
    proteins,
    reference_mapping,
    reporting,
    samples,
    training,
    trajectory,
)
from scvi_downstream.pipelines.reporting.sections import report_contents

_STUDY_PARAMETERS = (
    "keys",
    "seed",
    "accelerator",
    "embedding",
    "clustering",
    "de",
    "imputation",
    "evaluation",
    "comparison",
    "factors",
)
_SHARED = ("counts", "qc_metrics", "covariates")
# Run where the study calls for them; see graph.py.
_OPTIONAL = (
    "batch_effects",
    "metadata",
    "reference_mapping",
    "trajectory",
    "samples",
    "proteins",
    "prediction",
)
_EMBEDDED = ("neighbors", "clusters", "latent", "umap", "umap_3d")
# Tables by cell or gene that `analysed` takes up, by the argument of `join_analysed`.
_ANALYSED = {
    "cell_cycle": "cell_cycle",
    "cell_types": "cell_types",
    "marker_cell_types": "marker_cell_types",
    "mapped_cell_types": "mapped_cell_types",
    "annotations": "annotations",
    "trajectory": "trajectory",
    "sample_density_ratios": "sample_density_ratios",
    "protein_expression": "protein_expression",
    "genes_batch": "batch_genes",
    **{
        f"table_{name}": name
        for name in (
            "annotation_by_type",
            "label_agreement",
            "cluster_names",
            "factor_associations",
            "batch_effects",
            "batch_variance",
            "metadata_associations",
            "composition_tests",
            "sample_effects",
            "sample_abundance",
            "protein_markers",
            "protein_imputation",
            "prediction_scores",
            "trajectory_agreement",
            "trajectory_time",
            "trajectory_stability",
            "trend_tests",
            "fate_drivers",
        )
    },
}


def register_pipelines() -> dict[str, Pipeline]:
    """One pipeline a capability, and ``__default__``: all of them."""
    graph = study_graph(CurrentStudy.parameters or _parameters_without_session())
    pipelines = {
        "preparation": preparation.create_pipeline(),
        "training": _per_model(graph, _training),
        "embedding": _per_model(graph, _embedding) + _per_baseline(graph, _baseline_embedding),
        "clustering": _per_model(graph, _clustering),
        "de": _on_primary(graph, de.create_pipeline(), ["fitted", "clusters"]),
        "imputation": _on_primary(
            graph, imputation.create_pipeline(counterfactual=graph.counterfactual), ["fitted", "umap"]
        ),
        "evaluation": _per_model(graph, _evaluation) + _per_baseline(graph, _baseline_evaluation),
        "comparison": comparison.create_pipeline(graph.embeddings),
        "annotation": _annotation(graph),
        "factors": _factors(graph),
        "batch_effects": _on_primary(graph, batch_effects.create_pipeline(), ["fitted", "latent"]),
        "metadata": _on_primary(graph, metadata.create_pipeline(), ["latent", "umap", "clusters"]),
        "trajectory": _trajectory(graph),
        "samples": _samples(graph),
        "proteins": _proteins(graph),
        "prediction": prediction.create_pipeline(samples=graph.has_samples),
        "reference_mapping": preparation.create_pipeline() + reference_mapping.create_pipeline(),
    }
    optional = {"annotation": bool(graph.analyses & {"label_transfer", "marker_naming"})}
    optional |= {name: name in graph.analyses for name in _OPTIONAL}
    default = [pipeline for name, pipeline in pipelines.items() if optional.get(name, True)]
    available = {output for pipeline in default for output in pipeline.all_outputs()}
    pipelines["reporting"] = _reporting(graph, available)
    return {"__default__": reduce(add, [*default, pipelines["reporting"]]), **pipelines}


def _parameters_without_session() -> dict:
    project = find_kedro_project(Path.cwd()) or Path(__file__).resolve().parents[2]
    return load_parameters(project, os.environ.get("KEDRO_ENV"))


def _per_model(graph: StudyGraph, copy: Callable[[StudyGraph, str], Pipeline]) -> Pipeline:
    return reduce(add, (copy(graph, name) for name in graph.models))


def _per_baseline(graph: StudyGraph, copy: Callable[[str], Pipeline]) -> Pipeline:
    return reduce(add, (copy(name) for name in graph.baselines), Pipeline([]))


def _copy(template: Pipeline, namespace: str, **mapped: str) -> Pipeline:
    """Copy a template into a namespace; what all models share keeps its name."""
    free = template.inputs()
    inputs = {name: name for name in (*_SHARED, "pca.latent") if name in free} | mapped
    parameters = {
        f"params:{name}": f"params:{name}" for name in _STUDY_PARAMETERS if f"params:{name}" in free
    }
    if "params:spec" in free:
        parameters["params:spec"] = f"params:models.{namespace}"
    return Pipeline(
        template,
        namespace=namespace,
        inputs=inputs,
        parameters=parameters,
        prefix_datasets_with_namespace=True,
    )


def _training(graph: StudyGraph, name: str) -> Pipeline:
    start = graph.models[name].init_from
    if start is None:
        return _copy(training.create_pipeline(), name)
    return _copy(training.create_pipeline(initialised=True), name, initial=f"{start}.fitted")


def _embedding(graph: StudyGraph, name: str) -> Pipeline:
    return _copy(embedding.create_pipeline(), name)


def _baseline_embedding(name: str) -> Pipeline:
    return _copy(embedding.create_pipeline(latent_of=name), name)


def _clustering(graph: StudyGraph, name: str) -> Pipeline:
    return _copy(clustering.create_pipeline(), name)


def _evaluation(graph: StudyGraph, name: str) -> Pipeline:
    return _copy(evaluation.create_pipeline(), name)


def _baseline_evaluation(name: str) -> Pipeline:
    return _copy(evaluation.create_baseline_pipeline(), name)


def _annotation(graph: StudyGraph) -> Pipeline:
    markers = "marker_naming" in graph.analyses
    labels = "label_transfer" in graph.analyses or not markers  # alone, its first node says what is missing
    template = annotation.create_pipeline(labels=labels, markers=markers)
    return _on_primary(graph, template, ["fitted", "latent", "clusters", "umap"])


def _factors(graph: StudyGraph) -> Pipeline:
    with_loadings = [name for name, spec in graph.models.items() if "loadings" in spec.can]
    gathered = factors.create_pipeline(list(graph.models), with_loadings)
    return gathered + _per_model(graph, _model_factors)


def _model_factors(graph: StudyGraph, name: str) -> Pipeline:
    return _copy(factors.create_model_pipeline(loadings="loadings" in graph.models[name].can), name)


def _trajectory(graph: StudyGraph) -> Pipeline:
    options = graph.trajectory
    spec = f"params:models.{graph.primary}"
    template = trajectory.create_pipeline(
        graph.representations, spec, timed=options.time_key is not None, monocle_r=options.monocle_r
    )
    used = [*_EMBEDDED, *trajectory.OF_REPRESENTATION]
    copies = (_representation(graph, name) for name in graph.representations)
    return reduce(add, copies, _on_primary(graph, template, used))


def _samples(graph: StudyGraph) -> Pipeline:
    """On the model that compares samples; without one, its first node says what is missing."""
    model = graph.first_with("sample_distances") or graph.primary
    return _on_model(samples.create_pipeline(), model, outputs={"latent_z": f"{model}.latent_z"})


def _proteins(graph: StudyGraph) -> Pipeline:
    """On the model of proteins; without one, its first node says what is missing."""
    model = graph.first_with("proteins") or graph.primary
    return _on_model(proteins.create_pipeline(), model, parameters={"params:spec": f"params:models.{model}"})


def _on_model(template: Pipeline, model: str, **renamed: Any) -> Pipeline:
    """Connect a template to a model's fitted model, clusters and UMAP."""
    used = [name for name in ("fitted", "clusters", "umap") if name in template.inputs()]
    return Pipeline(template, inputs={name: f"{model}.{name}" for name in used}, **renamed)


def _representation(graph: StudyGraph, name: str) -> Pipeline:
    like = None if name in graph.models else f"{graph.primary}.landmarks"
    return trajectory.create_representation_pipeline(name, landmarks_like=like)


def _on_primary(graph: StudyGraph, template: Pipeline, datasets: Iterable[str]) -> Pipeline:
    """Connect a template to the primary model's datasets."""
    used = [name for name in datasets if name in template.inputs()]
    return Pipeline(template, inputs={name: f"{graph.primary}.{name}" for name in used})


def _reporting(graph: StudyGraph, available: set[str]) -> Pipeline:
    contents = report_contents(available, graph.primary, list(graph.models))
    tables = {argument: dataset for argument, dataset in _ANALYSED.items() if dataset in available}
    tables |= {
        f"loadings_{name}": f"{name}.loadings" for name in graph.models if f"{name}.loadings" in available
    }
    template = reporting.create_pipeline(_latents(graph) | tables, contents)
    return _on_primary(graph, template, ["umap", "umap_3d", "clusters", "neighbors", "training_summary"])


def _latents(graph: StudyGraph) -> dict[str, str]:
    """The obsm key of every latent; the family's own name goes to the primary model, or to the first of its family."""
    keys: dict[str, str] = {}
    for name in sorted(graph.models, key=lambda model: model != graph.primary):
        family_key = graph.models[name].obsm_key
        keys[family_key if family_key not in keys else f"X_{name}"] = f"{name}.latent"
    compared = graph.first_with("sample_distances")
    if compared:
        keys["X_mrVI_z"] = f"{compared}.latent_z"
    return keys | {f"X_{name}": f"{name}.latent" for name in graph.baselines}
