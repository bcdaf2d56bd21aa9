"""The project's defaults, which ``conf/base/parameters*.yml`` alone holds, for notebooks, tests and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import yaml

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import Options
from scvi_downstream.runtime.package import own_conf
from scvi_downstream.study.parameters import study_parameters


def default_parameters(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parameters as ``conf/base`` has them, before they are completed, but for ``changes``: parameter → another value.

    Of a group of options only what is named changes; what is free in form, such as ``models``, is replaced.
    """
    return _with_changes(study_parameters(), deepcopy(_of_base()), changes or {})


def defaults_of[T: Options](kind: type[T], **changes: Any) -> T:
    """Options of one kind with the project's defaults, but for ``changes``.

    Parameters
    ----------
    kind
        Such as ``DeOptions``, or of a group within: ``CellFilters``.
    changes
        Option → another value, as in :func:`default_parameters`.

    Raises
    ------
    InputError
        The study has no such options.

    Examples
    --------
    >>> from scvi_downstream.pipelines.de.options import DeOptions
    >>> defaults_of(DeOptions, delta=1.0).delta
    1.0
    """
    values = default_parameters()
    for name in _place_of(kind):
        values = values[name]
    return kind.model_validate(_with_changes(kind, values, changes))


def replicates_of(**changes: Any) -> Replicates:
    """The study's obs columns and rules of replicates with the project's defaults, but for ``changes``."""
    values = default_parameters()
    return Replicates(**{name: values[name] for name in Replicates.model_fields} | changes)


def model_options(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of ``models:`` with all of its training, as nodes take it.

    The entry has ``name``, ``family``, any hyperparameters, and what differs from the project's ``training``.
    """
    return {**entry, "training": {**_of_base()["training"], **(entry.get("training") or {})}}


def model_spec(entry: Mapping[str, Any]) -> ModelSpec:
    """The same, typed; see :func:`scvi_downstream.models.families.parse_spec`."""
    return parse_spec(model_options(entry))


def default_model(**changes: Any) -> ModelSpec:
    """The primary model of ``conf/base``, but for ``changes``, of ``training`` to what is named."""
    values = _of_base()
    return model_spec({"name": values["primary"], **values["models"][values["primary"]], **changes})


@cache
def _of_base() -> dict[str, Any]:
    files = sorted((own_conf() / "base").glob("parameters*.yml"))
    read = [yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in files]
    return {name: value for group in read for name, value in group.items()}


def _place_of(kind: type[Options]) -> tuple[str, ...]:
    """Names that lead to the options of one kind."""
    places: list[tuple[tuple[str, ...], type[Options]]] = [((), study_parameters())]
    for place, group in places:
        if group is kind:
            return place
        places += [((*place, name), inner) for name, inner in _groups(group).items()]
    raise InputError(f"{kind.__name__} is not among the options of a study")


def _groups(kind: type[Options]) -> dict[str, type[Options]]:
    """Fields that are options themselves."""
    return {
        name: field.annotation
        for name, field in kind.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options)
    }


def _with_changes(kind: type[Options], values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    groups = _groups(kind)
    inner = {
        name: _with_changes(groups[name], values.get(name) or {}, given)
        for name, given in changes.items()
        if name in groups and isinstance(given, Mapping)
    }
    return {**values, **changes, **inner}
