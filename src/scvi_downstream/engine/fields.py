"""Which options a function reads: the others cannot decide on its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from scvi_downstream.engine.closures import Project
from scvi_downstream.engine.definitions import Signature

# A method behind these is called with its object as it would be without them.
_TRANSPARENT = frozenset({
    "builtins.property", "contextlib.contextmanager", "functools.cache", "functools.cached_property",
})  # fmt: skip
_OF_THE_CLASS = frozenset({"builtins.classmethod", "builtins.staticmethod"})

type Parts = dict[str, Any]
"""Path, such as ``.filters.min_counts`` or ``.parameters[seed]`` → value."""


def part_read(project: Project, function: str, place: int | str, value: object) -> object:
    """What of an argument can decide on a function's result.

    An object of options, or another with fields, is followed through the function and all that it is handed on to
    within the project. Where it goes anywhere else (into a container, a library, a text), all of it counts.

    Parameters
    ----------
    project
        Whose function it is.
    function
        Dotted name.
    place
        Position or keyword of the argument.
    value
        The argument.

    Returns
    -------
    Class of the argument and path → value of all that is read of it; the argument itself where that cannot be told.
    """
    if not _fields(value):
        return value
    parts = _Reading(project).of_argument(function, place, value)
    return value if parts is None else {"": type(value).__qualname__, **parts}


def _fields(value: object) -> frozenset[str]:
    if isinstance(value, BaseModel):
        return frozenset(type(value).model_fields)
    return frozenset(each.name for each in fields(value)) if is_dataclass(value) else frozenset()


class _Reading:
    """Follows one argument; ``None`` in the place of what is read of it: it cannot be told."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._seen: set[tuple[str, str, str, int]] = set()

    def of_argument(self, function: str, place: int | str, value: object) -> Parts | None:
        found = [each for each in self._project.find(function) if each[1] != -1]
        if len(found) != 1 or found[0][1] < 0 or self._project.definition(found[0]).kind != "function":
            return None
        (module, _), (name,) = found[0], self._project.definition(found[0]).names
        signature = self._project.modules[module].signatures[name]
        if isinstance(place, int):
            place = signature.positional[place] if place < len(signature.positional) else ""
        return self._in_body(module, name, signature, place, value)

    def _in_body(
        self, module: str, name: str, signature: Signature, parameter: str, value: object
    ) -> Parts | None:
        flow = signature.flows.get(parameter)
        if flow is None or not _TRANSPARENT.issuperset(signature.decorators):
            return None
        key = module, name, parameter, id(value)
        if key in self._seen:
            return {}
        self._seen.add(key)
        found = [self._along(path, value) for path in flow.reads]
        found += [self.of_argument(callee, place, value) for callee, place in flow.passes]
        return (
            None
            if None in found
            else {path: part for parts in found if parts for path, part in parts.items()}
        )

    def _along(self, path: Sequence[str], value: object) -> Parts | None:
        """What lies at a path, or the last thing on the way to it that counts whole."""
        step, *rest = path
        name = step[1:]
        inner: Parts | None
        if step[0] == "[" and isinstance(value, Mapping) and name in value:
            step, part = f"[{name}]", value[name]
        elif step[0] == "." and name in _fields(value):
            part = getattr(value, name)
        else:
            return self._by_method(name, value) if step[0] == "." else None
        inner = self._along(rest, part) if rest else None
        return {step: part} if inner is None else {f"{step}{path}": each for path, each in inner.items()}

    def _by_method(self, name: str, value: object) -> Parts | None:
        """What a property or method of the project reads of its object; what belongs to the class is code."""
        owner = next((kind for kind in type(value).__mro__ if name in vars(kind)), None)
        contents = self._project.modules.get(owner.__module__) if owner else None
        if owner is None or contents is None:
            return None
        signature = contents.signatures.get(f"{owner.__qualname__}.{name}")
        if signature is None:
            return None if callable(vars(owner)[name]) else {}
        if not _OF_THE_CLASS.isdisjoint(signature.decorators):
            return {}
        return self._in_body(
            owner.__module__, f"{owner.__qualname__}.{name}", signature, signature.positional[0], value
        )
