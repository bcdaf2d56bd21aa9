"""Kedro runner of a study: skips what is up to date, runs trials side by side, and lives with trials that fail."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kedro.runner import SequentialRunner

from scvi_downstream.engine.incremental import PROVENANCE, Plan, Provenance, plan_run
from scvi_downstream.engine.kedro_internals import run_node
from scvi_downstream.engine.workers import Outcome, TrialGroup, failed_output, run_groups
from scvi_downstream.pipelines.copies import model_of
from scvi_downstream.pipelines.declaration import TRIAL, UNIT
from scvi_downstream.runtime import events
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.threads import usable_cores

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline
    from pluggy import PluginManager

logger = logging.getLogger(__name__)


_GB_PER_WORKER = 2.0


class StudyRunner(SequentialRunner):
    """Runs nodes in order, but only those that have to run.

    A node is left out when its outputs are there, as it left them, and were made from the same inputs,
    parameters and code. Trials, and nodes tagged as units, run in worker processes, as many as there are cores; a
    trial that fails gets a record with its reason in the place of its scores.
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
        parameters = catalog.load("parameters")
        provenance = Provenance(catalog.load(PROVENANCE))
        plan = plan_run(pipeline, catalog, provenance, reuse=bool(parameters["incremental"]))
        _tell_of_reuse(pipeline, plan)
        run = _Run(catalog, hook_manager, run_id, provenance, plan)
        units = [node for node in pipeline.nodes if _unit(node)]
        afterwards = _depending_on(pipeline, units)
        others = [node for node in pipeline.nodes if node not in units]
        run.in_order(node for node in others if node not in afterwards)
        if any(node.name in plan.stale for node in units):
            used = {name for node in afterwards for name in node.inputs}
            run.side_by_side(units, used, _workers(units, parameters), parameters["models"])
        run.in_order(node for node in others if node in afterwards)


@dataclass(frozen=True)
class _Run:
    """What all nodes of one run share."""

    catalog: DataCatalog
    hook_manager: PluginManager | None
    run_id: str | None
    provenance: Provenance
    plan: Plan

    def in_order(self, nodes: Iterable[Node]) -> None:
        """Run the stale ones of ``nodes``, one after the other."""
        for node in nodes:
            if node.name not in self.plan.stale:
                continue
            self._forget(node)
            run_node(node, self.catalog, self.hook_manager, self.run_id)
            self._record(node)

    def side_by_side(
        self, nodes: list[Node], used: set[str], workers: int, specs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Run the stale ones of ``nodes`` unit by unit; a trial that fails is recorded as such."""
        by_unit: dict[str, list[Node]] = {}
        for node in nodes:
            if node.name in self.plan.stale:
                by_unit.setdefault(_unit(node), []).append(node)
        groups = [self._group(name, by_unit) for name in by_unit]
        logger.info("%d trainings in processes of their own, %d at a time", len(groups), workers)
        for found in by_unit.values():
            self._forget(*found)
        progress = Progress("trainings", len(groups))
        for outcome in run_groups(groups, workers, self.run_id):
            self._conclude(outcome, by_unit[outcome.name], used, specs)
            progress.advance(note=f"{outcome.name} {'failed' if outcome.reason else 'done'}")

    def _conclude(
        self, outcome: Outcome, nodes: list[Node], used: set[str], specs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        made = _outputs(nodes)
        is_trial = TRIAL in nodes[0].tags
        if outcome.reason is None:
            for node in nodes:
                self._record(node)
            events.publish(events.DatasetsReady(made, len(nodes)))
            if is_trial:
                events.publish(events.TrialEnded(outcome.name, "FINISHED"))
            return
        if not is_trial:
            raise InputError(outcome.reason)
        logger.warning("%s failed: %s", outcome.name, outcome.reason)
        for name in made:
            if name in used:
                self.catalog.save(name, failed_output(name, specs.get(outcome.name, {}), outcome.reason))
        events.publish(events.DatasetsReady((), len(nodes)))
        events.publish(events.TrialEnded(outcome.name, "FAILED", reason=outcome.reason))

    def _group(self, name: str, by_unit: Mapping[str, list[Node]]) -> TrialGroup:
        nodes = by_unit[name]
        touched = {dataset for node in nodes for dataset in (*node.inputs, *node.outputs)}
        makers = {out: trial for trial, found in by_unit.items() for node in found for out in node.outputs}
        before = {makers[dataset] for dataset in touched if dataset in makers} - {name}
        return TrialGroup(name, nodes, {key: self.catalog[key] for key in touched}, frozenset(before))

    def _forget(self, *nodes: Node) -> None:
        for name in _outputs(nodes):
            self.provenance.forget(name)

    def _record(self, node: Node) -> None:
        for name in node.outputs:
            fingerprint = self.plan.output(node, name)
            if fingerprint is not None:
                self.provenance.write(name, self.catalog[name], node.name, fingerprint)


def _tell_of_reuse(pipeline: Pipeline, plan: Plan) -> None:
    current = [node for node in pipeline.nodes if node.name not in plan.stale]
    if current:
        told = "%d of %d steps are up to date and are not run again (--params incremental=false runs all)"
        logger.info(told, len(current), len(pipeline.nodes))
        events.publish(events.DatasetsReady(_outputs(current), len(current)))


def _outputs(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(name for node in nodes for name in node.outputs)


def _unit(node: Node) -> str:
    """What the node is run with in one process; empty: it runs in this one."""
    if TRIAL in node.tags:
        return model_of(node)
    return node.name if UNIT in node.tags else ""


def _depending_on(pipeline: Pipeline, units: list[Node]) -> set[Node]:
    """Nodes, not units themselves, that need the output of a unit, also through others."""
    made = set(_outputs(units))
    found: set[Node] = set()
    for node in pipeline.nodes:
        if node not in units and made & set(node.inputs):
            found.add(node)
            made |= set(node.outputs)
    return found


def _workers(units: list[Node], parameters: Mapping[str, Any]) -> int:
    """As many as there are cores and units, and as memory allows; one where they would share a GPU."""
    import psutil

    most = len({_unit(node) for node in units})
    if parameters["workers"]:
        return min(int(parameters["workers"]), most)
    if parameters["accelerator"] != "cpu" and _has_accelerator(parameters["accelerator"]):
        return 1
    by_memory = int(psutil.virtual_memory().total / 2**30 / _GB_PER_WORKER)
    return max(1, min(usable_cores(), most, by_memory))


def _has_accelerator(accelerator: str) -> bool:
    import torch

    return accelerator in ("gpu", "mps") or torch.cuda.is_available() or torch.backends.mps.is_available()
