"""One fitted model with its card as a folder for scvi-hub."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.hub.nodes import build_hub_export


def create_pipeline(*, compared: bool = True) -> Pipeline:
    """fitted, counts, summaries, leaderboard ─► hub.

    Without ``compared`` the card has the scores of the model's own evaluation instead of the leaderboard's, which has
    intervals and says which model is the champion.
    """
    inputs = {
        "fitted": "fitted",
        "counts": "counts",
        "training_summary": "training_summary",
        "preparation_summary": "preparation_summary",
        "keys": "params:keys",
        "options": "params:hub",
        "study": "params:study",
        "seed": "params:seed",
        "accelerator": "params:accelerator",
    }
    scored = {"leaderboard": "leaderboard", "champion": "champion"} if compared else {"scores": "scores"}
    return Pipeline(
        [Node(build_hub_export, inputs | scored, "hub", name="build_hub_export")],
        tags="hub",
    )
