"""Model families by name; a new one is one file and one entry here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from scvi_downstream.models.autoencoders import DrviSpec, LinearScviSpec, ScanviSpec, ScviSpec
from scvi_downstream.models.mrvi import MrviSpec
from scvi_downstream.models.specification import Capability, ModelSpec
from scvi_downstream.models.totalvi import TotalviSpec
from scvi_downstream.runtime.errors import InputError, closest

FAMILIES: dict[str, type[ModelSpec]] = {
    spec.model_fields["family"].default: spec
    for spec in (ScviSpec, LinearScviSpec, ScanviSpec, DrviSpec, MrviSpec, TotalviSpec)
}


def require_capability(family: str, capability: Capability, analysis: str) -> None:
    """Refuse a model that cannot do what an analysis needs.

    Raises
    ------
    InputError
        Naming the families that can.
    """
    if family not in FAMILIES or capability not in FAMILIES[family].can:
        able = " or ".join(name for name, spec in FAMILIES.items() if capability in spec.can)
        raise InputError(
            f"{analysis} needs a model of the family {able}, and {family} has no {capability.replace('_', ' ')}; add "
            "one to models:, with the keys that it needs, and run training"
        )


def parse_spec(raw: Mapping[str, Any]) -> ModelSpec:
    """Check and type the options of one model: an entry of ``models:`` with its ``name``.

    Raises
    ------
    InputError
        Unknown family, unknown option or a value of the wrong kind, with the closest name there is.
    """
    where = f"models.{raw['name']}"
    if "family" not in raw:
        raise InputError(f"{where} has no family; there are {', '.join(FAMILIES)}")
    name = str(raw["family"])
    family = FAMILIES.get(name)
    if family is None:
        raise InputError(f"{where}.family '{name}' is unknown{closest(name, FAMILIES)}")
    try:
        return family.model_validate(dict(raw))
    except ValidationError as error:
        raise InputError(explain(error, family, where)) from None


def explain(error: ValidationError, model: type, where: str) -> str:
    """The first problem of a failed validation as one sentence with a suggestion."""
    problem = error.errors(include_url=False)[0]
    location = [str(part) for part in problem["loc"]]
    path = ".".join(filter(None, [where, *location]))
    others = error.error_count() - 1
    more = f" (and {others} more problem{'s' if others > 1 else ''})" if others else ""
    if problem["type"] == "missing":
        return f"{path} has no value; conf/base holds one for every parameter{more}"
    if problem["type"] == "extra_forbidden":
        return f"{path} is not an option{closest(location[-1], _options_at(model, location[:-1]))}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {message[0].lower()}{message[1:]}, but it is {problem['input']!r}{more}"


def _options_at(model: type, location: list[str]) -> list[str]:
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field is not None else object
    return [name for name in getattr(model, "model_fields", {}) if name != "name"]
