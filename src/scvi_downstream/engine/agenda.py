"""Which nodes of a pipeline have to run, and which of them next: decided as soon as what goes in is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from scvi_downstream.engine.fingerprints import digest
from scvi_downstream.engine.incremental import Provenance, content_of_input, fingerprint_of
from scvi_downstream.engine.kedro_internals import stored_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

# Of a node that has never run here: shorter than a training, longer than most figures.
_SECONDS_UNKNOWN = 1.0


class Agenda:
    """The nodes of a pipeline between waiting and over.

    A node is *current*, and left out, when its files are there as it left them and were made by the same code from the
    same options and contents. As contents count and not what made them, a node that comes out as it did before leaves
    all that follows current.

    Parameters
    ----------
    pipeline, catalog, provenance
        What is asked for, where it is kept, and the records of what made each file.
    reuse
        Whether what is current is left out.
    """

    def __init__(
        self, pipeline: Pipeline, catalog: DataCatalog, provenance: Provenance, *, reuse: bool
    ) -> None:
        self._catalog, self._provenance, self._reuse = catalog, provenance, reuse
        self._maker = {name: node for node in pipeline.nodes for name in node.outputs}
        self._contents = {
            name: content_of_input(name, catalog, provenance) for name in sorted(pipeline.inputs())
        }
        self._waiting = {
            node: {self._maker[name] for name in node.inputs if name in self._maker}
            for node in pipeline.nodes
        }
        self._fingerprints: dict[Node, str | None] = {}
        self._ready: list[Node] = []
        self._ran: set[Node] = set()
        self._over: set[Node] = set()
        self._reused: list[Node] = []
        self._urgency = self._longest_ways()
        self._settle(pipeline.nodes)

    @property
    def reused(self) -> tuple[Node, ...]:
        """Nodes found to be current until now."""
        return tuple(self._reused)

    @property
    def ready(self) -> tuple[Node, ...]:
        """Nodes that can run now, those that most hangs on first."""
        return tuple(self._ready)

    @property
    def is_over(self) -> bool:
        """Whether every node has run, is current or was given up."""
        return len(self._over) == len(self._urgency)

    def is_done(self, node: Node) -> bool:
        """Whether a node has run, is current or was given up."""
        return node in self._over

    def fingerprint(self, node: Node) -> str | None:
        """Of what goes into a node that is ready, running or over; ``None``: it is made anew each time."""
        return self._fingerprints[node]

    def start(self, node: Node) -> None:
        """Take a node that is ready; the records of its files are void until it has ended."""
        self._ready.remove(node)
        for name in node.outputs:
            self._provenance.forget(name)

    def conclude(self, node: Node, contents: Mapping[str, str]) -> None:
        """Tell that a node has run; ``contents`` are digests of the files that it made."""
        self._ran.add(node)
        self._end(node, {name: contents.get(name) for name in node.outputs})

    def give_up(self, nodes: Collection[Node], contents: Mapping[str, str]) -> None:
        """Tell that nodes have failed or never will run; ``contents`` are digests of files that stand for theirs."""
        for node in nodes:
            if node in self._ready:
                self._ready.remove(node)
            self._waiting.pop(node, None)
            self._fingerprints[node] = None
        for node in nodes:
            self._end(node, {name: contents.get(name) for name in node.outputs})

    def _end(self, node: Node, contents: Mapping[str, str | None]) -> None:
        made = self._fingerprints[node]
        for name, content in contents.items():
            in_memory = stored_path(self._catalog[name]) is None and made is not None
            self._contents[name] = digest(made, name) if in_memory else content
        self._over.add(node)
        free = [user for user, makers in self._waiting.items() if node in makers]
        for user in free:
            self._waiting[user].discard(node)
        self._settle(free)

    def _settle(self, nodes: Iterable[Node]) -> None:
        """Decide on those of ``nodes`` that wait for nothing any more."""
        for node in nodes:
            if self._waiting.get(node, True):
                continue
            del self._waiting[node]
            self._fingerprints[node] = fingerprint_of(node, self._contents, self._catalog)
            found = self._found(node) if self._reuse else None
            if found is None:
                self._require(node)
            else:
                self._reused.append(node)
                self._end(node, found)

    def _found(self, node: Node) -> dict[str, str | None] | None:
        """Contents of the outputs of a node that is current; what goes through memory is made when someone needs it."""
        fingerprint = self._fingerprints[node]
        found: dict[str, str | None] = {}
        for name in node.outputs:
            if stored_path(self._catalog[name]) is None:
                found[name] = None
                continue
            record = self._provenance.find(name, self._catalog[name])
            if fingerprint is None or record is None or record.fingerprint != fingerprint:
                return None
            found[name] = record.content
        return found

    def _require(self, node: Node) -> None:
        """Make a node ready, after those whose outputs it needs from memory where these have not run."""
        makers = {self._maker[name] for name in node.inputs if name in self._maker and self._is_lost(name)}
        if makers:
            self._waiting[node] = makers
            for maker in makers & self._over:
                self._over.discard(maker)
                self._reused.remove(maker)
                self._require(maker)
            return
        self._ready.append(node)
        self._ready.sort(key=lambda each: -self._urgency[each])

    def _is_lost(self, name: str) -> bool:
        return stored_path(self._catalog[name]) is None and self._maker[name] not in self._ran

    def _longest_ways(self) -> dict[Node, float]:
        """Seconds from the start of each node to the end of the last one that waits for it (Topcuoglu et al. 2002)."""
        users: dict[Node, list[Node]] = {node: [] for node in self._waiting}
        for node, makers in self._waiting.items():
            for maker in makers:
                users[maker].append(node)
        ways: dict[Node, float] = {}
        for node in reversed(self._waiting):
            took = [self._provenance.seconds(name) for name in node.outputs]
            seconds = max((each for each in took if each is not None), default=_SECONDS_UNKNOWN)
            ways[node] = seconds + max((ways[user] for user in users[node]), default=0.0)
        return ways
