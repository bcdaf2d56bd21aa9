"""Named pipelines of the study: the templates, copied per model, and what joins them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from pathlib import Path

from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from scvi_downstream.configuration import load_parameters
from scvi_downstream.graph import CurrentStudy, StudyGraph, study_graph
from scvi_downstream.pipelines import (
    clustering,
    comparison,
    de,
    embedding,
    evaluation,
    imputation,
    preparation,
    reporting,
    training,
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
)
_SHARED = ("counts", "qc_metrics")


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
    }
    available = {output for pipeline in pipelines.values() for output in pipeline.all_outputs()}
    pipelines["reporting"] = _reporting(graph, available)
    return {"__default__": reduce(add, pipelines.values()), **pipelines}


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


def _on_primary(graph: StudyGraph, template: Pipeline, datasets: Iterable[str]) -> Pipeline:
    """Connect a template to the primary model's datasets."""
    return Pipeline(template, inputs={name: f"{graph.primary}.{name}" for name in datasets})


def _reporting(graph: StudyGraph, available: set[str]) -> Pipeline:
    contents = report_contents(available, graph.primary, list(graph.models))
    template = reporting.create_pipeline(_latents(graph), contents)
    return _on_primary(graph, template, ["umap", "umap_3d", "clusters", "neighbors", "training_summary"])


def _latents(graph: StudyGraph) -> dict[str, str]:
    """The obsm key of every latent; the family's own name goes to the primary model, or to the first of its family."""
    keys: dict[str, str] = {}
    for name in sorted(graph.models, key=lambda model: model != graph.primary):
        family_key = graph.models[name].obsm_key
        keys[family_key if family_key not in keys else f"X_{name}"] = f"{name}.latent"
    return keys | {f"X_{name}": f"{name}.latent" for name in graph.baselines}
