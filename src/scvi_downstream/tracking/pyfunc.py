"""What MLflow loads and serves: the flavour ``python_function`` with this module as its loader, and no pickled code.

MLflow's usual way pickles a Python object, which runs code when it is loaded. Here a stored model is scvi-tools'
``model.pt`` alone, and this installed module reads it as weights and plain data. Stored models name this module as
their loader, so it must not move.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException

from scvi_downstream.models.saved import model_class_of
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.serving.embedder import MAX_MISSING_GENES, Embedder

if TYPE_CHECKING:
    from anndata import AnnData


class RefusedCellsError(MlflowException, InputError):
    """Cells that the model cannot embed, said in a way that MLflow's server hands on to the client."""

    def __init__(self, message: str) -> None:
        MlflowException.__init__(self, message, error_code=INVALID_PARAMETER_VALUE)


class ServedModel:
    """The embedder of a stored model as MLflow calls it."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def predict(
        self, cells: AnnData | pd.DataFrame | Any, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Embed cells: one row each, columns ``latent_1``, …

        ``cells`` are AnnData, a table of cells × genes, or what makes such a table (lists or records by gene);
        ``params`` may name ``max_missing_genes``, the largest share of the model's genes that may be missing.
        """
        most_missing = (params or {}).get("max_missing_genes", MAX_MISSING_GENES)
        try:
            table = pd.DataFrame(cells) if isinstance(cells, list | dict) else cells
            return self._embedder.embed(table, float(most_missing))
        except InputError as error:
            raise RefusedCellsError(str(error)) from error

    def get_raw_model(self) -> Embedder:
        """The embedder itself, as ``PyFuncModel.get_raw_model`` gives it."""
        return self._embedder


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> ServedModel:
    """Open a stored model; MLflow calls this, and ``model_config`` may name the ``accelerator``."""
    embedder = Embedder.from_folder(Path(path), (model_config or {}).get("accelerator", "cpu"))
    model_class_of(embedder.model.family)  # importing scvi-tools now spares the first request
    return ServedModel(embedder)
