"""One scvi-tools model fitted on the counts: a template, copied into a namespace per model."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.training.nodes import plot_history, train_model


def create_pipeline(*, initialised: bool = False) -> Pipeline:
    """Counts ─► train_model ─► fitted, history, training_summary.

    With ``initialised`` the weights start from the fitted model in ``initial``.
    """
    inputs = {
        "counts": "counts",
        "spec": "params:spec",
        "keys": "params:keys",
        "seed": "params:seed",
        "accelerator": "params:accelerator",
        "checkpoint": "checkpoint",
    }
    if initialised:
        inputs["initial"] = "initial"
    return Pipeline(
        [
            Node(train_model, inputs, ["fitted", "history", "training_summary"], name="train_model"),
            Node(plot_history, ["history", "training_summary"], "history_figure", name="plot_history"),
        ],
        tags="training",
    )
