"""``JsonDataset`` loads and saves a dictionary of metrics or settings."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset

from scvi_downstream.datasets.kedro_previews import JSONPreview, TablePreview
from scvi_downstream.runtime.atomic import replacing
from scvi_downstream.runtime.errors import InputError, closest

# Kedro-Viz shows nothing for it. The methods' return annotations must stay the bare type, as it reads the
# kind of preview there.
NO_PREVIEW: Any = None


def table_preview(table: pd.DataFrame) -> TablePreview:
    """Columns (a named index first) and rows of text and integers; floats are shortened to four digits."""
    shown = table if table.index.name is None else table.reset_index(allow_duplicates=True)
    rows = [[_preview_value(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    return TablePreview(
        {"columns": [str(column) for column in shown.columns], "index": list(range(len(rows))), "data": rows}
    )


def _preview_value(value: Any) -> str | int:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if pd.api.types.is_integer(value):
        return int(value)
    return f"{value:.4g}" if pd.api.types.is_float(value) else str(value)


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises into one sentence that names the file; warnings of readers are not shown.

    Parameters
    ----------
    path
        File or folder that is read inside.
    kind
        What it shall be, as in "cannot be read as …".

    Raises
    ------
    InputError
        When the file does not exist, or is truncated, damaged or of another kind.
    """
    require(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, MemoryError):
        raise
    except PermissionError as error:
        raise InputError(
            f"{path} cannot be read: there is no permission; change the file's permissions"
        ) from error
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
        raise InputError(
            f"{path} cannot be read as {kind}; it is truncated, damaged or of another kind ({reason})"
        ) from error


def require(path: Path) -> None:
    """Raise an :class:`InputError` with the nearest name on disk when ``path`` does not exist."""
    if path.exists():
        return
    missing = path
    while missing.parent != missing and not missing.parent.exists():
        missing = missing.parent
    if not missing.parent.is_dir():
        raise InputError(f"{path} does not exist: {missing.parent} is no folder")
    names = sorted(entry.name for entry in missing.parent.iterdir() if not entry.name.startswith("."))
    what = path if missing == path else f"{path} does not exist: there is no {missing.name}"
    verb = " does not exist" if missing == path else ""
    raise InputError(f"{what}{verb} in {missing.parent}{closest(missing.name, names)}")


def refuse_pickles_in_zarr(store: Path) -> None:
    """Raise an :class:`InputError` when an array is packed with pickle, which runs code when it is read."""
    for pattern in (".zarray", ".zmetadata", "zarr.json"):
        for file in store.rglob(pattern):
            if _names_pickle(json.loads(file.read_bytes())):
                raise InputError(
                    f"{store} is not opened: {file.relative_to(store)} holds pickled objects, and reading "
                    "them could run code; write the data again with anndata's write_zarr"
                )


def _names_pickle(value: Any) -> bool:
    if isinstance(value, dict):
        codec = value.get("id", value.get("name"))
        if (
            isinstance(codec, str)
            and codec.lower().removeprefix("numcodecs.").removeprefix("numcodecs/") == "pickle"
        ):
            return True
        return any(map(_names_pickle, value.values()))
    return isinstance(value, list) and any(map(_names_pickle, value))


class JsonDataset(AbstractDataset):
    """``JsonDataset`` saves a dictionary as strict JSON.

    NumPy values become numbers and lists; NaN and infinities become null.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        scores:
          type: scvi_downstream.datasets.text_files.JsonDataset
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


class TextDataset(AbstractDataset):
    """``TextDataset`` saves a string as UTF-8 with the line ends it has.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        methods:
          type: scvi_downstream.datasets.text_files.TextDataset
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
