"""``ScviModelDataset`` saves scvi-tools models and loads them without running code from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import DatasetError

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, JSONPreview
from scvi_downstream.datasets.whole_files import LocalFile, WholeFile
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.saved import SavedModel, refusing
from scvi_downstream.runtime.slow_types import BaseModelClass
from scvi_downstream.upstream import scvi_model_dataset


class ScviModelDataset(WholeFile, scvi_model_dataset.ScviModelDataset):
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

    KIND = "a model of scvi-tools"

    def _read(self) -> SavedModel:
        with refusing():
            super()._read()
        return SavedModel(Path(self._get_load_path()))

    def _write(self, data: BaseModelClass) -> None:
        from scvi_downstream.models.scvi_internals import named_by_weights

        with named_by_weights(data), refusing():
            super()._write(data)

    def preview(self) -> JSONPreview:
        """Family, number of genes, settings and set-up of the model."""
        return super().preview() if self._exists() else NO_PREVIEW


class CheckpointDataset(LocalFile):
    """``CheckpointDataset`` loads a handle of a folder, whether or not there is a checkpoint in it.

    Nodes write checkpoints while they run, before Kedro saves their outputs; so this is an input only.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        checkpoint:
          type: scvi_downstream.datasets.CheckpointDataset
          filepath: data/06_models/scvi/checkpoint

    Using the Python API:

    >>> from scvi_downstream.datasets import CheckpointDataset
    >>> store = CheckpointDataset(filepath=tmp_path / "checkpoint").load()
    >>> store.write(lambda path: path.write_text("epoch 7"), identity="counts 1f3a, seed 0")
    >>> store.find("counts 1f3a, seed 0").read_text()
    'epoch 7'
    >>> store.find("counts 1f3a, seed 1") is None
    True
    """

    def load(self) -> CheckpointStore:
        """Give the handle; nothing is read."""
        return CheckpointStore(self._filepath)

    def save(self, data: Any) -> NoReturn:
        """Refuse: nodes write checkpoints through the handle that ``load`` gives."""
        raise DatasetError(
            f"{self._filepath} cannot be a node's output; take it as an input and call its write()"
        )

    def fingerprint(self) -> str:
        """The same whatever is in the folder: a checkpoint changes how long a node takes, not what it makes."""
        return "checkpoint"

    def _exists(self) -> bool:
        return True
