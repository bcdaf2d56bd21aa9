"""What made each file: of which code, options and contents, so that nothing is made twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from kedro.io import MemoryDataset

from scvi_downstream.datasets.user_table_dataset import user_path
from scvi_downstream.engine.fingerprints import (
    code_fingerprint,
    digest,
    module_fingerprint,
    style_fingerprint,
    used_part,
)
from scvi_downstream.engine.kedro_internals import described, places_of_inputs, stored_path
from scvi_downstream.pipelines.declaration import PLAN
from scvi_downstream.runtime.atomic import replacing

if TYPE_CHECKING:
    from kedro.io import AbstractDataset, DataCatalog
    from kedro.pipeline import Node

PROVENANCE = "provenance"
"""Dataset of the session: the folder of the records of what made each file."""
# How a run is done; no result depends on it.
_OF_THE_RUN = ("workers", "incremental")
_BYTES_AT_ONCE = 1 << 20


def content_of(path: Path) -> str | None:
    """Digest of the bytes of a file, or of all files below a folder with their names; ``None``: there is nothing."""
    if not path.exists():
        return None
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(_files(path)):
        found.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while block := stream.read(_BYTES_AT_ONCE):
                found.update(block)
    return found.hexdigest()


def _state_of(path: Path) -> str | None:
    """Sizes and times of a file, or of all files below a folder; ``None``: there is nothing."""
    if not path.exists():
        return None
    states = {str(file.relative_to(path)): file.stat() for file in _files(path)}
    return digest({name: (state.st_size, state.st_mtime_ns) for name, state in states.items()})


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


@dataclass(frozen=True)
class Record:
    """How a dataset came about.

    Attributes
    ----------
    node, fingerprint
        What made it, and the digest of that node's code, options and inputs.
    content, state
        Digests of what the file holds, and of its size and time.
    seconds
        That the node took.
    """

    node: str
    fingerprint: str
    content: str
    state: str | None
    seconds: float


class Provenance:
    """Records of a study's datasets, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def is_empty(self) -> bool:
        """Whether nothing was made yet."""
        return not any(self._folder.glob("*"))

    def write(
        self, name: str, dataset: AbstractDataset, node: str, fingerprint: str, content: str, seconds: float
    ) -> None:
        """Record what a node has just made; a dataset that is not kept in a file needs no record."""
        path = stored_path(dataset)
        if path is None:
            return
        record = Record(node, fingerprint, content, _state_of(path), seconds)
        with replacing(self._file(name)) as temporary:
            temporary.write_text(json.dumps(asdict(record)))

    def forget(self, name: str) -> None:
        """Drop the record of a dataset that is about to be made anew."""
        self._file(name).unlink(missing_ok=True)

    def seconds(self, name: str) -> float | None:
        """How long the last making of a dataset took, whatever has become of it."""
        record = self._read(name)
        return record.seconds if record else None

    def find(self, name: str, dataset: AbstractDataset) -> Record | None:
        """The record of a dataset, if its file is still as the node left it."""
        path, record = stored_path(dataset), self._read(name)
        if path is None or record is None:
            return None
        state = _state_of(path)
        return record if state is not None and record.state == state else None

    def _read(self, name: str) -> Record | None:
        try:
            return Record(**json.loads(self._file(name).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def fingerprint_of(node: Node, contents: Mapping[str, str | None], catalog: DataCatalog) -> str | None:
    """Digest of a node's code, of what is bound to it and of its inputs' contents; ``None``: it always has to run."""
    if any(contents[name] is None for name in node.inputs):
        return None
    held = dict(node.func.keywords) if isinstance(node.func, partial) else {}
    inputs = [_content_read(node, place, name, contents, catalog) for place, name in places_of_inputs(node)]
    storage = {type(catalog[name]).__module__ for name in (*node.inputs, *node.outputs)}
    code = [code_fingerprint(node.func), *map(module_fingerprint, sorted(storage))]
    return digest(node.name, code, held, places_of_inputs(node), inputs, *style_fingerprint(node.func))


def _content_read(
    node: Node, place: int | str, name: str, contents: Mapping[str, str | None], catalog: DataCatalog
) -> str | None:
    """Of options and of the plan only what the node reads of them, where that can be told."""
    if not _is_option(name, catalog):
        return contents[name]
    value = catalog.load(name)
    part = used_part(node.func, place, value)
    return contents[name] if part is value else digest(part)


def content_of_input(name: str, catalog: DataCatalog, provenance: Provenance) -> str | None:
    """Digest of a dataset that no node of the pipeline makes; ``None``: it cannot be told whether it has changed."""
    dataset = catalog[name]
    if name in (PLAN, "parameters"):
        parameters = catalog.load(name).parameters if name == PLAN else catalog.load(name)
        return digest({key: part for key, part in parameters.items() if key not in _OF_THE_RUN})
    if _is_option(name, catalog):
        return digest(catalog.load(name))
    record = provenance.find(name, dataset)
    return record.content if record else _content_of_users(dataset)


def _is_option(name: str, catalog: DataCatalog) -> bool:
    return name.startswith("params:") and isinstance(catalog[name], MemoryDataset)


def _content_of_users(dataset: AbstractDataset) -> str | None:
    """Of the user's files; a dataset can tell it by a method ``fingerprint``, or else by the paths it describes."""
    own = getattr(dataset, "fingerprint", None)
    if callable(own):
        return own()
    facts = described(dataset)
    named = [value for value in facts.values() if isinstance(value, str | PurePath)]
    if not named and any(value is not None for value in facts.values()):
        return None
    states = [_state_of(user_path(str(value))) or str(value) for value in named]
    return digest(type(dataset).__name__, sorted(facts), states)
