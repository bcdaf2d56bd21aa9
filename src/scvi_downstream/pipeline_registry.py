"""Named pipelines of the study: the templates, copied per model, and what joins them."""

from __future__ import annotations

import os
from pathlib import Path

from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from scvi_downstream.pipelines import copies as model_choice
from scvi_downstream.pipelines.annotation import pipeline as annotation
from scvi_downstream.pipelines.batch_effects import pipeline as batch_effects
from scvi_downstream.pipelines.compare_runs import pipeline as compare_runs
from scvi_downstream.pipelines.comparison import pipeline as comparison
from scvi_downstream.pipelines.copies import (
    baseline_embedding,
    baseline_evaluation,
    clustering_of,
    copied,
    embedding_of,
    evaluation_of,
    joined,
    on_model,
    on_primary,
    per_baseline,
    per_model,
    training_of,
)
from scvi_downstream.pipelines.de import pipeline as de
from scvi_downstream.pipelines.factors import pipeline as factors
from scvi_downstream.pipelines.hub import pipeline as hub
from scvi_downstream.pipelines.imputation import pipeline as imputation
from scvi_downstream.pipelines.metadata import pipeline as metadata
from scvi_downstream.pipelines.prediction import pipeline as prediction
from scvi_downstream.pipelines.predictive_checks import pipeline as predictive_checks
from scvi_downstream.pipelines.preparation import pipeline as preparation
from scvi_downstream.pipelines.proteins import pipeline as proteins
from scvi_downstream.pipelines.reference_mapping import pipeline as reference_mapping
from scvi_downstream.pipelines.reporting import pipeline as reporting
from scvi_downstream.pipelines.reporting.contents import report_contents
from scvi_downstream.pipelines.samples import pipeline as samples
from scvi_downstream.pipelines.trajectory import pipeline as trajectory
from scvi_downstream.study.current import CurrentStudy
from scvi_downstream.study.graph import StudyGraph, study_graph
from scvi_downstream.study.loader import load_parameters

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
# Run only when asked for by name.
_BY_NAME = ("export_hub", "compare_runs")
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
        "training": per_model(graph, training_of),
        "embedding": per_model(graph, embedding_of) + per_baseline(graph, baseline_embedding),
        "clustering": per_model(graph, clustering_of),
        "de": on_primary(graph, de.create_pipeline(), ["fitted", "clusters"]),
        "imputation": on_primary(
            graph, imputation.create_pipeline(counterfactual=graph.counterfactual), ["fitted", "umap"]
        ),
        "evaluation": per_model(graph, evaluation_of) + per_baseline(graph, baseline_evaluation),
        "comparison": comparison.create_pipeline(
            graph.compared, graph.likelihoods, batches="batch_effects" in graph.analyses
        ),
        "predictive_checks": on_primary(graph, predictive_checks.create_pipeline(), ["fitted"]),
        "annotation": _annotation(graph),
        "factors": _factors(graph),
        "batch_effects": on_primary(graph, batch_effects.create_pipeline(), ["fitted", "latent"]),
        "metadata": on_primary(graph, metadata.create_pipeline(), ["latent", "umap", "clusters"]),
        "trajectory": _trajectory(graph),
        "samples": _samples(graph),
        "proteins": _proteins(graph),
        "prediction": prediction.create_pipeline(samples=graph.has_samples),
        "reference_mapping": preparation.create_pipeline() + reference_mapping.create_pipeline(),
    }
    optional = {"annotation": bool(graph.analyses & {"label_transfer", "marker_naming"})}
    optional |= {name: name in graph.analyses for name in _OPTIONAL}
    pipelines |= {
        "sweep": model_choice.sweep(graph, pipelines),
        "stability": model_choice.seeds(graph, pipelines),
        "cross_validation": model_choice.validation(graph, pipelines),
        "search": model_choice.adaptive(pipelines),
        "export_hub": _hub(graph),
        "compare_runs": compare_runs.create_pipeline(),
    }
    optional |= {"sweep": bool(graph.swept), "stability": bool(graph.seeds)}
    optional |= {"cross_validation": bool(graph.validated), "search": graph.searched}
    optional |= dict.fromkeys(_BY_NAME, False)
    default = {name for name in pipelines if optional.get(name, True)}
    requested = CurrentStudy.requested & set(pipelines)
    reported = joined(pipelines[name] for name in default | requested).all_outputs()
    if CurrentStudy.is_stored is not None:
        made = joined(pipelines[name] for name in requested).all_outputs()
        reported = {name for name in reported if name in made or CurrentStudy.is_stored(name)}
    pipelines["reporting"] = _reporting(graph, reported)
    everything = joined(pipelines[name] for name in [*sorted(default), "reporting"])
    return {"__default__": everything, **pipelines}


def _parameters_without_session() -> dict:
    project = find_kedro_project(Path.cwd()) or Path(__file__).resolve().parents[2]
    return load_parameters(project, os.environ.get("KEDRO_ENV"))


def _annotation(graph: StudyGraph) -> Pipeline:
    markers = "marker_naming" in graph.analyses
    labels = "label_transfer" in graph.analyses or not markers  # alone, its first node says what is missing
    template = annotation.create_pipeline(labels=labels, markers=markers)
    return on_primary(graph, template, ["fitted", "latent", "clusters", "umap"])


def _factors(graph: StudyGraph) -> Pipeline:
    with_loadings = [name for name, spec in graph.models.items() if "loadings" in spec.can]
    gathered = factors.create_pipeline(list(graph.models), with_loadings)
    return gathered + per_model(graph, _model_factors)


def _model_factors(graph: StudyGraph, name: str) -> Pipeline:
    return copied(factors.create_model_pipeline(loadings="loadings" in graph.models[name].can), name)


def _trajectory(graph: StudyGraph) -> Pipeline:
    options = graph.trajectory
    spec = f"params:models.{graph.primary}"
    template = trajectory.create_pipeline(
        graph.representations, spec, timed=options.time_key is not None, monocle_r=options.monocle_r
    )
    used = [*_EMBEDDED, *trajectory.OF_REPRESENTATION]
    copies = (_representation(graph, name) for name in graph.representations)
    return joined([on_primary(graph, template, used), *copies])


def _samples(graph: StudyGraph) -> Pipeline:
    """On the model that compares samples; without one, its first node says what is missing."""
    model = graph.first_with("sample_distances") or graph.primary
    return on_model(samples.create_pipeline(), model, outputs={"latent_z": f"{model}.latent_z"})


def _proteins(graph: StudyGraph) -> Pipeline:
    """On the model of proteins; without one, its first node says what is missing."""
    model = graph.first_with("proteins") or graph.primary
    return on_model(proteins.create_pipeline(), model, parameters={"params:spec": f"params:models.{model}"})


def _hub(graph: StudyGraph) -> Pipeline:
    """On the model that is to be exported."""
    of_model = {name: f"{graph.exported}.{name}" for name in ("fitted", "training_summary")}
    return Pipeline(hub.create_pipeline(), inputs=of_model)


def _representation(graph: StudyGraph, name: str) -> Pipeline:
    like = None if name in graph.models else f"{graph.primary}.landmarks"
    return trajectory.create_representation_pipeline(name, landmarks_like=like)


def _reporting(graph: StudyGraph, available: set[str]) -> Pipeline:
    contents = report_contents(available, graph.primary, list(graph.models))
    tables = {argument: dataset for argument, dataset in _ANALYSED.items() if dataset in available}
    tables |= {
        f"loadings_{name}": f"{name}.loadings" for name in graph.models if f"{name}.loadings" in available
    }
    latents = {key: dataset for key, dataset in _latents(graph).items() if dataset in available}
    of_primary = ["umap", "umap_3d", "clusters", "neighbors"]
    whole = {f"{graph.primary}.{name}" for name in of_primary} <= available
    undone = {
        topic
        for topic, dataset in reporting.EVIDENCE.items()
        if CurrentStudy.is_stored and dataset.format(primary=graph.primary) not in available
    }
    template = reporting.create_pipeline(latents | tables if whole else None, contents, frozenset(undone))
    return on_primary(graph, template, [*of_primary, "training_summary"])


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
