"""Which definitions of the project a function reaches, directly or not."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scvi_downstream.engine.definitions import Contents, Definition, read_all

# Read by functions of this project beside their code.
_DATA = (".R", ".html", ".bib", ".jinja", ".mplstyle")
# In the place of a definition: what is done when its module is loaded, and all that can be had of it.
_LOADING, _WHOLE = -1, -2

type Place = tuple[str, int]
"""Module and index of a definition."""


@dataclass(frozen=True)
class Closure:
    """What a function reaches.

    Attributes
    ----------
    definitions
        Their places.
    libraries
        Top names of what they use that is neither of the project nor of Python.
    data
        Files beside the code.
    """

    definitions: frozenset[Place]
    libraries: frozenset[str]
    data: frozenset[Path]


class Project:
    """The code of a package, as far as it can be told without running it.

    What is named counts, in annotations too, as methods are found by them: who names a class may be given one of its
    subclasses. So does what is done when a module is loaded: other statements than definitions, decorators of the
    project and calls of its functions. Where a name is not found, its module counts whole; who loads modules by names
    that are made up on the way reaches everything.

    Parameters
    ----------
    root
        Folder of the package.
    of_libraries
        Module that loads others by made-up names, but never ones of the project → library whose they are.
    cache
        Folder that keeps what files hold; ``None``: where Python keeps what it compiles.
    """

    def __init__(
        self, root: Path, of_libraries: Mapping[str, str] | None = None, cache: Path | None = None
    ) -> None:
        self.root = root
        self._cache = cache or root / "__pycache__"
        self._of_libraries = of_libraries or {}
        self._found: dict[str, frozenset[Place]] = {}
        self._used: dict[Place, frozenset[Place]] = {}
        self._outside: dict[Place, frozenset[str]] = {}

    @cached_property
    def files(self) -> dict[str, Path]:
        """Files of code, by the dotted names of their modules."""
        found = {}
        for file in sorted(self.root.rglob("*.py")):
            parts = file.relative_to(self.root.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
        return found

    @cached_property
    def modules(self) -> Mapping[str, Contents]:
        """What the files hold."""
        cache = self._cache / f"definitions.{sys.implementation.cache_tag}.zlib"
        return read_all(self.files, cache)

    def _libraries(self, place: Place) -> frozenset[str]:
        if place not in self._outside:
            own = self.definition(place)
            used = {name.partition(".")[0] for name in (*own.uses, *own.loads, *own.bases)}
            self._outside[place] = frozenset(used | {self._of_libraries.get(place[0], self.root.name)})
        return self._outside[place]

    def imported(self) -> frozenset[str]:
        """Top names of the libraries that are imported when something of the project runs."""
        every = self.modules.values()
        loads = (names for each in every for names in (each.loads, *(own.loads for own in each.definitions)))
        return (
            frozenset(name.partition(".")[0] for names in loads for name in names)
            - sys.stdlib_module_names
            - {self.root.name}
        )

    def definition(self, place: Place) -> Definition:
        """The definition at a place."""
        return self.modules[place[0]].definitions[place[1]]

    def closure(self, start: Iterable[Place]) -> Closure:
        """What definitions reach, themselves included."""
        reached: set[Place] = set()
        waiting = set(start)
        while waiting:
            reached |= waiting
            waiting = set().union(*map(self._uses, waiting)) - reached
        places = frozenset(place for place in reached if place[1] >= 0)
        return Closure(
            places,
            frozenset().union(*map(self._libraries, places)) - sys.stdlib_module_names - {self.root.name},
            frozenset(file for place in places for file in self._data(place)),
        )

    def find(self, dotted: str) -> frozenset[Place]:
        """Definitions that a dotted name stands for; none: it is not of the project."""
        if dotted not in self._found:
            self._found[dotted] = frozenset(self._follow(dotted, set()))
        return self._found[dotted]

    def _follow(self, dotted: str, seen: set[str]) -> Iterator[Place]:
        module, rest = self._split(dotted)
        if module is None or dotted in seen:
            return
        seen.add(dotted)
        name, _, attributes = rest.partition(".")
        contents = self.modules[module]
        targets = contents.imports.get(name, [])
        own = [(module, at) for at in contents.places.get(name, ())]
        yield from own or ([] if targets else [(module, _WHOLE)])
        yield module, _LOADING
        for target in targets:
            yield from self._follow(f"{target}.{attributes}".rstrip("."), seen)

    def _split(self, dotted: str) -> tuple[str | None, str]:
        """The module of a dotted name, and what is named in it."""
        parts = dotted.split(".")
        for end in range(len(parts), 0, -1):
            module = ".".join(parts[:end])
            if module in self.files:
                return module, ".".join(parts[end:])
        return None, ""

    def _uses(self, place: Place) -> frozenset[Place]:
        if place not in self._used:
            of = {_LOADING: self._of_loading, _WHOLE: self._of_module}.get(place[1])
            self._used[place] = frozenset(of(place[0]) if of else self._of_definition(place))
        return self._used[place]

    def _of_module(self, module: str) -> set[Place]:
        """All that can be had of a module that is handed on itself, and of those below it."""
        below = [name for name in self.modules if name == module or name.startswith(f"{module}.")]
        own = {(name, at) for name in below for at in range(_LOADING, len(self.modules[name].definitions))}
        taken = {
            target for name in below for targets in self.modules[name].imports.values() for target in targets
        }
        return self._with_subclasses(own).union(*map(self.find, taken))

    def _of_loading(self, module: str) -> set[Place]:
        contents = self.modules[module]
        parents = {module.rpartition(".")[0]} & self.files.keys()
        loaded = {found for name in contents.loads if (found := self._split(name)[0])} | parents
        effects = {(module, at) for at, each in enumerate(contents.definitions) if self._acts(each)}
        return effects | {(name, _LOADING) for name in loaded}

    def _acts(self, definition: Definition) -> bool:
        """Whether something of the project is done when a module with this definition is loaded."""
        return definition.kind == "effect" or any(
            place[1] == _WHOLE or (place[1] >= 0 and self.definition(place).kind != "class")
            for name in definition.calls
            for place in self.find(name)
        )

    def _of_definition(self, place: Place) -> set[Place]:
        own = self.definition(place)
        if own.everything and place[0] not in self._of_libraries:
            return {(self.root.name, _WHOLE)}
        uses = self._with_subclasses({found for name in own.uses for found in self.find(name)} - {place})
        uses |= {found for name in own.bases for found in self.find(name)}
        loaded = {found for name in own.loads if (found := self._split(name)[0])}
        return uses | {(module, _LOADING) for module in (place[0], *loaded)}

    def _with_subclasses(self, places: set[Place]) -> set[Place]:
        return places.union(*(self._subclasses.get(place, ()) for place in places))

    @cached_property
    def _subclasses(self) -> Mapping[Place, set[Place]]:
        """Classes that derive from a class, directly or not."""
        direct: dict[Place, set[Place]] = {}
        for module, contents in self.modules.items():
            for at, each in enumerate(contents.definitions):
                for base in {found for name in each.bases for found in self.find(name) if found[1] >= 0}:
                    if not self._is_error(base):  # who raises one makes none of its kinds
                        direct.setdefault(base, set()).add((module, at))
        below: dict[Place, set[Place]] = {}
        for base in direct:
            waiting, below[base] = [base], set()
            while waiting:
                new = direct.get(waiting.pop(), set()) - below[base]
                below[base] |= new
                waiting += new
        return below

    def _is_error(self, place: Place) -> bool:
        kinds = (
            getattr(builtins, name.removeprefix("builtins."), None) for name in self.definition(place).bases
        )
        return any(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)

    def _data(self, place: Place) -> Iterable[Path]:
        beside = self.definition(place).beside
        if beside:
            folder = self.files[place[0]].parent
            files = folder.iterdir() if beside == "own" else self.root.rglob("*")
            yield from (file for file in files if file.suffix in _DATA)
