"""What decides on the result of a function: the project's code that it reaches, and the libraries that this uses."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from scvi_downstream.engine.closures import Project
from scvi_downstream.engine.fields import part_read
from scvi_downstream.runtime.figure_style import own_style
from scvi_downstream.runtime.package import ROOT, own_cache

_PACKAGE = ROOT.name
PROJECT = Project(
    ROOT,
    {f"{_PACKAGE}.models.specification": "scvi", f"{_PACKAGE}.models.scvi_internals": "scvi"},
    own_cache(),
)
"""The project's own code."""
_DISTRIBUTION = re.compile(r"[A-Za-z0-9._-]+")
DISTRIBUTIONS = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "google": "protobuf",
    "lazy_loader": "lazy-loader",
    "scvi": "scvi-tools",
    "skmisc": "scikit-misc",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Library → distribution that brings it, where the names differ by more than a dash."""


def digest(*parts: object) -> str:
    """Short hash of plain values, in their order."""
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)


def code_fingerprint(function: Callable[..., Any]) -> str:
    """Of the definitions that a function reaches, directly or not, and of the versions of the libraries these use.

    Comments, docstrings and what stands beside these definitions do not count. A function of another project counts by
    its own file; where there is none, by all of this one.
    """
    inner, _ = _unbound(function)
    return _fingerprint(inner.__module__, getattr(inner, "__qualname__", "").partition(".")[0])


def module_fingerprint(module: str) -> str:
    """As :func:`code_fingerprint`, of all that a module defines."""
    return _fingerprint(module, "")


def style_fingerprint(function: Callable[..., Any]) -> tuple[str, ...]:
    """Of the user's style of figures, for a function that draws or gives colours; empty where there is none."""
    _, style = own_style()
    inner, _ = _unbound(function)
    draws = style and _draws(inner.__module__, getattr(inner, "__qualname__", "").partition(".")[0])
    return (digest(style),) if draws else ()


@cache
def _draws(module: str, name: str) -> bool:
    """Whether a function reaches the style of figures."""
    style = PROJECT.find(f"{own_style.__module__}.{own_style.__name__}")
    return not style.isdisjoint(PROJECT.closure(PROJECT.find(f"{module}.{name}")).definitions)


def libraries_of(function: Callable[..., Any]) -> frozenset[str]:
    """Top names of the libraries that a function's code uses."""
    inner, _ = _unbound(function)
    found = PROJECT.find(f"{inner.__module__}.{getattr(inner, '__qualname__', '').partition('.')[0]}")
    return PROJECT.closure(found).libraries if found else frozenset()


def used_part(function: Callable[..., Any], place: int | str, value: object) -> object:
    """What of an argument at a position, or of a keyword, can decide on a function's result, for :func:`digest`.

    Of an object of options that is the fields that the function reads; of all else, and where that cannot be told, the
    argument itself.
    """
    inner, given = _unbound(function)
    name = f"{inner.__module__}.{getattr(inner, '__qualname__', '')}"
    return part_read(PROJECT, name, place + given if isinstance(place, int) else place, value)


def _unbound(function: Callable[..., Any]) -> tuple[Callable[..., Any], int]:
    """A function without the arguments that it is given already, and how many of them have a position."""
    given = 0
    while isinstance(function, partial):
        given += len(function.args)
        function = function.func
    return function, given


@cache
def _fingerprint(module: str, name: str) -> str:
    foreign = getattr(sys.modules.get(module), "__file__", None)
    if module in PROJECT.files or foreign is None:
        found = PROJECT.closure(PROJECT.find(f"{module}.{name}".rstrip(".")) or PROJECT.find(_PACKAGE))
        # not where they lie: a project that is moved or cloned beside its data has not changed
        code = sorted(
            (place[0], own.names, own.state)
            for place in found.definitions
            if (own := PROJECT.definition(place))
        )
        data = {str(file.relative_to(ROOT)): _content(file) for file in found.data}
        return digest(code, data, _versions(found.libraries))
    return digest({Path(foreign).name: _content(Path(foreign))})


@cache
def _content(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of distributions by name, with those that they need in turn."""
    waiting = [DISTRIBUTIONS.get(library, library) for library in libraries]
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            number, needed = _installed(name)
            found[name] = number
            waiting += needed
    return found


@cache
def _installed(name: str) -> tuple[str, tuple[str, ...]]:
    """Version of a distribution, and the names of those that it needs without its extras; empty: it is not there."""
    try:
        about = distribution(name).metadata  # which is read anew each time
    except PackageNotFoundError:
        return "", ()
    needed = (
        _DISTRIBUTION.match(line) for line in about.get_all("Requires-Dist", []) if "extra ==" not in line
    )
    return about["Version"], tuple(match[0] for match in needed if match is not None)
