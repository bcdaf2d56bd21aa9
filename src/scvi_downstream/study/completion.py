"""From the user's parameters to typed, complete ones: defaults, sweeps, models that apply."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product, starmap
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from scvi_downstream.cells.keys import PROTEIN_KEY, ROLES, Keys, Replicates
from scvi_downstream.models.families import explain, parse_spec
from scvi_downstream.models.search_space import changed
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.declaration import DEMO
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import Options
from scvi_downstream.study.parameters import TopLevel, study_parameters

_LONGEST_NAME = 80
"""Folders, MLflow runs and the board are called so; a longer name ends in a digest of the values instead."""


def lists_of_sweep(sweep: Any) -> Any:
    """``5;10;30`` of the command line, which has no lists, as a list of values; the rest as it is."""
    if not isinstance(sweep, Mapping):
        return sweep
    nested = {model: lists for model, lists in sweep.items() if isinstance(lists, Mapping)}
    return {**sweep} | {
        model: {option: _values(given) for option, given in _dotted(lists)} for model, lists in nested.items()
    }


def crossed(
    model: str, options: Mapping[str, Any], lists: Mapping[str, list[Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and options of every combination of the values in ``lists``, for a model and its own entry of ``models:``.

    ``lists`` are option (``training.lr`` for one of the training) → values.

    Names that are too long, or the same for other values, end in a digest of the values.

    Raises
    ------
    InputError
        An empty list, or a value given twice.
    """
    for option, given in lists.items():
        where = f"sweep.{model}.{option}"
        if not isinstance(given, list):
            raise InputError(f"{where}: give a list of values to cross, not {given!r}")
        if not given:
            raise InputError(f"{where} is an empty list; give at least one value")
        if len(set(map(str, given))) < len(given):
            raise InputError(f"{where} names a value twice: {given}")
    combinations = [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
    names = ["_".join([model, *starmap(_abbreviation, changes.items())]) for changes in combinations]
    times = Counter(names)
    for name, changes in zip(names, combinations, strict=True):
        digest = hashlib.sha256(repr(changes).encode()).hexdigest()[:8]
        unique = len(name) <= _LONGEST_NAME and times[name] == 1
        told_apart = name if unique else f"{name[: _LONGEST_NAME - len(digest) - 1]}_{digest}"
        yield told_apart, {**changed(options, changes), "trial_of": model}


def reseeded(
    model: str, options: Mapping[str, Any], seed: int, n_seeds: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and options of the model with the seeds after the study's own, ``n_seeds`` with that one."""
    for other in range(seed + 1, seed + n_seeds):
        yield f"{model}_seed{other}", {**options, "seed": other, "trial_of": model}


def check_names(given: Mapping[str, Any], models: Mapping[str, Any], where: str) -> None:
    """Refuse models that the study does not have, naming the closest there is."""
    for name in given:
        if name not in models:
            raise InputError(f"{where}.{name}: no such model{closest(name, models)}")


def _dotted(lists: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for option, given in lists.items():
        if isinstance(given, Mapping):
            yield from _dotted(given, f"{prefix}{option}.")
        else:
            yield f"{prefix}{option}", given


def _values(given: Any) -> Any:
    if isinstance(given, str):
        return [yaml.safe_load(part) for part in given.split(";")]
    return [given] if isinstance(given, bool | int | float) else given


def _abbreviation(option: str, value: object) -> str:
    short = option.rpartition(".")[2].removeprefix("n_").replace("_", "")
    return short + re.sub(r"[^A-Za-z0-9]", "p", str(value))


DERIVED: dict[str, type[Options]] = {"keys": Keys, "replicates": Replicates}
"""What nodes take of the study's own parameters, in one place; models are made anew for none but ``keys``."""
UNSET = "unset_keys"
"""Name of the parameter, derived as well, that lists the keys which the user leaves open; ``""`` is an answer."""
DEMO_KEYS = {"batch_key": "batch", "label_key": "cell_type"}
_MODEL_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")
# Baselines, folders beside those of the models, and what nodes that take a dataset of every model take besides.
RESERVED = (
    "pca", "harmony", "scanorama", "unintegrated", "annotation", "mapped", "prediction", "search", "provenance",
    "R", "counts", "keys", "options", "seed",
)  # fmt: skip


def complete_parameters(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Check all parameters and add what follows from them.

    Parameters
    ----------
    raw
        ``parameters*.yml`` after environment and ``--params``.

    Returns
    -------
    The same, typed and complete, with ``keys`` (the obs columns in one place), ``replicates`` (these and what makes
    samples replicates), ``unset_keys`` (of which nothing was said), every model of ``sweep:`` among
    ``models``, and each model's own ``name`` and ``training``.

    Raises
    ------
    InputError
        Unknown or wrong parameter, naming it and the closest there is.
    """
    plain = {name: value for name, value in raw.items() if name not in (*DERIVED, UNSET)}
    if "sweep" in plain:
        plain["sweep"] = lists_of_sweep(plain["sweep"])
    if isinstance(plain.get("models"), Mapping):  # null is the only way to leave out a model of conf/base
        plain["models"] = {name: given for name, given in plain["models"].items() if given is not None}
    try:
        study = study_parameters().model_validate(_named_after_input(_demo_defaults(_with_proteins(plain))))
    except ValidationError as error:
        raise InputError(f"parameter {explain(error, study_parameters(), '')}") from None
    models = {name: spec.model_dump(mode="json") for name, spec in _model_specs(study).items()}
    if study.primary not in models:
        raise InputError(f"primary '{study.primary}' is not among models{closest(study.primary, models)}")
    derived = {
        name: kind(**{field: getattr(study, field) for field in kind.model_fields}).model_dump(mode="json")
        for name, kind in DERIVED.items()
    }
    unset = [] if study.input == DEMO else [name for name in ROLES if plain.get(name) is None]
    return study.model_dump(mode="json") | {"models": models, UNSET: unset} | derived


def typed_options(parameters: Mapping[str, Any]) -> dict[str, Options]:
    """The options of each pipeline, and :data:`DERIVED`, as objects, of complete parameters."""
    fields = study_parameters().model_fields
    types = {name: field.annotation for name, field in fields.items()} | DERIVED
    return {
        name: kind.model_validate(parameters[name])
        for name, kind in types.items()
        if isinstance(kind, type) and issubclass(kind, Options)
    }


def _model_specs(study: TopLevel) -> dict[str, ModelSpec]:
    """Every model of the study by name, those of the sweep after the one they vary.

    Raises
    ------
    InputError
        A name, family, option or sweep that does not exist, or a start (``init_from``) that cannot be used.
    """
    check_names(study.sweep, study.models, "sweep")
    check_names(dict.fromkeys(_reseeding(study)["models"]), study.models, "stability.models")
    options: dict[str, Mapping[str, Any]] = {}
    for name, given in study.models.items():
        _check_entry(name, given)
        options[name] = given
        options |= _trials(name, given, study)
    specs = {name: _spec(name, given, study.training) for name, given in options.items()}
    return {
        name: _with_sizes_of_start(spec, options[name], specs, study.training) if spec.init_from else spec
        for name, spec in specs.items()
    }


def _trials(name: str, given: Mapping[str, Any], study: TopLevel) -> dict[str, Mapping[str, Any]]:
    """The model's variants by name, checked one option at a time so that a message names the list it is from."""
    lists = study.sweep.get(name, {})
    trials: dict[str, Mapping[str, Any]] = dict(crossed(name, given, lists)) if lists else {}
    for option, values in lists.items():
        for value in values:
            ((_, alone),) = crossed(name, given, {option: [value]})
            try:
                _spec(name, alone, study.training)
            except InputError as error:
                raise InputError(str(error).replace(f"models.{name}", f"sweep.{name}", 1)) from None
    reseeding = _reseeding(study)
    if name in reseeding["models"]:
        trials |= dict(reseeded(name, given, study.seed, reseeding["n_seeds"]))
    for trial in trials:
        if trial in study.models:
            raise InputError(
                f"models.{trial} has the name of a trial of '{name}'; give the model another name"
            )
    return trials


def _reseeding(study: TopLevel) -> dict[str, Any]:
    """Which models are fitted with other seeds, and with how many."""
    return study.model_dump()["stability"]


def _demo_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    if raw.get("input") != DEMO:
        return _without_empty_keys(raw)
    unset = {key: value for key, value in DEMO_KEYS.items() if raw.get(key) is None}
    completed = {
        analysis.options_key: analysis.complete_for_demo(raw.get(analysis.options_key))
        for analysis in analyses()
        if analysis.demo
    }
    return _without_empty_keys({**raw, **unset, **completed})


def _with_proteins(raw: dict[str, Any]) -> dict[str, Any]:
    """Proteins that the input brings are used, unless ``protein_key`` is ``""``; the file's headers are looked at."""
    if raw.get("protein_key") is not None or raw.get("input") in (None, DEMO):
        return raw
    from scvi_downstream.datasets.counts_input_dataset import has_proteins

    return {**raw, "protein_key": PROTEIN_KEY} if has_proteins(str(raw["input"])) else raw


def _named_after_input(raw: dict[str, Any]) -> dict[str, Any]:
    """Name the study after its input, so that no one's cells are written into another study by default."""
    if raw.get("study") is not None or raw.get("input") is None:
        return raw
    stem = Path(str(raw["input"])).name
    for suffix in (".h5ad", ".h5mu", ".zarr", ".h5", ".hdf5"):
        stem = stem.removesuffix(suffix)
    return {**raw, "study": re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-") or None}


def _without_empty_keys(raw: dict[str, Any]) -> dict[str, Any]:
    """An empty key is none, but for that of blocks: without any these are looked for."""
    named = TopLevel.model_fields.keys() - {"block_key"}
    empty = [name for name, value in raw.items() if value == "" and name in named]
    return raw | dict.fromkeys(empty)


def _check_entry(name: str, options: object) -> None:
    if not _MODEL_NAME.match(name) or name in RESERVED:
        raise InputError(
            f"models.{name}: use letters, digits and underscores, beginning with a letter, "
            f"and none of {', '.join(RESERVED)}"
        )
    if not isinstance(options, Mapping):
        raise InputError(
            f"models.{name}: give a family and options, such as {{family: SCVI, n_latent: 10}}, not {options!r}"
        )


def _spec(name: str, options: Mapping[str, Any], training: TrainingOptions) -> ModelSpec:
    own = options.get("training") or {}
    return parse_spec({**options, "name": name, "training": {**training.model_dump(), **own}})


def _with_sizes_of_start(
    spec: ModelSpec, given: Mapping[str, Any], specs: Mapping[str, ModelSpec], training: TrainingOptions
) -> ModelSpec:
    """Take over the hyperparameters of the model whose weights are the start."""
    where = f"models.{spec.name}"
    start = specs.get(str(spec.init_from))
    if start is None:
        raise InputError(
            f"{where}.init_from '{spec.init_from}' is not a model of the study{closest(str(spec.init_from), specs)}"
        )
    if start.family not in spec.initialisable_from:
        allowed = ", ".join(sorted(spec.initialisable_from)) or "no family"
        raise InputError(
            f"{where}.init_from: {spec.family} can start from {allowed}, but '{start.name}' is {start.family}"
        )
    shared = {name: value for name, value in start.hyperparameters.items() if name in spec.hyperparameters}
    shared["correct_batch"] = start.correct_batch
    for name in given:
        if name in shared and getattr(spec, name) != shared[name]:
            raise InputError(
                f"{where}.{name} is {getattr(spec, name)!r}, but the model takes its sizes from '{start.name}', "
                f"where it is {shared[name]!r}; leave it out or drop init_from"
            )
    return _spec(spec.name, {**given, **shared}, training)
