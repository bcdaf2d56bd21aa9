"""What a file of code defines at its top level, and what each of these definitions names, read without importing it."""

from __future__ import annotations

import ast
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scvi_downstream.engine.syntax import Flow, Signature, Statement, imported, loaded

# Whoever loads modules by a name that is known only then may run any of them.
_LOADERS = (
    "builtins.", "importlib.__import__", "importlib.import_module", "importlib.machinery", "importlib.reload",
    "importlib.util.module_from_spec", "pkgutil", "runpy", "sys.modules",
)  # fmt: skip
_WITH_LOADERS = frozenset({"importlib", "sys"})  # handed on themselves
_BUILTINS = frozenset({"__import__", "eval", "exec"})
# A file beside the code is found by these.
_FINDERS = ("importlib.resources", "__file__", "__path__")
_OWN_FINDERS = frozenset({"importlib.resources.files", "importlib.resources.as_file", "__file__", "__path__"})


@dataclass
class Definition:
    """One statement at the top level of a module.

    Attributes
    ----------
    names
        That it binds.
    state
        Hash of its syntax tree, without docstrings, comments and positions, and of what its names stand for.
    uses
        Dotted names of what it names, from the root of their package on.
    loads
        Likewise of what it imports when it is executed.
    bases
        Likewise of a class's bases.
    calls
        Likewise of decorators, and of calls whose result is given a name when the module is loaded.
    kind
        ``class``, ``function``, ``value`` or ``effect``: what is done whenever the module is loaded.
    everything
        Whether it loads modules by names that only the run knows.
    beside
        Whether it reads files that lie beside the code: ``own`` folder, ``any``, or empty.
    """

    names: list[str]
    state: str
    uses: list[str]
    loads: list[str]
    bases: list[str]
    calls: list[str]
    kind: str
    everything: bool
    beside: str


@dataclass
class Contents:
    """What a module holds.

    Attributes
    ----------
    definitions
        In the order of the file.
    imports
        Name → dotted names that it may stand for.
    loads
        Dotted names that are imported when the module is loaded.
    signatures
        Of functions and methods.
    """

    definitions: list[Definition]
    imports: dict[str, list[str]]
    loads: list[str]
    signatures: dict[str, Signature]

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Name → its definitions."""
        found: dict[str, list[int]] = {}
        for at, each in enumerate(self.definitions):
            for name in each.names:
                found.setdefault(name, []).append(at)
        return found

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Contents:
        """The reverse of ``dataclasses.asdict``."""
        signatures = {
            name: Signature(**{**each, "flows": {key: Flow(**flow) for key, flow in each["flows"].items()}})
            for name, each in plain["signatures"].items()
        }
        return cls(
            [Definition(**each) for each in plain["definitions"]],
            plain["imports"],
            plain["loads"],
            signatures,
        )


def read_all(files: Mapping[str, Path], cache: Path) -> dict[str, Contents]:
    """Contents of modules by their dotted names; those of files that have not changed come from ``cache``.

    The cache is a convenience: where it cannot be written, files are read again.
    """
    reader = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("definitions.py", "syntax.py"))
    texts = {module: file.read_bytes() for module, file in files.items()}
    keys = {module: _hash(reader, module.encode(), text) for module, text in texts.items()}
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError, zlib.error):
        known = json.loads(zlib.decompress(cache.read_bytes()))
    found = {
        module: Contents.of_plain(known[key])
        if key in known
        else read(text, module, is_package=files[module].stem == "__init__")
        for (module, text), key in zip(texts.items(), keys.values(), strict=True)
    }
    if not known.keys() >= set(keys.values()):
        plain = {key: known.get(key) or asdict(found[module]) for module, key in keys.items()}
        _write(cache, zlib.compress(json.dumps(plain).encode(), level=1))
    return found


def _write(cache: Path, packed: bytes) -> None:
    temporary = cache.with_name(f"{cache.name}.{_hash(packed)}")
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(packed)
        temporary.replace(cache)


def _hash(*parts: bytes) -> str:
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(len(part).to_bytes(8))
        made.update(part)
    return made.hexdigest()


def read(text: bytes | str, module: str, *, is_package: bool = False) -> Contents:
    """Contents of a module from its code."""
    try:
        body = ast.parse(text).body
    except SyntaxError:  # it fails when it is imported, and says so
        whole = Definition(
            names=[],
            state=_hash(text.encode() if isinstance(text, str) else text),
            uses=[],
            loads=[],
            bases=[],
            calls=[],
            kind="effect",
            everything=False,
            beside="",
        )
        return Contents([whole], {}, [], {})
    reader = _Module(module, module if is_package else module.rpartition(".")[0])
    reader.add(body)
    return reader.contents()


class _Module:
    """Gathers the statements of a file."""

    def __init__(self, name: str, package: str) -> None:
        self._name, self._package = name, package
        self._imports: dict[str, set[str]] = {}
        self._loads: set[str] = set()
        self._statements: list[Statement] = []
        self._stars: set[str] = set()

    def add(self, body: Iterable[ast.stmt], *, executed: bool = True) -> None:
        """Take up statements; ``executed``: they are, and not for type checkers alone."""
        for node in body:
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                self.add(node.body, executed=False)
                self.add(node.orelse)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node, executed=executed)
            elif not _is_text(node):
                statement = Statement(node, self._package)
                self._statements.append(statement)
                if statement.kind == "effect":
                    for inner in ast.walk(node):
                        if isinstance(inner, ast.Import | ast.ImportFrom):
                            self._import(inner, executed=True)

    def _import(self, node: ast.Import | ast.ImportFrom, *, executed: bool) -> None:
        for name, target in imported(node, self._package):
            if name == "*":
                self._stars.add(target)
            else:
                self._imports.setdefault(name, set()).add(target)
        if executed:
            self._loads |= loaded(node, self._package)

    def contents(self) -> Contents:
        """All of it."""
        own = {name: [f"{self._name}.{name}"] for each in self._statements for name in each.names}
        bound: dict[str, list[str]] = {name: sorted(targets) for name, targets in self._imports.items()}
        for name, targets in own.items():
            bound[name] = bound.get(name, []) + targets
        signatures = {name: made for each in self._statements for name, made in each.signatures.items()}
        definitions = [self._definition(each, bound) for each in self._statements]
        for name, signature in signatures.items():
            local = self._scope(next(each for each in self._statements if name in each.signatures), bound)
            signature.decorators = [
                target for chain in signature.decorators for target in _or_builtin(chain, local)
            ]
            for flow in signature.flows.values():
                flow.passes = [
                    (target, at) for chain, at in flow.passes for target in _or_builtin(chain, local)
                ]
        imports = {name: sorted(targets) for name, targets in self._imports.items()}
        return Contents(definitions, imports, sorted(self._loads), signatures)

    def _scope(self, statement: Statement, bound: Mapping[str, list[str]]) -> dict[str, list[str]]:
        scope = dict(bound)
        for name, targets in statement.imports.items():
            scope[name] = [*scope.get(name, ()), *sorted(targets)]
        return scope

    def _definition(self, statement: Statement, bound: Mapping[str, list[str]]) -> Definition:
        scope = self._scope(statement, bound) if statement.imports else bound

        def dotted(chains: Iterable[str]) -> list[str]:
            return sorted({target for chain in chains for target in _targets(chain, scope)})

        uses = {*dotted(statement.chains), *self._stars, *statement.literal}
        if statement.chains & {"globals"} - scope.keys():
            uses.add(self._name)
        builtins = {f"builtins.{name}" for name in _BUILTINS & statement.chains - scope.keys()}
        finders = {name for name in {*uses, *statement.chains} if name.startswith(_FINDERS)}
        is_own = statement.finds_own and finders <= _OWN_FINDERS
        text = "\0".join([*statement.text, *sorted(uses)])
        return Definition(
            names=sorted(statement.names),
            state=_hash(text.encode("utf-8", "surrogatepass")),
            uses=sorted(uses),
            loads=sorted(statement.loads),
            bases=[target for chain in sorted(statement.bases) for target in _or_builtin(chain, scope)],
            calls=dotted(statement.calls),
            kind=statement.kind,
            everything=any(name in _WITH_LOADERS or name.startswith(_LOADERS) for name in uses | builtins),
            beside=("own" if is_own else "any") if finders else "",
        )


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _or_builtin(chain: str, scope: Mapping[str, Sequence[str]]) -> list[str]:
    return _targets(chain, scope) or [f"builtins.{chain}"]


def _targets(chain: str, scope: Mapping[str, Sequence[str]]) -> list[str]:
    root, dot, rest = chain.partition(".")
    return [f"{target}{dot}{rest}" for target in scope.get(root, ())]
