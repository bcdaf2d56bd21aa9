"""Cells that a model has never seen, in its latent space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.models.saved import SavedModel
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.serving.cells import ModelInput, cells_of_model, describe_input, latent_names

if TYPE_CHECKING:
    from anndata import AnnData

MAX_MISSING_GENES = 0.05


@dataclass(frozen=True)
class Embedder:
    """Embeds new cells by the encoder of a saved model, without training anything.

    A batch is asked for only where the model was fitted with ``encode_covariates: true``: otherwise its encoder sees
    the genes alone, and cells of a batch that it has never seen are embedded like any others.

    Attributes
    ----------
    model
        Saved here or by scvi-tools.
    accelerator
        ``auto``, ``cpu``, ``gpu`` or ``mps``.
    """

    model: SavedModel
    accelerator: str = "cpu"

    @classmethod
    def from_folder(cls, folder: str | Path, accelerator: str = "cpu") -> Embedder:
        """Of a folder with scvi-tools' ``model.pt``; nothing in the file is executed."""
        return cls(SavedModel(Path(folder)), accelerator)

    @cached_property
    def needs(self) -> ModelInput:
        """Genes, obs columns and proteins that cells must have."""
        return describe_input(self.model)

    def embed(
        self, cells: AnnData | pd.DataFrame, max_missing_genes: float = MAX_MISSING_GENES
    ) -> pd.DataFrame:
        """Posterior mean of the latent of every cell, as ``get_latent_representation`` gives it.

        Parameters
        ----------
        cells
            Raw counts: AnnData, or a table of cells × genes; see :func:`.cells.cells_of_model`.
        max_missing_genes
            Largest share of the model's genes that may be missing and count as zero.

        Returns
        -------
        One row a cell in the order given, columns ``latent_1``, …

        Raises
        ------
        InputError
            The cells are not what the model needs; the message says what to do.
        """
        adapted = cells_of_model(cells, self.needs, max_missing_genes)
        with quiet():
            latent = self.model.attach(adapted, self.accelerator).get_latent_representation()
        index = cells.index if isinstance(cells, pd.DataFrame) else cells.obs_names
        return pd.DataFrame(np.asarray(latent, dtype=np.float64), index, latent_names(self.model))
