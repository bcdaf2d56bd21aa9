"""``TextDataset`` loads and saves text: HTML, Markdown, BibTeX."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from scvi_downstream.atomic import replacing
from scvi_downstream.datasets.reading import reading


class TextDataset(AbstractDataset):
    """``TextDataset`` saves a string as UTF-8 with the line ends it has.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        methods:
          type: scvi_downstream.datasets.TextDataset
          filepath: data/08_reporting/methods.md

    Using the Python API:

    >>> from scvi_downstream.datasets import TextDataset
    >>> dataset = TextDataset(filepath=tmp_path / "methods.md")
    >>> dataset.save("scVI was fitted to 700 cells.")
    >>> dataset.load()
    'scVI was fitted to 700 cells.'
    """

    def __init__(self, *, filepath: str | os.PathLike, metadata: dict[str, Any] | None = None) -> None:
        """Point to a file.

        Parameters
        ----------
        filepath
            The text file.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

    def load(self) -> str:
        """Read the text."""
        with reading(self._filepath, "UTF-8 text"):
            return self._filepath.read_bytes().decode("utf-8")

    def save(self, data: str) -> None:
        """Write the text; a file that is there is replaced when the new one is complete."""
        with replacing(self._filepath) as temporary:
            temporary.write_bytes(data.encode("utf-8"))

    def _exists(self) -> bool:
        return self._filepath.exists()
