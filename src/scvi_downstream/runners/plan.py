"""Which nodes have to run: those whose outputs are missing, or were made from something else than there is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from scvi_downstream.runners.fingerprints import code_fingerprint, digest, source_fingerprint, stored_path

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

    from scvi_downstream.runners.provenance import Provenance

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
    """Decide what has to run.

    Parameters
    ----------
    pipeline
        All that was asked for.
    catalog
        Where its datasets are.
    provenance
        What made them.
    reuse
        Whether anything may be left as it is.
    """
    made: dict[str, str | None] = {}
    fingerprints: dict[str, str | None] = {}
    stale: set[str] = set()
    for node in pipeline.nodes:
        inputs = {
            name: made[name] if name in made else _of_input(name, catalog, provenance) for name in node.inputs
        }
        fingerprint = _of_node(node, inputs)
        fingerprints[node.name] = fingerprint
        made |= {name: _of_output(fingerprint, name) for name in node.outputs}
        if not reuse or not all(_is_current(name, made[name], catalog, provenance) for name in node.outputs):
            stale.add(node.name)
    for node in reversed(pipeline.nodes):
        if node.name in stale:
            stale |= {maker.name for maker in pipeline.nodes if _feeds_from_memory(maker, node, catalog)}
    return Plan(frozenset(stale), fingerprints)


def _of_node(node: Node, inputs: Mapping[str, str | None]) -> str | None:
    if any(value is None for value in inputs.values()):
        return None
    bound = dict(node.func.keywords) if isinstance(node.func, partial) else {}
    return digest(node.name, code_fingerprint(), bound, [*node.inputs], dict(inputs))


def _of_output(fingerprint: str | None, name: str) -> str | None:
    return None if fingerprint is None else digest(fingerprint, name)


def _of_input(name: str, catalog: DataCatalog, provenance: Provenance) -> str | None:
    dataset = catalog[name]
    if name == "parameters" or name.startswith("params:"):
        return digest(_without_how(name, catalog.load(name)))
    record = provenance.find(name, dataset)
    return record.fingerprint if record else source_fingerprint(dataset)


def _without_how(name: str, value: Any) -> Any:
    if name != "parameters":
        return value
    return {key: part for key, part in value.items() if key not in _OF_THE_RUN}


def _is_current(name: str, fingerprint: str | None, catalog: DataCatalog, provenance: Provenance) -> bool:
    dataset = catalog[name]
    if stored_path(dataset) is None:
        return True  # made again only when someone needs it
    record = provenance.find(name, dataset)
    return fingerprint is not None and record is not None and record.fingerprint == fingerprint


def _feeds_from_memory(maker: Node, user: Node, catalog: DataCatalog) -> bool:
    shared = set(maker.outputs) & set(user.inputs)
    return any(stored_path(catalog[name]) is None for name in shared)
