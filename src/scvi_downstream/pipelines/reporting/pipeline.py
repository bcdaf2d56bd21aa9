"""Everything joined: one AnnData and one page for people."""

from __future__ import annotations

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.copies import bound, box_of, boxed, step
from scvi_downstream.pipelines.declaration import PLAN, Join, Obsm, Study, Varm
from scvi_downstream.pipelines.reporting.nodes import gather, join_cells, render_report, write_methods
from scvi_downstream.pipelines.reporting.table_of_contents import report_contents
from scvi_downstream.report.bibliography import write_references
from scvi_downstream.report.sections import MODEL, PRIMARY

_OF_PRIMARY = ("umap", "umap_3d", "clusters", "neighbors")
_MAIN = "counts"


def create_pipeline(study: Study, everything: Pipeline, available: set[str]) -> Pipeline:
    """What each box of the first look hands on, joined to ``analysed`` and to the report.

    ``everything`` are the nodes of the other capabilities, ``available`` those of their outputs that are there or will
    be.
    """
    joins = {dataset: join for dataset, join in _joins(study).items() if dataset in available}
    of_primary = [f"{study.primary}.{name}" for name in _OF_PRIMARY]
    shown = report_contents(available, study.primary, list(study.models))
    always = ["preparation_summary", f"{study.primary}.training_summary", "qc_metrics", *of_primary]
    gathering = _gather_boxes(everything, [*shown, *joins, *always], available)
    undone = {
        analysis.name
        for analysis in analyses()
        if study.is_stored is not None
        and analysis.evidence
        and analysis.evidence.replace(PRIMARY, study.primary) not in available
    }
    given = {name: name for name in sorted(gathering.outputs())}
    written = {"study": PLAN, "methods": "methods", "references": "references"} | given
    methods = bound(write_methods, without=frozenset(undone)) if undone else write_methods
    nodes = [
        step(methods, {"study": PLAN, **given}, "methods"),
        step(write_references, "methods", "references"),
    ]
    if set(of_primary) <= available:
        known = {"counts": _MAIN, "keys": "params:keys", "primary": "params:primary"}
        known |= {"color_by": "params:embedding.color_by"}
        nodes.append(step(bound(join_cells, joins=joins), known | given, ["analysed", "cells_view"]))
        written |= {"cells": "cells_view"}
    nodes.append(step(render_report, written, "report"))
    return boxed(Pipeline(nodes, tags="reporting"), "reporting") + gathering


def _gather_boxes(everything: Pipeline, wanted: Sequence[str], available: set[str]) -> Pipeline:
    """A node in each box that hands on what is wanted of it, and what no other box takes, as one dataset.

    So the first look of Kedro-Viz has one arrow from each box to the report, and no loose ends.
    """
    boxes: dict[str, list[Node]] = {}
    for node in everything.nodes:
        boxes.setdefault(box_of(node), []).append(node)
    nodes = []
    for box, members in boxes.items():
        made = {output for node in members for output in node.outputs}
        taken = {name for node in everything.nodes if box_of(node) != box for name in node.inputs}
        ends = sorted(Pipeline(members).outputs() - taken - {_MAIN})
        handed = [name for name in dict.fromkeys([*wanted, *ends]) if name in made & available]
        arguments = {name.replace(".", "__"): name for name in handed}
        if handed:
            nodes.append(step(gather, arguments, f"{box}_gathered", namespace=box, tags="reporting"))
    return Pipeline(nodes)


def _joins(study: Study) -> dict[str, Join]:
    """How every table that there can be joins ``analysed``."""
    joins: dict[str, Join] = {dataset: Obsm(key) for key, dataset in _latents(study).items()}
    for analysis in analyses():
        for dataset, join in analysis.joins.items():
            models = study.models if MODEL in dataset else [""]
            joins |= {dataset.replace(MODEL, model): _of_model(join, model) for model in models}
    return joins


def _of_model(join: Join, model: str) -> Join:
    return type(join)(join.key.replace(MODEL, model)) if isinstance(join, Obsm | Varm) else join


def _latents(study: Study) -> dict[str, str]:
    """The obsm key of every latent; the family's own name goes to the primary model, or to the first of its family."""
    keys: dict[str, str] = {}
    for name in sorted(study.models, key=lambda model: model != study.primary):
        family_key = study.models[name].obsm_key
        keys[family_key if family_key not in keys else f"X_{name}"] = f"{name}.latent"
    return keys | {f"X_{name}": f"{name}.latent" for name in study.baselines}
