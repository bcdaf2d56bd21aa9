"""The champion in MLflow's model registry, and the way back that runs no code from a stored model."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from scvi_downstream.models.saved import SavedModel
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.numbers import is_number
from scvi_downstream.serving.cells import PROTEIN_PREFIX, describe_input, latent_names
from scvi_downstream.serving.embedder import MAX_MISSING_GENES, Embedder
from scvi_downstream.upstream.saved_model import MODEL_FILE

if TYPE_CHECKING:
    from anndata import AnnData
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature


_EXAMPLE_CELLS = 3
_LOADER = "scvi_downstream.tracking.pyfunc"
_FLAVOUR = "python_function"
# What reading a model back and embedding cells imports.
_SERVING_PACKAGES = (
    "scvi-downstream", "scvi-tools", "torch", "anndata", "numpy", "pandas", "scipy", "mlflow",
)  # fmt: skip


def write_servable(
    target: Path,
    model: SavedModel,
    counts_example: AnnData | None = None,
    *,
    run_id: str | None = None,
    model_id: str | None = None,
) -> None:
    """Write a folder, which does not exist yet, that ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` take.

    Of the model ``model.pt`` is copied, and nothing that lies beside it. The first cells of ``counts_example`` are the
    input example; ``run_id`` and ``model_id`` are named in the file ``MLmodel``.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns where there is no example
        data, no_project = Path(temporary) / "model", Path(temporary) / "none"
        data.mkdir()
        no_project.mkdir()
        shutil.copy2(model.save_dir / f"{model.prefix}{MODEL_FILE}", data / MODEL_FILE)
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=_LOADER,
            data_path=str(data),
            mlflow_model=Model(run_id=run_id, model_uuid=model_id, model_id=model_id),
            signature=_signature(model),
            input_example=None if counts_example is None else _example_cells(model, counts_example),
            pip_requirements=requirements(),
            metadata=_about(model),
            model_config={"accelerator": "cpu"},
            uv_project_path=no_project,  # else MLflow copies the lock file of the current folder
        )


def _open_servable(folder: Path) -> Embedder:
    """Open a folder of :func:`write_servable`; nothing is imported or executed that the folder names."""
    file = folder / "MLmodel"
    try:
        flavours = yaml.safe_load(file.read_text(encoding="utf-8"))["flavors"]
        flavour = dict(flavours[_FLAVOUR])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder} is no model of MLflow that can be served ({error})") from error
    if set(flavours) != {_FLAVOUR} or flavour.get("loader_module") != _LOADER or flavour.get("code"):
        named = flavour.get("loader_module", "unknown")
        raise InputError(
            f"{folder} is not opened: it was not registered by this project (its loader is {named}) or brings code "
            "along, and loading it could run code; where you trust it, use mlflow.pyfunc.load_model"
        )
    data = (folder / str(flavour.get("data"))).resolve()
    if not data.is_relative_to(folder.resolve()):
        raise InputError(f"{folder} is not opened: its data lie elsewhere, in {data}")
    embedder = Embedder.from_folder(data)
    _ = embedder.model.contents  # say now what is wrong with the weights
    return embedder


def _example_cells(model: SavedModel, counts: AnnData) -> pd.DataFrame:
    """The first cells of the study as a table that the model takes, without their names."""
    needs = describe_input(model)
    few = counts[:_EXAMPLE_CELLS, needs.genes]
    values = few.X if isinstance(few.X, np.ndarray) else few.X.toarray()
    table = pd.DataFrame(values.astype(np.int64), columns=needs.genes.to_list())
    for column in needs.columns:
        table[column] = few.obs[column].to_numpy()
    if needs.protein_key:
        proteins = few.obsm[needs.protein_key][list(needs.proteins)]
        table[[f"{PROTEIN_PREFIX}{name}" for name in needs.proteins]] = proteins.to_numpy(np.int64)
    return table


def requirements() -> list[str]:
    """What serving needs, pinned to what is installed, without builds' local versions (``+cpu``)."""
    return [f"{package}=={version(package).partition('+')[0]}" for package in _SERVING_PACKAGES]


def _signature(model: SavedModel) -> ModelSignature:
    """Outputs and parameters.

    Inputs are left to the embedder: MLflow takes no AnnData where a model declares columns, and refuses integers
    for columns of floats and the reverse, while counts come as both.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    outputs = Schema([ColSpec(DataType.double, name) for name in latent_names(model)])
    params = ParamSchema([ParamSpec("max_missing_genes", DataType.double, MAX_MISSING_GENES)])
    return ModelSignature(outputs=outputs, params=params)


def _about(model: SavedModel) -> dict[str, Any]:
    """What the model takes, for people and for clients in other languages; kept in the file ``MLmodel``."""
    needs = describe_input(model)
    return {
        "input": "raw counts, one row a cell, one column a gene by the names in genes, in any order",
        "family": model.family,
        "genes": needs.genes.to_list(),
        "columns": {name: [str(value) for value in known] for name, known in needs.categories.items()},
        "numbers": list(needs.numbers),
        "proteins": [f"{PROTEIN_PREFIX}{name}" for name in needs.proteins],
    }


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
        return _open_servable(Path(uri))
    try:
        folder = mlflow.artifacts.download_artifacts(uri)
    except MlflowException as error:
        raise InputError(
            f"there is no model '{uri}' in {mlflow.get_tracking_uri()} ({error.message}); run the study, or set "
            "MLFLOW_TRACKING_URI to the store that holds it"
        ) from error
    return _open_servable(Path(folder))


def _as_tags(scores: Mapping[str, Any]) -> dict[str, str]:
    numbers = {name: f"{value:.6g}" for name, value in _numbers(scores).items()}
    texts = {name: value for name, value in scores.items() if isinstance(value, str) and value}
    return {name: text[:_LONGEST_TEXT] for name, text in texts.items()} | numbers


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items() if is_number(value) and math.isfinite(value)}


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
