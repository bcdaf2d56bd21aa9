"""``JSONDataset`` loads and saves a dictionary of metrics or settings."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from kedro_datasets import json as kedro_json

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, JSONPreview
from scvi_downstream.datasets.whole_files import LocalFile, WholeFile


class _Strict(json.JSONEncoder):
    """Of values that :func:`plain` takes; ends the file with a new line."""

    def iterencode(self, o: Any, _one_shot: bool = False) -> Iterator[str]:  # noqa: FBT001, FBT002
        yield from super().iterencode(plain(o), _one_shot)
        yield "\n"


class JSONDataset(WholeFile, kedro_json.JSONDataset):
    """``JSONDataset`` saves a dictionary as strict JSON.

    NumPy values become numbers and lists; NaN and infinities become null.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        scores:
          type: scvi_downstream.datasets.JSONDataset
          filepath: data/07_model_output/scores.json

    Using the Python API:

    >>> import numpy as np
    >>> from scvi_downstream.datasets import JSONDataset
    >>> dataset = JSONDataset(filepath=tmp_path / "scores.json")
    >>> dataset.save({"elbo_test": np.float32(-470.5), "elbo_validation": float("nan")})
    >>> dataset.load()
    {'elbo_test': -470.5, 'elbo_validation': None}
    """

    KIND = "JSON"
    DEFAULT_SAVE_ARGS: ClassVar[dict[str, Any]] = {
        "cls": _Strict,
        "indent": 2,
        "ensure_ascii": False,
        "allow_nan": False,
    }
    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_load": {"encoding": "utf-8"},
        "open_args_save": {"mode": "w", "encoding": "utf-8"},
    }

    def preview(self) -> JSONPreview:
        """The file itself."""
        return JSONPreview(json.dumps(self.load())) if self._exists() else NO_PREVIEW


class SummarizedFile(LocalFile):
    """A file or folder of which Kedro-Viz shows a few facts: those of ``_about``."""

    def preview(self) -> JSONPreview:
        """What is in it, without reading the whole."""
        return JSONPreview(json.dumps(plain(self._about()))) if self._exists() else NO_PREVIEW

    @abstractmethod
    def _about(self) -> dict[str, Any]:
        """The facts, by name."""


def plain(value: Any) -> Any:  # noqa: PLR0911 - one line a type
    """Numbers, text, lists and dictionaries in place of NumPy and pandas values.

    NaN, NaT and infinities become ``None``.

    Raises
    ------
    TypeError
        For anything that JSON has no word for.
    """
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, np.ndarray | pd.Index | pd.Series | pd.Categorical):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: {value!r}")
