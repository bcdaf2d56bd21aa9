"""Which nodes have to run: those whose outputs are missing, or were made from something else than there is now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from kedro.io import MemoryDataset

from scvi_downstream.datasets.user_table_dataset import user_path
from scvi_downstream.engine.fingerprints import code_fingerprint, digest, module_fingerprint
from scvi_downstream.engine.kedro_internals import described, stored_path
from scvi_downstream.pipelines.declaration import PLAN
from scvi_downstream.runtime.atomic import replacing

if TYPE_CHECKING:
    from kedro.io import AbstractDataset, DataCatalog
    from kedro.pipeline import Node, Pipeline


def _path_state(path: Path) -> str | None:
    """Sizes and times of a file, or of all files below a folder; ``None``: there is nothing."""
    if path.is_file():
        return digest(_state(path))
    if not path.is_dir():
        return None
    return digest({str(file.relative_to(path)): _state(file) for file in path.rglob("*") if file.is_file()})


def _source_fingerprint(dataset: AbstractDataset) -> str | None:
    """Of what no node of ours has made: the user's files; ``None`` when it cannot be told whether it has changed.

    A dataset can say so itself by a method ``fingerprint``; otherwise the paths that it describes are looked at.
    """
    own = getattr(dataset, "fingerprint", None)
    if callable(own):
        return own()
    facts = described(dataset)
    named = [value for value in facts.values() if isinstance(value, str | PurePath)]
    if not named and any(value is not None for value in facts.values()):
        return None
    states = [_path_state(user_path(str(value))) or str(value) for value in named]
    return digest(type(dataset).__name__, sorted(facts), states)


def _state(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns


@dataclass(frozen=True)
class Record:
    """How a dataset came about, and the state of its file at that moment."""

    node: str
    fingerprint: str
    state: str | None


class Provenance:
    """Records of a study's datasets, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, dataset: AbstractDataset, node: str, fingerprint: str) -> None:
        """Record that ``node`` has just made a dataset; one that is not kept in a file needs no record."""
        path = stored_path(dataset)
        if path is None:
            return
        with replacing(self._file(name)) as temporary:
            temporary.write_text(json.dumps(asdict(Record(node, fingerprint, _path_state(path)))))

    def forget(self, name: str) -> None:
        """Drop the record of a dataset that is about to be made anew."""
        self._file(name).unlink(missing_ok=True)

    def find(self, name: str, dataset: AbstractDataset) -> Record | None:
        """The record of a dataset, if its file is still as the node left it."""
        path = stored_path(dataset)
        if path is None:
            return None
        try:
            record = Record(**json.loads(self._file(name).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        state = _path_state(path)
        return record if state is not None and record.state == state else None

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"


PROVENANCE = "provenance"
"""Dataset of the session: the folder of the records of what made each file."""
# How a run is done; no result depends on it.
_OF_THE_RUN = ("workers", "incremental")


@dataclass(frozen=True)
class Plan:
    """Names of the nodes to run, and the fingerprint of every node: of its code and all that goes in."""

    stale: frozenset[str]
    fingerprints: Mapping[str, str | None]

    def output(self, node: Node, dataset: str) -> str | None:
        """Fingerprint of one output of a node; ``None``: it is made anew each time."""
        return _of_output(self.fingerprints[node.name], dataset)


def plan_run(pipeline: Pipeline, catalog: DataCatalog, provenance: Provenance, *, reuse: bool) -> Plan:
    """Decide which of the nodes asked for have to run; without ``reuse`` all of them."""
    made: dict[str, str | None] = {}
    fingerprints: dict[str, str | None] = {}
    stale: set[str] = set()
    for node in pipeline.nodes:
        inputs = {
            name: made[name] if name in made else _of_input(name, catalog, provenance) for name in node.inputs
        }
        fingerprint = fingerprints[node.name] = _of_node(node, inputs, catalog)
        made |= {name: _of_output(fingerprint, name) for name in node.outputs}
        if not reuse or not all(_is_current(name, made[name], catalog, provenance) for name in node.outputs):
            stale.add(node.name)
    for node in reversed(pipeline.nodes):
        if node.name in stale:
            stale |= {maker.name for maker in pipeline.nodes if _feeds_from_memory(maker, node, catalog)}
    return Plan(frozenset(stale), fingerprints)


def _of_node(node: Node, inputs: Mapping[str, str | None], catalog: DataCatalog) -> str | None:
    if any(value is None for value in inputs.values()):
        return None
    bound = dict(node.func.keywords) if isinstance(node.func, partial) else {}
    storage = {type(catalog[name]).__module__ for name in (*node.inputs, *node.outputs)}
    code = [code_fingerprint(node.func), *map(module_fingerprint, sorted(storage))]
    return digest(node.name, code, bound, [*node.inputs], dict(inputs))


def _of_output(fingerprint: str | None, name: str) -> str | None:
    return None if fingerprint is None else digest(fingerprint, name)


def _of_input(name: str, catalog: DataCatalog, provenance: Provenance) -> str | None:
    dataset = catalog[name]
    if name in (PLAN, "parameters"):
        parameters = catalog.load(name).parameters if name == PLAN else catalog.load(name)
        return digest({key: part for key, part in parameters.items() if key not in _OF_THE_RUN})
    if name.startswith("params:") and isinstance(dataset, MemoryDataset):
        return digest(catalog.load(name))
    record = provenance.find(name, dataset)
    return record.fingerprint if record else _source_fingerprint(dataset)


def _is_current(name: str, fingerprint: str | None, catalog: DataCatalog, provenance: Provenance) -> bool:
    dataset = catalog[name]
    if stored_path(dataset) is None:
        return True  # made again only when someone needs it
    record = provenance.find(name, dataset)
    return fingerprint is not None and record is not None and record.fingerprint == fingerprint


def _feeds_from_memory(maker: Node, user: Node, catalog: DataCatalog) -> bool:
    shared = set(maker.outputs) & set(user.inputs)
    return any(stored_path(catalog[name]) is None for name in shared)
