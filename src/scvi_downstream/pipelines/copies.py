"""Templates copied into the namespaces of models, trials and baselines, or connected to a model's datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, reduce, update_wrapper
from operator import add
from typing import Any

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.declaration import Study

# Made once for the study; every other dataset of a template belongs to the copy's model.
_SHARED = ("counts", "qc_metrics", "covariates", "pca.latent")
# Parameters that stand for the options of one model.
_OF_MODEL = ("params:spec", "params:initial_spec")
_CHECKPOINT = "checkpoint"
"""How the names end under which nodes are given where to take up unfinished work; Kedro-Viz shows no parameters."""


def step(function: Callable[..., Any], inputs: Any, outputs: Any, **settings: Any) -> Node:
    """A node with the name of its function.

    Parameters
    ----------
    function
        What it does.
    inputs, outputs, settings
        As for Kedro's own ``Node``.
    """
    return Node(function, inputs, outputs, name=function.__name__, **settings)


def bound(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """``function`` with some of its arguments given, under its own name."""
    return update_wrapper(partial(function, **arguments), function)


def joined(pipelines: Iterable[Pipeline]) -> Pipeline:
    """All of them in one."""
    return reduce(add, pipelines, Pipeline([]))


def boxed(pipeline: Pipeline, box: str) -> Pipeline:
    """All nodes below one name, which is a box of Kedro-Viz; datasets keep theirs."""
    return Pipeline(pipeline, namespace=box, prefix_datasets_with_namespace=False)


def box_of(node: Node) -> str:
    """The box of Kedro-Viz's first look that holds a node."""
    return (node.namespace or "").partition(".")[0]


def model_of(node: Node) -> str:
    """The model, trial or baseline whose node it is; empty: none's."""
    return (node.namespace or "").partition(".")[2]


def per_model(study: Study, copy: Callable[[Study, str], Pipeline]) -> Pipeline:
    """``copy`` of every model of the study."""
    return joined(copy(study, name) for name in study.models)


def per_baseline(study: Study, copy: Callable[[str], Pipeline]) -> Pipeline:
    """``copy`` of every baseline."""
    return joined(copy(name) for name in study.baselines)


def copied(
    template: Pipeline,
    namespace: str,
    *,
    with_tags: Iterable[str] = (),
    initial_spec: str | None = None,
    **mapped: str,
) -> Pipeline:
    """Copy a template into a namespace; what all models share keeps its name.

    Parameters
    ----------
    template
        Nodes without a namespace.
    namespace
        Model, trial or baseline.
    with_tags
        For all of its nodes.
    initial_spec
        Model whose options are those of the start.
    mapped
        Other inputs and the datasets that stand for them, where they are free.
    """
    free = template.inputs()
    inputs = {name: name for name in _SHARED if name in free}
    inputs |= {name: dataset for name, dataset in mapped.items() if name in free}
    parameters = {name: name for name in free if name.startswith("params:") and name not in _OF_MODEL}
    for name, model in zip(_OF_MODEL, (namespace, initial_spec), strict=True):
        if name in free:
            parameters[name] = f"params:models.{model}"
    parameters |= {name: f"{name}.{namespace}" for name in parameters if name.endswith(_CHECKPOINT)}
    return Pipeline(
        template,
        namespace=namespace,
        inputs=inputs,
        parameters=parameters,
        tags=set(with_tags),
        prefix_datasets_with_namespace=True,
    )


def on_model(template: Pipeline, model: str, datasets: Iterable[str], **renamed: Any) -> Pipeline:
    """Connect a template to those of a model's datasets that it takes.

    Parameters
    ----------
    template
        Nodes without a namespace.
    model
        Whose datasets they are.
    datasets
        Names within the model, such as ``fitted``.
    renamed
        ``outputs`` and ``parameters`` of Kedro's own ``Pipeline``.
    """
    used = [name for name in datasets if name in template.inputs()]
    return Pipeline(template, inputs={name: f"{model}.{name}" for name in used}, **renamed)
