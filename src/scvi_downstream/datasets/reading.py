"""Opening files so that what is wrong with them is said in one sentence."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scvi_downstream.errors import InputError, closest


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
