"""Baselines that need a package which is not installed with the project."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.saved import why_no_unseen_batch
from scvi_downstream.models.specification import Capability, ModelSpec
from scvi_downstream.pipelines.trajectory.options import START_OPTIONS, TrajectoryOptions
from scvi_downstream.runtime.errors import InputError, closest

_PACKAGES = {"scanorama": "scanorama"}


def missing_baselines(names: Iterable[str]) -> dict[str, str]:
    """Baselines that cannot be run here, each with what to do.

    Parameters
    ----------
    names
        Of ``comparison.baselines``.

    Returns
    -------
    Name → one sentence; empty when all can be run.
    """
    return {
        name: (
            f"comparison.baselines names '{name}', but its package is not installed: run `pip install "
            f"{_PACKAGES[name]}` (it builds annoy, which needs a C++ compiler) or leave it out"
        )
        for name in names
        if name in _PACKAGES and importlib.util.find_spec(_PACKAGES[name]) is None
    }


_NEEDED_KEYS = {"labels": "label_key", "samples": "sample_key", "proteins": "protein_key"}
_HINTS = {"protein_key": " as the input brings no proteins"}
_CORRECTING = {"harmony": "Harmony", "scanorama": "Scanorama"}
_OF_PRIMARY: tuple[Capability, ...] = ("normalized_expression", "differential_expression")
Analysis = Literal[
    "label_transfer",
    "marker_naming",
    "reference_mapping",
    "batch_effects",
    "metadata",
    "factors",
    "trajectory",
    "samples",
    "proteins",
    "prediction",
]


@dataclass(frozen=True)
class StudyGraph:
    """What the registry builds pipelines for."""

    models: Mapping[str, ModelSpec]
    trials: Mapping[str, ModelSpec]
    baselines: tuple[str, ...]
    primary: str
    counterfactual: bool
    analyses: frozenset[Analysis]
    left_out: Mapping[str, str]
    representations: tuple[str, ...] = ()
    seeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    validated: tuple[str, ...] = ()
    n_folds: int = 5
    without_batches: frozenset[str] = frozenset()
    searched: bool = False
    exported: str = ""
    has_samples: bool = False
    has_labels: bool = False
    trajectory: TrajectoryOptions = field(default_factory=TrajectoryOptions)

    def first_with(self, capability: Capability) -> str | None:
        """The first model that can do something; ``None``: none can."""
        return next((name for name, spec in self.models.items() if capability in spec.can), None)

    @property
    def swept(self) -> tuple[str, ...]:
        """Trials of the sweep."""
        reseeded = {name for names in self.seeds.values() for name in names}
        return tuple(name for name in self.trials if name not in reseeded)

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of all rows of the board: models, trials of the sweep, baselines."""
        return (*self.models, *self.swept, *self.baselines)

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """Rows of the board that are models, of which cells have a likelihood."""
        return (*self.models, *self.swept)


def study_graph(parameters: Mapping[str, Any]) -> StudyGraph:
    """Decide from complete parameters what is run and what is left out, and why.

    Parameters
    ----------
    parameters
        As :func:`scvi_downstream.study.completion.complete_parameters` returns them.

    Raises
    ------
    InputError
        When the primary model is among what is left out.
    """
    keys = Keys.model_validate(parameters["keys"])
    specs = {name: parse_spec(options) for name, options in parameters["models"].items()}
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
    baselines = list(parameters["comparison"]["baselines"])
    for what_to_do in missing_baselines(baselines).values():
        raise InputError(what_to_do)
    for name in _CORRECTING.keys() & set(baselines) if not keys.batch_key else ():
        baselines.remove(name)
        left_out[name] = f"{_CORRECTING[name]} needs batch_key, which is empty"
    primary = parameters["primary"]
    if primary in left_out:
        raise InputError(f"primary '{primary}' cannot be fitted: {left_out[primary]}")
    applicable = {name: spec for name, spec in specs.items() if name not in left_out}
    models = {name: spec for name, spec in applicable.items() if spec.trial_of is None or name == primary}
    _check_primary(primary, models, parameters)
    every_baseline = tuple(dict.fromkeys(["pca", *baselines]))
    return StudyGraph(
        models=models,
        trials={name: spec for name, spec in applicable.items() if name not in models},
        seeds=_seeds(parameters, applicable),
        validated=_among("cross_validation.models", parameters["cross_validation"]["models"], models),
        baselines=every_baseline,
        primary=primary,
        counterfactual=bool(parameters["imputation"]["transform_batch"]),
        analyses=frozenset(name for name, wanted in _wanted(parameters, keys, models).items() if wanted),
        left_out=left_out,
        representations=_representations(parameters, primary, models, every_baseline),
        n_folds=int(parameters["cross_validation"]["n_folds"]),
        without_batches=_without_batches(parameters, models, keys),
        searched=bool(parameters["search"]["model"]),
        exported=_among("hub.model", [parameters["hub"]["model"] or primary], models)[0],
        has_samples=keys.sample_key is not None,
        has_labels=keys.label_key is not None,
        trajectory=TrajectoryOptions.model_validate(parameters["trajectory"]),
    )


def _check_primary(primary: str, models: Mapping[str, ModelSpec], parameters: Mapping[str, Any]) -> None:
    """Refuse a primary model that cannot do what is asked of it."""
    spec = models[primary]
    for capability in _OF_PRIMARY:
        if capability not in spec.can:
            able = [name for name, other in models.items() if set(_OF_PRIMARY) <= other.can]
            raise InputError(
                f"primary '{primary}' is {spec.family}, which has no {capability.replace('_', ' ')} for the analyses "
                f"of the primary model; choose {' or '.join(able) or 'a model of the family SCVI'}"
            )
    if spec.correct_batch:
        return
    for option, wanted in (
        ("imputation.transform_batch", parameters["imputation"]["transform_batch"]),
        ("de.batch_correction", parameters["de"]["batch_correction"]),
    ):
        if wanted:
            raise InputError(
                f"{option} needs a primary model that knows the batches, but models.{primary}.correct_batch is false"
            )


def _seeds(parameters: Mapping[str, Any], applicable: Mapping[str, ModelSpec]) -> dict[str, tuple[str, ...]]:
    """The trials of each model that differ from it by their seed alone."""
    return {
        model: tuple(
            name
            for name, spec in applicable.items()
            if spec.trial_of == model and name == f"{model}_seed{spec.seed}"
        )
        for model in parameters["stability"]["models"]
        if model in applicable
    }


def _without_batches(
    parameters: Mapping[str, Any], models: Mapping[str, ModelSpec], keys: Keys
) -> frozenset[str]:
    """Models that can be fitted without one of the batches and then be asked for its cells."""
    if not parameters["cross_validation"]["batches"]:
        return frozenset()
    return frozenset(name for name, spec in models.items() if why_no_unseen_batch(spec, keys) is None)


def _among(where: str, names: Iterable[str], models: Mapping[str, ModelSpec]) -> tuple[str, ...]:
    for name in names:
        if name not in models:
            raise InputError(
                f"{where}: '{name}' is not a model of the study that can be fitted{closest(name, models)}"
            )
    return tuple(names)


def _representations(
    parameters: Mapping[str, Any], primary: str, models: Mapping[str, ModelSpec], baselines: tuple[str, ...]
) -> tuple[str, ...]:
    """What trajectories are learnt on: the primary model first."""
    chosen = parameters["trajectory"]["representations"]
    if chosen is None:
        unbatched = [name for name, spec in models.items() if not spec.correct_batch]
        return tuple(dict.fromkeys([primary, *unbatched, "pca"]))
    known = [*models, *baselines]
    for name in chosen:
        if name not in known:
            raise InputError(f"trajectory.representations: '{name}' has no latent{closest(name, known)}")
    return tuple(dict.fromkeys([primary, *chosen]))


def _wanted(
    parameters: Mapping[str, Any], keys: Keys, models: Mapping[str, ModelSpec]
) -> dict[Analysis, bool]:
    """Which of the analyses that need something of the user's can be run."""
    capabilities = {capability for spec in models.values() for capability in spec.can}
    return {
        "trajectory": any(parameters["trajectory"][name] for name in START_OPTIONS),
        "samples": "sample_distances" in capabilities,
        "proteins": "proteins" in capabilities,
        "prediction": keys.condition_key is not None and bool(keys.sample_key or keys.label_key),
        "factors": True,
        "label_transfer": keys.label_key is not None,
        "marker_naming": bool(parameters["marker_table"]),
        "reference_mapping": bool(parameters["reference"]),
        "batch_effects": keys.batch_key is not None,
        "metadata": bool(
            parameters["metadata"]
            or parameters["metadata_analysis"]["columns"]
            or keys.condition_key
            or keys.categorical_covariates
            or keys.continuous_covariates
        ),
    }
