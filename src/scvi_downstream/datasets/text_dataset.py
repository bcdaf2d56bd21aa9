"""``TextDataset`` loads and saves text."""

from __future__ import annotations

from typing import Any, ClassVar

from kedro_datasets import text

from scvi_downstream.datasets.whole_files import WholeFile

_AS_IT_IS = {"encoding": "utf-8", "newline": ""}


class TextDataset(WholeFile, text.TextDataset):
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

    KIND = "UTF-8 text"
    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_load": {"mode": "r", **_AS_IT_IS},
        "open_args_save": {"mode": "w", **_AS_IT_IS},
    }
