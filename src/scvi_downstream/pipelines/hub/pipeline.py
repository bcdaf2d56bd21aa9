"""One fitted model with its card as a folder for scvi-hub."""

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import on_model, step
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.hub.nodes import build_hub_export

_SUMMARIES = ("fitted", "counts", "training_summary", "preparation_summary")
_PARAMETERS = {"keys": "params:keys", "options": "params:hub", "study": "params:study", "seed": "params:seed"}


def template(*, compared: bool = True) -> Pipeline:
    """fitted, counts, summaries, leaderboard ─► hub.

    Without ``compared`` the card has the scores of the model's own evaluation instead of the leaderboard's, which has
    intervals and says which model is the champion.
    """
    scored = ("leaderboard", "champion") if compared else ("scores",)
    inputs = {name: name for name in (*_SUMMARIES, *scored)}
    inputs |= _PARAMETERS | {"accelerator": "params:accelerator"}
    return Pipeline([step(build_hub_export, inputs, "hub")], tags="hub")


def create_pipeline(study: Study) -> Pipeline:
    """Of the model that is to be exported, which is the primary one unless another is named.

    Raises
    ------
    InputError
        A model that is not in the study.
    """
    model = study.model(study.options["hub"].model or study.primary, "hub.model")
    return on_model(template(), model, ["fitted", "training_summary"])
