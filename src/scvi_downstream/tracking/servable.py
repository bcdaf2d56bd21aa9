"""A saved model as a folder that MLflow loads and serves, without any code in it."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from scvi_downstream.errors import InputError
from scvi_downstream.models.plain_data import MODEL_FILE
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.serving import Embedder, describe_input
from scvi_downstream.serving.cells import PROTEIN_PREFIX
from scvi_downstream.serving.embedder import MAX_MISSING_GENES

if TYPE_CHECKING:
    from anndata import AnnData
    from mlflow.models import ModelSignature

EXAMPLE_CELLS = 3
_LOADER = "scvi_downstream.tracking.pyfunc"
_FLAVOUR = "python_function"
# What reading a model back and embedding cells imports.
_SERVING_PACKAGES = (
    "scvi-downstream",
    "scvi-tools",
    "torch",
    "anndata",
    "numpy",
    "pandas",
    "scipy",
    "mlflow",
)


def write_servable(
    target: Path,
    model: SavedModel,
    counts_example: AnnData | None = None,
    *,
    run_id: str | None = None,
    model_id: str | None = None,
) -> None:
    """Write a folder that ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` take.

    Parameters
    ----------
    target
        Folder that does not exist yet.
    model
        Its ``model.pt`` is copied, and nothing that lies beside it.
    counts_example
        Of which the first cells are the input example; ``None``: there is none.
    run_id, model_id
        To be named in the file ``MLmodel``.
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
            input_example=None if counts_example is None else example_cells(model, counts_example),
            pip_requirements=requirements(),
            metadata=_about(model),
            model_config={"accelerator": "cpu"},
            uv_project_path=no_project,  # else MLflow copies the lock file of the current folder
        )


def open_servable(folder: Path) -> Embedder:
    """Open a folder of :func:`write_servable`; nothing is imported or executed that the folder names.

    Raises
    ------
    InputError
        The folder is something else.
    """
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


def example_cells(model: SavedModel, counts: AnnData) -> pd.DataFrame:
    """The first cells of the study as a table that the model takes, without their names.

    Parameters
    ----------
    model
        Whose genes and obs columns are taken.
    counts
        Of the study.
    """
    needs = describe_input(model)
    few = counts[:EXAMPLE_CELLS, needs.genes]
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
    return [f"{package}=={re.sub(r'[+].*', '', version(package))}" for package in _SERVING_PACKAGES]


def _signature(model: SavedModel) -> ModelSignature:
    """Outputs and parameters.

    Inputs are left to the embedder: MLflow takes no AnnData where a model declares columns, and refuses integers
    for columns of floats and the reverse, while counts come as both.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    outputs = Schema([ColSpec(DataType.double, name) for name in Embedder(model).latent_names])
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
