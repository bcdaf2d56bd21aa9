"""Pipelines that help to choose a model: each brings along, from the counts on, all that it needs."""

from __future__ import annotations

from collections.abc import Mapping

from kedro.pipeline import Pipeline

from scvi_downstream import tags
from scvi_downstream.graph import StudyGraph
from scvi_downstream.namespaces import copied, joined, trial_of
from scvi_downstream.pipelines import cross_validation, search, stability

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
