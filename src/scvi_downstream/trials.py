"""Trials: a model of the study with other values of its options, or with another seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import yaml

from scvi_downstream.errors import InputError, closest
from scvi_downstream.models.search_space import changed

_LONGEST_NAME = 80


def lists_of_sweep(sweep: Any) -> Any:
    """``5;10;30`` of the command line, which has no lists, as a list of values; the rest as it is."""
    if not isinstance(sweep, Mapping):
        return sweep
    return {
        model: {option: _values(given) for option, given in _dotted(lists)}
        if isinstance(lists, Mapping)
        else lists
        for model, lists in sweep.items()
    }


def crossed(
    model: str, options: Mapping[str, Any], lists: Mapping[str, list[Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and options of every combination of the values in ``lists``.

    Parameters
    ----------
    model
        The model that is varied.
    options
        Its own entry of ``models:``.
    lists
        Option (``training.lr`` for one of the training) → values.

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
    for values in product(*lists.values()):
        changes = dict(zip(lists, values, strict=True))
        suffix = "_".join(_abbreviation(option, value) for option, value in changes.items())
        yield f"{model}_{suffix}"[:_LONGEST_NAME], {**changed(options, changes), "trial_of": model}


def reseeded(
    model: str, options: Mapping[str, Any], seed: int, n_seeds: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and options of the model with the seeds after the study's own, ``n_seeds`` with that one."""
    for other in range(seed + 1, seed + n_seeds):
        yield f"{model}_seed{other}", {**options, "seed": other, "trial_of": model}


def check_names(given: Mapping[str, Any], models: Mapping[str, Any], where: str) -> None:
    """Refuse models that the study does not have.

    Raises
    ------
    InputError
        Naming the closest there is.
    """
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
