"""How well a model describes cells that it has not seen: a template, copied per model."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.evaluation.nodes import (
    collect_baseline_scores,
    collect_scores,
    collect_trial_scores,
    evaluate_likelihood,
    score_integration,
)


def create_pipeline() -> Pipeline:
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


def create_trial_pipeline() -> Pipeline:
    """As :func:`create_pipeline`, for a trial, which is not clustered."""
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


def create_baseline_pipeline() -> Pipeline:
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
