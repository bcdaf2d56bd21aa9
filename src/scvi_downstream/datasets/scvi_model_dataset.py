"""``ScviModelDataset`` saves scvi-tools models and loads them without running code from the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from scvi_downstream.atomic import replacing
from scvi_downstream.datasets.json_dataset import plain
from scvi_downstream.datasets.previews import NO_PREVIEW
from scvi_downstream.datasets.reading import require
from scvi_downstream.models.plain_data import read_contents
from scvi_downstream.models.saved import SavedModel

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass


class ScviModelDataset(AbstractDataset):
    """``ScviModelDataset`` keeps a fitted model as scvi-tools' own folder, without the data.

    The folder loads with ``scvi.model.<family>.load(folder, adata=…)``, and folders saved by scvi-tools load
    here. The cells of training, validation and test are kept with the model.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        fitted:
          type: scvi_downstream.datasets.ScviModelDataset
          filepath: data/06_models/scvi/fitted

    Using the Python API:

    >>> from scvi_downstream.datasets import ScviModelDataset
    >>> dataset = ScviModelDataset(filepath=tmp_path / "fitted")
    >>> dataset.save(model)                                     # doctest: +SKIP
    >>> model = dataset.load().attach(counts)                   # doctest: +SKIP
    """

    def __init__(self, *, filepath: str | os.PathLike, metadata: dict[str, Any] | None = None) -> None:
        """Point to a folder.

        Parameters
        ----------
        filepath
            Folder of the model.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

    def load(self) -> SavedModel:
        """Check that the file is a safe, complete model and give its handle."""
        require(self._filepath)
        read_contents(self._filepath)
        return SavedModel(self._filepath)

    def save(self, data: BaseModelClass) -> None:
        """Write the model; one that is there is replaced when the new one is complete."""
        with replacing(self._filepath) as temporary:
            data.save(str(temporary), save_anndata=False, overwrite=True)
            read_contents(temporary)  # never keep what could not be read back

    def _exists(self) -> bool:
        return self._filepath.exists()

    def preview(self) -> JSONPreview:
        """Family, number of genes and settings."""
        if not self._exists():
            return NO_PREVIEW
        model = SavedModel(self._filepath)
        about = {
            "family": model.family,
            "n_genes": len(model.genes),
            "settings": model.settings,
            "setup": model.setup,
        }
        return JSONPreview(json.dumps(plain(about)))
