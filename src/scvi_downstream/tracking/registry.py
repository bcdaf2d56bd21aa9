"""The champion in MLflow's model registry, and the way back that runs no code from a stored model."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scvi_downstream.errors import InputError
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.serving import Embedder
from scvi_downstream.tracking.servable import open_servable, write_servable

if TYPE_CHECKING:
    from anndata import AnnData
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
_LONGEST_TEXT = 5000
_VERSIONS_TAG = "mlflow.modelVersions"


def register_champion(
    client: MlflowClient,
    run_id: str,
    name: str,
    folder: Path,
    description: str,
    scores: Mapping[str, Any],
    counts_example: AnnData | None = None,
) -> str:
    """Register a saved model as a servable version of ``name`` with the alias ``champion``.

    Parameters
    ----------
    client
        Of the tracking store and registry.
    run_id
        Run that the model belongs to: the model's own, or the study's.
    name
        Of the registered model: the study.
    folder
        Of the model as scvi-tools saved it.
    description
        Why it is the champion.
    scores
        Numbers become metrics of the model, all become tags of the version.
    counts_example
        Counts of the study, of which the first cells are kept with the model, without their names, as an example of
        what it takes; ``None``: no one's counts are kept.

    Returns
    -------
    The version.
    """
    from mlflow.entities import LoggedModelOutput

    model = SavedModel(folder)
    tags = {"family": model.family, **_as_tags(scores)}
    logged = client.create_logged_model(
        client.get_run(run_id).info.experiment_id,
        name=CHAMPION,
        source_run_id=run_id,
        tags=tags,
        params={key: str(value) for key, value in model.settings.items()},
    )
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    try:
        with tempfile.TemporaryDirectory() as temporary:
            target = Path(temporary) / "model"
            write_servable(target, model, counts_example, run_id=run_id, model_id=logged.model_id)
            client.log_model_artifacts(logged.model_id, str(target))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    _log_scores(client, run_id, logged.model_id, scores)
    _create_registered_model(client, name)
    made = client.create_model_version(
        name,
        logged.artifact_location,
        run_id=run_id,
        tags=tags,
        description=description[:_LONGEST_TEXT],
        model_id=logged.model_id,
    )
    _link_version(client, logged.model_id, made)
    client.set_registered_model_alias(name, CHAMPION, made.version)
    return str(made.version)


def lacks_champion(client: MlflowClient, name: str) -> bool:
    """Whether no version of ``name`` has the alias ``champion``."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        return True
    return False


def load_champion(uri: str) -> Embedder:
    """Open a registered model without running anything that it holds.

    ``mlflow.pyfunc.load_model`` does what a stored model says: it unpickles objects and imports modules that come with
    it. This opens models registered by this project, reads their weights as plain data, and refuses all others.

    Parameters
    ----------
    uri
        ``models:/<study>@champion``, ``models:/<study>/<version>``, ``runs:/…`` or a folder. Where the store is, says
        ``MLFLOW_TRACKING_URI`` or ``mlflow.set_tracking_uri``.

    Raises
    ------
    InputError
        The model is not there, was not registered by this project, or brings code along.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    if Path(uri).is_dir():
        return open_servable(Path(uri))
    try:
        folder = mlflow.artifacts.download_artifacts(uri)
    except MlflowException as error:
        raise InputError(
            f"there is no model '{uri}' in {mlflow.get_tracking_uri()} ({error.message}); run the study, or set "
            "MLFLOW_TRACKING_URI to the store that holds it"
        ) from error
    return open_servable(Path(folder))


def _as_tags(scores: Mapping[str, Any]) -> dict[str, str]:
    numbers = {name: f"{value:.6g}" for name, value in _numbers(scores).items()}
    words = {
        name: value[:_LONGEST_TEXT] for name, value in scores.items() if isinstance(value, str) and value
    }
    return words | numbers


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in scores.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _log_scores(client: MlflowClient, run_id: str, model_id: str, scores: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0, model_id=model_id) for name, value in _numbers(scores).items()]
    if metrics:
        client.log_batch(run_id, metrics=metrics)


def _link_version(client: MlflowClient, model_id: str, made: ModelVersion) -> None:
    """Let the model's page name its version; a tracking server has done so, a database has not."""
    if _VERSIONS_TAG not in client.get_logged_model(model_id).tags:
        named = [{"name": made.name, "version": made.version}]
        client.set_logged_model_tags(model_id, {_VERSIONS_TAG: json.dumps(named)})


def _create_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
