"""One scvi-tools model fitted on the counts: a template, copied into a namespace per model."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import copied, per_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.training.nodes import train_model
from scvi_downstream.pipelines.training.plots import plot_history

_OPTIONS = ["params:spec", "params:keys", "params:seed", "params:accelerator"]


def template(*, initialised: bool = False) -> Pipeline:
    """Counts ─► train_model ─► fitted, history, training_summary.

    With ``initialised`` the weights start from the fitted model in ``initial``.
    """
    inputs = ["counts", *_OPTIONS, "params:checkpoint", *(["initial"] if initialised else [])]
    fitted = ["history", "training_summary"]
    return Pipeline(
        [step(train_model, inputs, ["fitted", *fitted]), step(plot_history, fitted, "history_figure")],
        tags="training",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Training of every model."""
    return per_model(study, _training_of)


def _training_of(study: Study, name: str) -> Pipeline:
    start = study.models[name].init_from
    return copied(template(initialised=start is not None), name, initial=f"{start}.fitted")
