"""``CheckpointDataset`` hands a node the place where it may keep the state of unfinished work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from scvi_downstream.models.checkpoints import CheckpointStore


class CheckpointDataset(AbstractDataset):
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

    def __init__(self, *, filepath: str | os.PathLike, metadata: dict[str, Any] | None = None) -> None:
        """Point to a folder.

        Parameters
        ----------
        filepath
            Folder of the checkpoint; made when the first one is written.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

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
