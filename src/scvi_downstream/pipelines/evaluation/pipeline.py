"""How well a model describes cells that it has not seen: a template, copied per model."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import copied, per_baseline, per_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.evaluation.nodes import collect_scores, evaluate_likelihood, score_integration

_FITTED = ["fitted", "counts", "params:evaluation", "params:seed", "params:accelerator"]
_EMBEDDED = ["latent", "neighbors", "counts", "pca.latent", "params:keys", "params:comparison", "params:seed"]


def template() -> Pipeline:
    """Fitted ─► likelihood; latent, neighbors ─► integration, score_draws; all ─► scores."""
    return _scored("collect_scores", "likelihood", "cluster_agreement")


def trial_template() -> Pipeline:
    """As :func:`template`, for a trial, which is not clustered."""
    return _scored("collect_trial_scores", "likelihood")


def _scored(name: str, *further: str) -> Pipeline:
    """What every embedding is judged by, and ``further`` that of a fitted or clustered model."""
    collected = {each: each for each in ("training_summary", "integration", *further)}
    nodes = [
        step(score_integration, _EMBEDDED, ["integration", "score_draws"]),
        Node(collect_scores, collected, "scores", name=name),
    ]
    if "likelihood" in further:
        held_out = ["likelihood", "cell_likelihood"]
        nodes.append(step(evaluate_likelihood, _FITTED, held_out))
    return Pipeline(nodes, tags="evaluation")


def create_pipeline(study: Study) -> Pipeline:
    """Scores of every model and baseline."""
    of_models = per_model(study, lambda _, name: copied(template(), name))
    of_baseline = _scored("collect_baseline_scores")  # an embedding without a likelihood
    return of_models + per_baseline(study, lambda name: copied(of_baseline, name))
