"""Which models, baselines and analyses the study's parameters call for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.specification import Capability, ModelSpec
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.comparison.options import BASELINES
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.completion import typed_options

_NEEDED_KEYS = {"labels": "label_key", "samples": "sample_key", "proteins": "protein_key"}
_HINTS = {"protein_key": " as the input brings no proteins"}
# Baselines whose package is not installed with the project.
_PACKAGES = {"scanorama": "scanorama"}
# What is asked of the model whose downstream analyses are run.
_OF_PRIMARY: tuple[Capability, ...] = ("normalized_expression", "differential_expression")


def plan_study(
    parameters: Mapping[str, Any],
    requested: frozenset[str] = frozenset(),
    is_stored: Callable[[str], bool] | None = None,
) -> Study:
    """Decide from complete parameters what is run and what is left out, and why.

    Parameters
    ----------
    parameters
        As :func:`scvi_downstream.study.completion.complete_parameters` returns them.
    requested
        Pipelines that the command names.
    is_stored
        Whether a dataset is on disk already; ``None`` when no one asked for a report of what there is.

    Raises
    ------
    InputError
        The primary model is among what is left out or cannot do what is asked of it, or a baseline is not installed.
    """
    keys = Replicates.model_validate(parameters["replicates"])
    specs = {name: parse_spec(options) for name, options in parameters["models"].items()}
    left_out = _models_left_out(specs, keys)
    baselines = _baselines(parameters["comparison"]["baselines"], keys, left_out)
    primary = parameters["primary"]
    if primary in left_out:
        raise InputError(f"primary '{primary}' cannot be fitted: {left_out[primary]}")
    applicable = {name: spec for name, spec in specs.items() if name not in left_out}
    models = {name: spec for name, spec in applicable.items() if spec.trial_of is None or name == primary}
    _check_primary(primary, models)
    study = Study(
        parameters=parameters,
        keys=keys,
        options=typed_options(parameters),
        models=models,
        trials={name: spec for name, spec in applicable.items() if name not in models},
        seeds=_seeds(parameters["stability"]["models"], applicable),
        baselines=baselines,
        primary=primary,
        left_out=left_out,
        requested=requested,
        is_stored=is_stored,
    )
    needs = {part: need for analysis in analyses() for part, need in analysis.needs.items()}
    aspects = [need for analysis in analyses() for need in (*analysis.needs.values(), *analysis.aspects)]
    lacking = {name: why for analysis in analyses() for name, why in analysis.lacking(study).items()}
    return replace(
        study,
        left_out=left_out | lacking,
        analyses=frozenset(part for part, need in needs.items() if need.met(study)),
        absent=tuple(need.otherwise for need in aspects if need.otherwise and not need.met(study)),
    )


def _models_left_out(specs: Mapping[str, ModelSpec], keys: Keys) -> dict[str, str]:
    left_out: dict[str, str] = {}
    for name, spec in specs.items():
        missing = [
            _NEEDED_KEYS[need]
            for need in sorted(spec.needs)
            if not getattr(keys, _NEEDED_KEYS.get(need, ""), None)
        ]
        if missing:
            left_out[name] = f"{spec.family} needs {missing[0]}, which is empty{_HINTS.get(missing[0], '')}"
    for name, spec in specs.items():
        if spec.init_from in left_out:
            left_out[name] = f"it starts from '{spec.init_from}', which is left out"
    return left_out


def _baselines(named: list[str], keys: Keys, left_out: dict[str, str]) -> tuple[str, ...]:
    """Baselines that can be run, PCA first; those that cannot go to ``left_out``."""
    for name in named:
        if name in _PACKAGES and find_spec(_PACKAGES[name]) is None:
            raise InputError(
                f"comparison.baselines names '{name}', but its package is not installed: run `pip install "
                f"{_PACKAGES[name]}` (it builds annoy, which needs a C++ compiler) or leave it out"
            )
    without_batches = [name for name in named if name != "pca" and not keys.batch_key]
    left_out |= {name: f"{BASELINES[name]} needs batch_key, which is empty" for name in without_batches}
    return tuple(dict.fromkeys(["pca", *(name for name in named if name not in without_batches)]))


def _check_primary(primary: str, models: Mapping[str, ModelSpec]) -> None:
    """Refuse a primary model that cannot do what is asked of it."""
    spec = models[primary]
    for capability in _OF_PRIMARY:
        if capability not in spec.can:
            able = [name for name, other in models.items() if set(_OF_PRIMARY) <= other.can]
            raise InputError(
                f"primary '{primary}' is {spec.family}, which has no {capability.replace('_', ' ')} for the analyses "
                f"of the primary model; choose {' or '.join(able) or 'a model of the family SCVI'}"
            )


def _seeds(named: list[str], applicable: Mapping[str, ModelSpec]) -> dict[str, tuple[str, ...]]:
    """The trials of each model that differ from it by their seed alone."""
    return {
        model: tuple(
            name
            for name, spec in applicable.items()
            if spec.trial_of == model and name == f"{model}_seed{spec.seed}"
        )
        for model in named
        if model in applicable
    }
