"""``JsonDataset`` loads and saves a dictionary of metrics or settings."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from scvi_downstream.atomic import replacing
from scvi_downstream.datasets.previews import NO_PREVIEW
from scvi_downstream.datasets.reading import reading


class JsonDataset(AbstractDataset):
    """``JsonDataset`` saves a dictionary as strict JSON.

    NumPy values become numbers and lists; NaN and infinities become null.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        scores:
          type: scvi_downstream.datasets.JsonDataset
          filepath: data/07_model_output/scores.json

    Using the Python API:

    >>> import numpy as np
    >>> from scvi_downstream.datasets import JsonDataset
    >>> dataset = JsonDataset(filepath=tmp_path / "scores.json")
    >>> dataset.save({"elbo_test": np.float32(-470.5), "elbo_validation": float("nan")})
    >>> dataset.load()
    {'elbo_test': -470.5, 'elbo_validation': None}
    """

    def __init__(self, *, filepath: str | os.PathLike, metadata: dict[str, Any] | None = None) -> None:
        """Point to a file.

        Parameters
        ----------
        filepath
            The ``.json`` file.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

    def load(self) -> dict[str, Any]:
        """Read the dictionary."""
        with reading(self._filepath, "JSON"):
            return json.loads(self._filepath.read_text(encoding="utf-8"))

    def save(self, data: dict[str, Any]) -> None:
        """Write the dictionary; a file that is there is replaced when the new one is complete."""
        text = json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with replacing(self._filepath) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _exists(self) -> bool:
        return self._filepath.exists()

    def preview(self) -> JSONPreview:
        """The file itself."""
        return JSONPreview(json.dumps(self.load())) if self._exists() else NO_PREVIEW


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
