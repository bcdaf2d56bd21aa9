"""What identifies an input of a node: the value of a parameter, the state of a file, the code that runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from scvi_downstream.datasets.user_paths import user_path

if TYPE_CHECKING:
    from kedro.io import AbstractDataset

_PACKAGE = Path(__file__).resolve().parents[1]
_CODE = ("*.py", "*.R", "*.html", "*.bib")
_LIBRARIES = (
    "anndata",
    "jax",
    "lightning",
    "numpy",
    "pandas",
    "scanpy",
    "scib-metrics",
    "scikit-learn",
    "scipy",
    "scvi-tools",
    "torch",
)


def digest(*parts: object) -> str:
    """Short hash of plain values, in their order."""
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def code_fingerprint() -> str:
    """Of this package's source and of the libraries that decide its numbers."""
    hashed = hashlib.sha256()
    for pattern in _CODE:
        for file in sorted(_PACKAGE.rglob(pattern)):
            hashed.update(str(file.relative_to(_PACKAGE)).encode())
            hashed.update(file.read_bytes())
    return digest(hashed.hexdigest(), {name: version(name) for name in _LIBRARIES})


def path_state(path: Path) -> str | None:
    """Sizes and times of a file, or of all files below a folder; ``None``: there is nothing."""
    if path.is_file():
        return digest(_state(path))
    if not path.is_dir():
        return None
    return digest({str(file.relative_to(path)): _state(file) for file in path.rglob("*") if file.is_file()})


def stored_path(dataset: AbstractDataset) -> Path | None:
    """Where a dataset is kept; ``None`` when it is not a file or folder."""
    path = getattr(dataset, "_filepath", None)
    return None if path is None else Path(str(path))


def source_fingerprint(dataset: AbstractDataset) -> str | None:
    """Of what no node of ours has made: the user's files; ``None`` when it cannot be told whether it has changed.

    A dataset can say so itself by a method ``fingerprint``; otherwise the paths that it describes are looked at.
    """
    own = getattr(dataset, "fingerprint", None)
    if callable(own):
        return own()
    described = dataset._describe()
    named = [value for value in described.values() if isinstance(value, str | Path)]
    if not named and any(value is not None for value in described.values()):
        return None
    states = [path_state(user_path(str(value))) or str(value) for value in named]
    return digest(type(dataset).__name__, sorted(described), states)


def _state(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)
