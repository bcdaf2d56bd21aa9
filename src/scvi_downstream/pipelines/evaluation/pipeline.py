"""How well a model describes cells that it has not seen: a template, copied per model."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import copied, per_baseline, per_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.evaluation.nodes import (
    collect_baseline_scores,
    collect_scores,
    collect_trial_scores,
    evaluate_likelihood,
    score_integration,
)


def template() -> Pipeline:
    """Fitted ─► likelihood; latent, neighbors ─► integration, score_draws; all ─► scores."""
    return Pipeline(
        [
            _likelihood(),
            _integration(),
            Node(
                collect_scores,
                ["training_summary", "likelihood", "cluster_agreement", "integration"],
                "scores",
                name="collect_scores",
            ),
        ],
        tags="evaluation",
    )


def trial_template() -> Pipeline:
    """As :func:`template`, for a trial, which is not clustered."""
    return Pipeline(
        [
            _likelihood(),
            _integration(),
            Node(
                collect_trial_scores,
                ["training_summary", "likelihood", "integration"],
                "scores",
                name="collect_trial_scores",
            ),
        ],
        tags="evaluation",
    )


def baseline_template() -> Pipeline:
    """Latent, neighbors ─► integration, score_draws ─► scores, for an embedding without a likelihood."""
    return Pipeline(
        [
            _integration(),
            Node(
                collect_baseline_scores,
                ["training_summary", "integration"],
                "scores",
                name="collect_baseline_scores",
            ),
        ],
        tags="evaluation",
    )


def _likelihood() -> Node:
    return Node(
        evaluate_likelihood,
        ["fitted", "counts", "params:evaluation", "params:seed", "params:accelerator"],
        ["likelihood", "cell_likelihood"],
        name="evaluate_likelihood",
    )


def _integration() -> Node:
    return Node(
        score_integration,
        ["latent", "neighbors", "counts", "pca.latent", "params:keys", "params:comparison", "params:seed"],
        ["integration", "score_draws"],
        name="score_integration",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Scores of every model and baseline."""
    of_models = per_model(study, lambda _, name: copied(template(), name))
    return of_models + per_baseline(study, lambda name: copied(baseline_template(), name))
