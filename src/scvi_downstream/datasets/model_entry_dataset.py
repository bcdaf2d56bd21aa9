"""``ModelEntryDataset`` keeps entries of ``models:`` and puts them into a configuration environment."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import yaml
from kedro.utils import find_kedro_project

from scvi_downstream.datasets.json_dataset import SummarizedFile

logger = logging.getLogger(__name__)
HEADER = "# Written by a search, and written anew by the next one; to keep an entry, move it to a file of your own.\n"
FILE_NAME = "parameters_search_best.yml"


class ModelEntryDataset(SummarizedFile):
    """``ModelEntryDataset`` saves entries of ``models:`` as YAML.

    With ``environment`` the same file also becomes part of a Kedro environment, so that ``kedro run --env <its name>``
    has these models besides those of ``base``. Only a file that was written here is replaced there; Kedro joins the
    entries with those of the environment's other files, and refuses the same entry in two of them.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        search_best:
          type: scvi_downstream.datasets.ModelEntryDataset
          filepath: data/08_reporting/pbmc68k/search_best.yml
          environment: conf/pbmc68k

    Using the Python API:

    >>> from scvi_downstream.datasets import ModelEntryDataset
    >>> dataset = ModelEntryDataset(filepath=tmp_path / "search_best.yml")
    >>> dataset.save({"scvi_best": {"family": "SCVI", "n_latent": 20}})
    >>> dataset.load()["scvi_best"]["n_latent"]
    20
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        environment: str | os.PathLike | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Point to a file.

        Parameters
        ----------
        filepath
            The ``.yml`` file.
        environment
            Folder of a Kedro environment, from the project's folder; ``None``, or where there is no configuration: the
            file alone.
        metadata
            Ignored by Kedro, used by plugins.
        """
        super().__init__(filepath=filepath, metadata=metadata)
        self._environment = None if environment is None else Path(environment)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "environment": self._environment}

    KIND = "YAML"

    def _read(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self._filepath.read_text(encoding="utf-8"))["models"])

    def _write(self, data: dict[str, Any]) -> None:
        text = HEADER + yaml.safe_dump({"models": data}, sort_keys=False, allow_unicode=True)
        self._filepath.write_text(text, encoding="utf-8")

    def save(self, data: dict[str, Any]) -> None:
        """Write the file, and its copy in the environment."""
        super().save(data)
        if self._environment is None:
            return
        environment = (find_kedro_project(Path.cwd()) or Path.cwd()) / self._environment
        if not environment.parent.is_dir():
            return
        copy = environment / FILE_NAME
        if copy.exists() and not copy.read_text(encoding="utf-8").startswith(HEADER):
            logger.warning(
                "%s is a file of yours and stays as it is; the models are in %s", copy, self._filepath
            )
            return
        ModelEntryDataset(filepath=copy).save(data)

    def _about(self) -> dict[str, Any]:
        return self.load()
