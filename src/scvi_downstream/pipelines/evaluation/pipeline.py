"""How well a model describes cells that it has not seen: a template, copied per model."""

from kedro.pipeline import Node, Pipeline

from .nodes import collect_baseline_scores, collect_scores, evaluate_likelihood, score_integration


def create_pipeline() -> Pipeline:
    """Fitted ─► likelihood; latent, neighbors ─► integration; both ─► scores."""
    return Pipeline(
        [
            Node(
                evaluate_likelihood,
                ["fitted", "counts", "params:evaluation", "params:seed", "params:accelerator"],
                "likelihood",
                name="evaluate_likelihood",
            ),
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


def create_baseline_pipeline() -> Pipeline:
    """latent, neighbors ─► integration ─► scores, for an embedding without a likelihood."""
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


def _integration() -> Node:
    return Node(
        score_integration,
        ["latent", "neighbors", "counts", "pca.latent", "params:keys", "params:comparison", "params:seed"],
        "integration",
        name="score_integration",
    )
