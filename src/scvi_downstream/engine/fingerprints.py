"""What decides on the result of a function: the project's files that it imports, and the libraries that these use."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT.name
# Read by functions of this project beside their code.
_DATA = (".R", ".html", ".bib", ".jinja")
# The list of the capabilities, whose folders are found by name: who asks for it may run any of them.
_LISTING_ALL = _ROOT / "pipelines" / "__init__.py"
_IMPORT = re.compile(r"^[ ]*(?:from ([\w.]+) import (\([^)]*\)|[^\n]*)|import ([^\n#]+))", re.M)
_FOR_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:[ ][^\n]*\n|\n)+", re.M)
_WORD = re.compile(r"\b[^\W\d]\w*")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9._-]+")
DISTRIBUTIONS = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "google": "protobuf",
    "lazy_loader": "lazy-loader",
    "scvi": "scvi-tools",
    "skmisc": "scikit-misc",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
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
    """Of the files that a function's module imports, directly or not, and of the versions of the libraries they use.

    Imports inside functions count, those for type checkers alone do not. A function of another project counts by its
    own file; where there is none, by all files of this one.
    """
    return module_fingerprint(function.__module__)


@cache
def module_fingerprint(module: str) -> str:
    """As :func:`code_fingerprint`, of a module."""
    files, libraries = closure(module)
    # not where they lie: a project that is moved or cloned beside its data has not changed
    names = {file: file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else file.name for file in files}
    return digest({str(name): _content(file) for file, name in names.items()}, _versions(libraries))


@cache
def _content(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def closure(module: str) -> tuple[frozenset[Path], frozenset[str]]:
    """Files of a module and of all that it imports within the project, and names of what these import outside of it."""
    source = _source(module)
    if source is None:
        foreign = getattr(sys.modules.get(module), "__file__", None)
        if foreign is not None:
            return frozenset({Path(foreign)}), frozenset()
        source = _ROOT / "__init__.py"
    waiting, files, libraries = [source], set[Path](), set[str]()
    while waiting:
        file = waiting.pop()
        if file in files:
            continue
        files.add(file)
        imported, used = _imports(file)
        libraries |= used
        waiting += imported
    return frozenset(files), frozenset(libraries)


@cache
def _imports(file: Path) -> tuple[frozenset[Path], frozenset[str]]:
    """Files of the project that a file imports, and names of libraries."""
    if file == _LISTING_ALL:
        return _everything(), frozenset()
    if file.suffix != ".py":
        return frozenset(), frozenset()
    names = set(_imported(file.read_text(encoding="utf-8")))
    own = {name for name in names if name.split(".")[0] == _PACKAGE}
    files = {found for name in own if (found := _source(name)) is not None}
    if any(name.startswith("importlib.resources") for name in names):
        files |= {beside for beside in file.parent.iterdir() if beside.suffix in _DATA}
    tops = {name.split(".")[0] for name in names - own}
    return frozenset(files), frozenset(tops - sys.stdlib_module_names)


def _imported(code: str) -> Iterator[str]:
    """Dotted names of modules, and of what is taken from them; a syntax tree says the same in twenty times the time."""
    for module, taken, modules in _IMPORT.findall(_FOR_TYPES.sub("", code)):
        if module:
            yield from (f"{module}.{name}" for name in _WORD.findall(taken))
        else:
            yield from (part.split()[0] for part in modules.split(",") if part.strip())


def _source(name: str) -> Path | None:
    """File of a module, or of the module that a name is taken from; ``None``: it is not of this project."""
    first, *parts = name.split(".")
    if first != _PACKAGE:
        return None
    for end in (len(parts), len(parts) - 1):
        path = _ROOT.joinpath(*parts[: max(end, 0)])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


@cache
def _everything() -> frozenset[Path]:
    return frozenset(file for file in _ROOT.rglob("*") if file.suffix in (".py", *_DATA))


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
        about = distribution(name)
    except PackageNotFoundError:
        return "", ()
    needed = (_DISTRIBUTION.match(line) for line in about.requires or [] if "extra ==" not in line)
    return about.version, tuple(match[0] for match in needed if match is not None)
