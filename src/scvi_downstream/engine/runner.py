"""Kedro runner of a study: leaves out what is current, runs the rest side by side, lives with trials that fail."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from kedro.runner import SequentialRunner

from scvi_downstream.engine.agenda import Agenda
from scvi_downstream.engine.fingerprints import libraries_of
from scvi_downstream.engine.incremental import PROVENANCE, Provenance, content_of
from scvi_downstream.engine.kedro_internals import stored_path
from scvi_downstream.engine.workers import (
    SLOW_LIBRARIES,
    InProcesses,
    InThisProcess,
    Made,
    Work,
    begin_imports,
)
from scvi_downstream.pipelines.copies import model_of
from scvi_downstream.pipelines.declaration import TRIAL
from scvi_downstream.runtime import events
from scvi_downstream.runtime.errors import plain_error
from scvi_downstream.runtime.threads import usable_cores

if TYPE_CHECKING:
    import pandas as pd
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline
    from pluggy import PluginManager

logger = logging.getLogger(__name__)

_GB_PER_WORKER = 2.0
# Starting processes takes longer than so few steps.
_FEW_NODES = 2
_DESCRIBING = ("family", "trial_of", "seed", "n_latent", "n_layers", "n_hidden")


class StudyRunner(SequentialRunner):
    """Runs the nodes that have to run, as many at a time as there are cores.

    A node is left out when its outputs are there, as it left them, and were made by the same code from the same
    options and contents. Nodes run in worker processes with one thread each, so that results do not depend on how many
    there are. A node whose process dies is tried once more by itself. A trial that fails gets a record with its reason
    in the place of its scores.
    """

    def __repr__(self) -> str:
        # Kedro-Viz shows the state of steps only for runners that call themselves by this name
        return f"<{type(self).__name__}, a kedro.runner.sequential_runner.SequentialRunner object>"

    def _run(
        self,
        pipeline: Pipeline,
        catalog: Any,  # Kedro's own runners name types that exclude each other
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        if PROVENANCE not in catalog:  # not a session of this project
            super()._run(pipeline, catalog, hook_manager, run_id)
            return
        _Run(pipeline, catalog, hook_manager, run_id).do()


class _Run:
    """One run: what it knows of its nodes, and where they run."""

    def __init__(
        self, pipeline: Pipeline, catalog: DataCatalog, hook_manager: Any, run_id: str | None
    ) -> None:
        self._pipeline, self._catalog, self._run_id = pipeline, catalog, run_id
        self._hook = hook_manager.hook
        self._parameters = catalog.load("parameters")
        self._provenance = Provenance(catalog.load(PROVENANCE))
        reuse = bool(self._parameters["incremental"])
        if self._provenance.is_empty and _workers(len(pipeline.nodes), self._parameters["workers"]) > 1:
            begin_imports(SLOW_LIBRARIES)  # all will run, which the agenda takes two seconds to find out
        self._agenda = Agenda(pipeline, catalog, self._provenance, reuse=reuse)
        self._told_reused: set[Node] = set()
        self._place_of = {node: number for number, node in enumerate(pipeline.nodes)}

    def do(self) -> None:
        """Run what has to run."""
        reused, total = len(self._agenda.reused), len(self._pipeline.nodes)
        if reused:
            told = "%d of %d steps are up to date and are not run again (incremental=false runs all)"
            logger.info(told, reused, total)
        if self._agenda.is_over:
            return
        place = _place(self._nodes_left(), self._parameters)
        try:
            self._run_in(place)
        finally:
            place.close()

    def _nodes_left(self) -> list[Node]:
        current = set(self._agenda.reused)
        return [node for node in self._pipeline.nodes if node not in current]

    def _run_in(self, place: InThisProcess | InProcesses) -> None:
        running: dict[Future[Made], Node] = {}
        while not self._agenda.is_over:
            self._tell_of_reuse()
            for node in self._agenda.ready[: place.capacity - len(running)]:
                self._agenda.start(node)
                self._call("before_node_run", node, inputs={})
                running[place.submit(self._work(node))] = node
            ended = sorted(place.wait(running), key=lambda future: self._place_of[running[future]])
            for future in ended:
                node = running.pop(future)
                if _died(future):
                    self._try_again(node, place)
                else:
                    self._conclude(node, future)
        self._tell_of_reuse()

    def _try_again(self, node: Node, place: InThisProcess | InProcesses) -> None:
        """Run a node by itself whose process has died, or died with another's: all of a pool end together."""
        if isinstance(place, InThisProcess):
            raise RuntimeError("this process cannot have died")
        logger.warning("the process of %s died; it is tried once more by itself", node.name)
        future = place.run_alone(self._work(node))
        if _died(future):
            self._fail(node, RuntimeError(f"{node.name}: its process died twice; is there enough memory?"))
        else:
            self._conclude(node, future)

    def _work(self, node: Node) -> Work:
        return Work(node, {name: self._catalog[name] for name in (*node.inputs, *node.outputs)})

    def _conclude(self, node: Node, future: Future[Made]) -> None:
        error = future.exception()
        if error is not None:
            self._fail(node, error)
            return
        made = future.result()
        for name, value in made.values.items():
            self._catalog.save(name, value)
        fingerprint = self._agenda.fingerprint(node)
        if fingerprint is not None:
            for name, content in made.contents.items():
                self._provenance.write(
                    name, self._catalog[name], node.name, fingerprint, content, made.seconds
                )
        self._agenda.conclude(node, made.contents)
        for name in node.outputs:
            # what was saved has stayed where the node ran; hooks can load it
            self._hook.after_dataset_saved(dataset_name=name, data=self._catalog[name], node=node)
        self._call("after_node_run", node, inputs={}, outputs={})
        if TRIAL in node.tags and not self._left_of(model_of(node)):
            events.publish(events.TrialEnded(model_of(node), "FINISHED"))

    def _fail(self, node: Node, error: BaseException) -> None:
        self._call("on_node_error", node, inputs={}, error=error)
        if TRIAL not in node.tags:
            raise error
        plain = plain_error(error)
        if plain is None:
            logger.error("%s failed", node.name, exc_info=error)
        self._fail_trial(model_of(node), f"{node.name}: {plain or f'{type(error).__name__}: {error}'}")

    def _fail_trial(self, trial: str, reason: str) -> None:
        """Let a trial's record say why it failed; what starts from it fails as well."""
        nodes = self._left_of(trial)
        if not nodes:
            return
        logger.warning("%s failed: %s", trial, reason)
        made = {name for node in nodes for name in node.outputs}
        users = [node for node in self._pipeline.nodes if made & set(node.inputs) and node not in nodes]
        contents = {}
        for name in sorted(made & {name for node in users if TRIAL not in node.tags for name in node.inputs}):
            self._catalog.save(name, failed_output(name, self._parameters["models"].get(trial, {}), reason))
            path = stored_path(self._catalog[name])
            if path is not None:
                contents[name] = content_of(path) or ""
        for follower in dict.fromkeys(model_of(node) for node in users if TRIAL in node.tags):
            self._fail_trial(follower, f"it starts from {trial}, which failed")
        self._agenda.give_up(nodes, contents)
        events.publish(events.DatasetsReused((), tuple(node.name for node in nodes)))
        events.publish(events.TrialEnded(trial, "FAILED", reason=reason))

    def _left_of(self, trial: str) -> list[Node]:
        """Nodes of a trial that are not over."""
        of_trial = [node for node in self._pipeline.nodes if TRIAL in node.tags and model_of(node) == trial]
        return [node for node in of_trial if not self._agenda.is_done(node)]

    def _tell_of_reuse(self) -> None:
        new = [node for node in self._agenda.reused if node not in self._told_reused]
        if new:
            self._told_reused.update(new)
            names = tuple(name for node in new for name in node.outputs)
            events.publish(events.DatasetsReused(names, tuple(node.name for node in new)))

    def _call(self, hook: str, node: Node, **facts: Any) -> None:
        getattr(self._hook, hook)(
            node=node, catalog=self._catalog, is_async=False, run_id=self._run_id, **facts
        )


def _died(future: Future[Made]) -> bool:
    return future.done() and isinstance(future.exception(), BrokenProcessPool)


def _place(nodes: list[Node], parameters: Mapping[str, Any]) -> InThisProcess | InProcesses:
    """Worker processes; or this one where there is work for one only, or a GPU that they would share."""
    libraries = [library for node in nodes for library in libraries_of(node.func)]
    asked = (parameters["accelerator"],) if {"torch", "scvi"} & set(libraries) else ("cpu",)
    workers = _workers(len(nodes), parameters["workers"])
    if workers == 1:
        return InThisProcess(limit_threads=not has_accelerator(*asked))
    place = InProcesses(workers, [name for name in SLOW_LIBRARIES if libraries.count(name) > 1])
    if asked != ("cpu",) and not parameters["workers"] and place.ask(has_accelerator, *asked):
        place.close()
        return InThisProcess(limit_threads=False)
    return place


def _workers(n_nodes: int, wanted: int | None) -> int:
    """As many as there are cores and nodes, and as memory allows."""
    import psutil

    if wanted:
        return min(int(wanted), n_nodes)
    if n_nodes <= _FEW_NODES:
        return 1
    by_memory = int(psutil.virtual_memory().total / 2**30 / _GB_PER_WORKER)
    return max(1, min(usable_cores(), n_nodes, by_memory))


def has_accelerator(accelerator: str) -> bool:
    """Whether models would be trained on a GPU; asked where PyTorch is imported anyway."""
    if accelerator in ("cpu", "gpu", "mps"):
        return accelerator != "cpu"
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def failed_output(dataset: str, spec: Mapping[str, Any], reason: str) -> dict[str, Any] | pd.DataFrame:
    """A record with the reason for the dataset ``<trial>.scores``; an empty table for every other one.

    ``spec`` are the options of the trial, ``reason`` says why there are no results.
    """
    trial, _, kind = dataset.rpartition(".")
    if kind != "scores":
        import pandas as pd

        return pd.DataFrame()
    described = {name: spec[name] for name in _DESCRIBING if spec.get(name) is not None}
    return {"model": trial, **described, "failed": reason}
