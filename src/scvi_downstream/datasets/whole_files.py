"""What datasets share: a file is whole or not there, and what cannot be read or written is one sentence."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from kedro.io import AbstractDataset
from kedro.io.core import get_filepath_str

from scvi_downstream.runtime.atomic import replacing
from scvi_downstream.runtime.errors import InputError, closest


class WholeFile:
    """Mixin before a dataset of kedro-datasets: what is there is replaced only when the new file is complete.

    Other file systems than the local one are left to fsspec, as the dataset behind it uses them.
    """

    KIND: ClassVar[str]
    """As in "cannot be read as …"."""
    _protocol = "file"
    _filepath: Any
    _version: Any = None

    def load(self) -> Any:
        """Read the whole; what is missing, truncated or of another kind is named."""
        if self._protocol != "file":
            return self._read()
        with reading(Path(self._get_load_path()), self.KIND):
            return self._read()

    def save(self, data: Any) -> None:
        """Write the whole; a file that is there is replaced when the new one is complete."""
        if self._protocol != "file":
            self._write(data)
            return
        with replacing(Path(self._get_save_path())) as temporary:
            elsewhere = copy.copy(self)
            elsewhere._filepath, elsewhere._version = type(self._filepath)(temporary), None
            elsewhere._write(data)

    def _read(self) -> Any:
        return super().load.__wrapped__(self)  # type: ignore[misc]

    def _write(self, data: Any) -> None:
        super().save.__wrapped__(self, data)  # type: ignore[misc]

    def _content(self) -> bytes:
        with self._fs.open(get_filepath_str(self._get_load_path(), self._protocol), "rb") as file:  # type: ignore[attr-defined]
            return file.read()

    def _get_load_path(self) -> Any:
        return super()._get_load_path()  # type: ignore[misc]

    def _get_save_path(self) -> Any:
        return super()._get_save_path()  # type: ignore[misc]


class LocalFile(WholeFile, AbstractDataset):
    """A file or folder of a kind that kedro-datasets does not know; subclasses say how it is read and written."""

    SUFFIXES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, filepath: str | os.PathLike, metadata: dict[str, Any] | None = None) -> None:
        """Point to a file or folder.

        Parameters
        ----------
        filepath
            Where it is.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        if self.SUFFIXES and self._filepath.suffix not in self.SUFFIXES:
            raise InputError(f"{self._filepath} must end in {' or '.join(self.SUFFIXES)}")
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _get_load_path(self) -> Path:
        return self._filepath

    def _get_save_path(self) -> Path:
        return self._filepath


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
        codec = str(value.get("id", value.get("name"))).lower()
        if codec.removeprefix("numcodecs.").removeprefix("numcodecs/") == "pickle":
            return True
        return any(map(_names_pickle, value.values()))
    return isinstance(value, list) and any(map(_names_pickle, value))
