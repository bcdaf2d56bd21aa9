"""Templates copied into the namespaces of models, trials and baselines, or connected to a model's datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import add
from typing import Any

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines import tags
from scvi_downstream.pipelines.clustering import pipeline as clustering
from scvi_downstream.pipelines.cross_validation import pipeline as cross_validation
from scvi_downstream.pipelines.embedding import pipeline as embedding
from scvi_downstream.pipelines.evaluation import pipeline as evaluation
from scvi_downstream.pipelines.search import pipeline as search
from scvi_downstream.pipelines.stability import pipeline as stability
from scvi_downstream.pipelines.training import pipeline as training
from scvi_downstream.study.graph import StudyGraph

_STUDY_PARAMETERS = (
    "keys",
    "seed",
    "accelerator",
    "embedding",
    "clustering",
    "cross_validation",
    "de",
    "imputation",
    "evaluation",
    "comparison",
    "factors",
    "stability",
)
_SHARED = ("counts", "qc_metrics", "covariates")


def joined(pipelines: Iterable[Pipeline]) -> Pipeline:
    """All of them in one."""
    return reduce(add, pipelines, Pipeline([]))


def per_model(graph: StudyGraph, copy: Callable[[StudyGraph, str], Pipeline]) -> Pipeline:
    """``copy`` of every model of the study."""
    return joined(copy(graph, name) for name in graph.models)


def per_baseline(graph: StudyGraph, copy: Callable[[str], Pipeline]) -> Pipeline:
    """``copy`` of every baseline."""
    return joined(copy(name) for name in graph.baselines)


def copied(
    template: Pipeline,
    namespace: str,
    *,
    with_tags: Iterable[str] = (),
    initial_spec: str | None = None,
    **mapped: str,
) -> Pipeline:
    """Copy a template into a namespace; what all models share keeps its name.

    Parameters
    ----------
    template
        Nodes without a namespace.
    namespace
        Model, trial or baseline.
    with_tags
        For all of its nodes.
    initial_spec
        Model whose options are those of the start.
    mapped
        Other inputs and the datasets that stand for them, where they are free.
    """
    free = template.inputs()
    inputs = {name: name for name in (*_SHARED, "pca.latent") if name in free}
    inputs |= {name: dataset for name, dataset in mapped.items() if name in free}
    parameters = {
        f"params:{name}": f"params:{name}" for name in _STUDY_PARAMETERS if f"params:{name}" in free
    }
    if "params:spec" in free:
        parameters["params:spec"] = f"params:models.{namespace}"
    if "params:initial_spec" in free:
        parameters["params:initial_spec"] = f"params:models.{initial_spec}"
    return Pipeline(
        template,
        namespace=namespace,
        inputs=inputs,
        parameters=parameters,
        tags=set(with_tags),
        prefix_datasets_with_namespace=True,
    )


def training_of(graph: StudyGraph, name: str) -> Pipeline:
    """Training of one model."""
    start = graph.models[name].init_from
    if start is None:
        return copied(training.create_pipeline(), name)
    return copied(training.create_pipeline(initialised=True), name, initial=f"{start}.fitted")


def embedding_of(_: StudyGraph, name: str) -> Pipeline:
    """Latent, graph and UMAPs of one model."""
    return copied(embedding.create_pipeline(), name)


def clustering_of(_: StudyGraph, name: str) -> Pipeline:
    """Clusters of one model."""
    return copied(clustering.create_pipeline(), name)


def evaluation_of(_: StudyGraph, name: str) -> Pipeline:
    """Scores of one model."""
    return copied(evaluation.create_pipeline(), name)


def baseline_embedding(name: str) -> Pipeline:
    """Latent, graph and UMAPs of one baseline."""
    return copied(embedding.create_pipeline(latent_of=name), name)


def baseline_evaluation(name: str) -> Pipeline:
    """Scores of one baseline."""
    return copied(evaluation.create_baseline_pipeline(), name)


def trial_of(graph: StudyGraph, name: str) -> Pipeline:
    """All that is done for one trial: training, latent, graph, scores; its failure fails nothing else."""
    start = graph.trials[name].init_from
    fitted = training.create_pipeline(initialised=start is not None).filter(to_outputs=["fitted"])
    template = joined(
        [
            fitted,
            embedding.create_pipeline().filter(to_outputs=["neighbors"]),
            evaluation.create_trial_pipeline(),
        ]
    )
    mapped = {"initial": f"{start}.fitted"} if start else {}
    return copied(template, name, with_tags=[tags.TRIAL], **mapped)


def on_primary(graph: StudyGraph, template: Pipeline, datasets: Iterable[str]) -> Pipeline:
    """Connect a template to the primary model's datasets."""
    used = [name for name in datasets if name in template.inputs()]
    return Pipeline(template, inputs={name: f"{graph.primary}.{name}" for name in used})


def on_model(template: Pipeline, model: str, **renamed: Any) -> Pipeline:
    """Connect a template to a model's fitted model, clusters and UMAP."""
    used = [name for name in ("fitted", "clusters", "umap") if name in template.inputs()]
    return Pipeline(template, inputs={name: f"{model}.{name}" for name in used}, **renamed)


_TO_SCORES = ("preparation", "training", "embedding", "clustering", "evaluation")


def sweep(graph: StudyGraph, pipelines: Mapping[str, Pipeline]) -> Pipeline:
    """All that the board needs: models, baselines and the trials of the sweep."""
    trials = [trial_of(graph, name) for name in graph.swept]
    return _needed([*_TO_SCORES, "comparison"], pipelines, trials, pipelines["comparison"])


def seeds(graph: StudyGraph, pipelines: Mapping[str, Pipeline]) -> Pipeline:
    """Models fitted again with other seeds, and how much depends on these."""
    if not graph.seeds:
        return Pipeline([])
    fits = {model: [model, *trials] for model, trials in graph.seeds.items()}
    mute = [model for model in fits if "differential_expression" not in graph.models[model].can]
    gathered = stability.create_pipeline(fits, without_genes=mute)
    copies = []
    for model, names in fits.items():
        template = stability.create_trial_pipeline(labels=graph.has_labels, genes=model not in mute)
        for name in names:
            own = [] if name == model else [tags.TRIAL]
            copies.append(copied(template, name, with_tags=own, reference_clusters=f"{model}.seed_clusters"))
    trials = [trial_of(graph, name) for names in graph.seeds.values() for name in names]
    return _needed(_TO_SCORES, pipelines, [*copies, *trials, gathered], gathered)


def validation(graph: StudyGraph, pipelines: Mapping[str, Pipeline]) -> Pipeline:
    """Models fitted again without a part of the cells."""
    copies = []
    for model in graph.validated:
        start = graph.models[model].init_from
        template = cross_validation.create_model_pipeline(
            graph.n_folds, batches=model in graph.without_batches, initialised=start is not None
        )
        copies.append(copied(template, model, initial_spec=start))
    made = joined(copies)
    return _needed(["preparation"], pipelines, [made], made)


def adaptive(pipelines: Mapping[str, Pipeline]) -> Pipeline:
    """The search for better options of one model."""
    made = search.create_pipeline()
    return _needed(["preparation", "embedding"], pipelines, [made], made)


def _needed(
    parts: list[str] | tuple[str, ...],
    pipelines: Mapping[str, Pipeline],
    more: list[Pipeline],
    wanted: Pipeline,
) -> Pipeline:
    everything = joined([*(pipelines[name] for name in parts), *more])
    outputs = sorted(wanted.all_outputs())
    return everything.filter(to_outputs=outputs) if outputs else Pipeline([])
