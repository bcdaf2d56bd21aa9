"""Named pipelines of a study: what every capability declares, joined."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path

from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from scvi_downstream.engine.kedro_internals import LaterPipeline
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.copies import boxed, joined
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.runtime.package import own_conf
from scvi_downstream.study.loader import load_parameters
from scvi_downstream.study.plan import plan_study


def register_pipelines(study: Study | None = None) -> dict[str, Pipeline]:
    """One pipeline a capability, and ``__default__``: all that the study calls for.

    Parameters
    ----------
    study
        What to build for; ``None``, as Kedro calls it without a session: the project's own parameters, which are read
        when a pipeline is first looked into.
    """
    if study is None:
        built = cache(lambda: register_pipelines(plan_study(_parameters_without_session())))
        names = ["__default__", *(analysis.name for analysis in analyses())]
        return {name: LaterPipeline(partial(lambda name: built()[name], name)) for name in names}
    from scvi_downstream.pipelines.reporting.pipeline import create_pipeline as report_of

    makers = [analysis for analysis in analyses() if analysis.name != "reporting"]
    own = {
        analysis.name: boxed(analysis.create_pipeline(study), analysis.box or analysis.name)
        for analysis in makers
    }
    pipelines = {
        analysis.name: _with_needed(own[analysis.name], analysis.brings, analysis.brings_to, own)
        if analysis.brings
        else own[analysis.name]
        for analysis in makers
    }
    default = {analysis.name for analysis in makers if analysis.runs_in(study)}
    pipelines["reporting"] = report_of(study, *_reported(study, pipelines, default))
    everything = joined(pipelines[name] for name in [*sorted(default), "reporting"])
    return {"__default__": everything, **pipelines}


def _parameters_without_session() -> dict:
    project = find_kedro_project(Path.cwd())
    return load_parameters(project / "conf" if project else own_conf(), os.environ.get("KEDRO_ENV"))


def _with_needed(
    own: Pipeline, brings: Iterable[str], brings_to: str, pipelines: Mapping[str, Pipeline]
) -> Pipeline:
    """Nodes of a capability and what they need of others, from the counts on."""
    everything = joined([*(pipelines[name] for name in brings), own])
    outputs = sorted((pipelines[brings_to] if brings_to else own).all_outputs())
    return everything.filter(to_outputs=outputs) if outputs else Pipeline([])


def _reported(
    study: Study, pipelines: Mapping[str, Pipeline], default: set[str]
) -> tuple[Pipeline, set[str]]:
    """What the report can be of, and of its outputs what this run makes, or is on disk when it is asked for by name."""
    requested = study.requested & set(pipelines)
    everything = joined(pipelines[name] for name in default | requested)
    available = everything.all_outputs()
    if study.is_stored is None:
        return everything, available
    made = joined(pipelines[name] for name in requested).all_outputs()
    return everything, {name for name in available if name in made or study.is_stored(name)}
