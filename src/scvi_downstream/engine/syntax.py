"""What one statement names, binds, calls and hands on, from its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_IN_QUOTES = re.compile(r"[^\W\d][\w.]*")
# Builtins that reach a function's arguments without naming them.
_SEEING_ALL = frozenset({"eval", "exec", "locals", "super", "vars"})
_DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class Flow:
    """Where an argument goes in a function's body; one that goes anywhere else has no flow.

    Attributes
    ----------
    reads
        Paths of attributes (``.name``) and of items with a constant key (``[name``) that are read of it.
    passes
        Callee, by its dotted name, and position or keyword.
    """

    reads: list[Sequence[str]] = field(default_factory=list)
    passes: list[tuple[str, int | str]] = field(default_factory=list)


@dataclass
class Signature:
    """Parameters of a function, or of a method as ``Class.method``.

    Attributes
    ----------
    positional, keywords
        Names.
    decorators
        Dotted names; empty strings stand for what has none.
    flows
        By parameter, of those that are only read and passed on.
    """

    positional: list[str]
    keywords: list[str]
    decorators: list[str]
    flows: dict[str, Flow]


class Statement:
    """Walks over the syntax tree of one statement; a generic visitor would take three times as long."""

    def __init__(self, node: ast.stmt, package: str) -> None:
        self.text: list[str] = []
        self.chains: set[str] = set()
        self.bases: set[str] = set()
        self.calls: set[str] = set()
        self.imports: dict[str, set[str]] = {}
        self.loads: set[str] = set()
        self.literal: set[str] = set()
        self.signatures: dict[str, Signature] = {}
        self.finds_own = True
        self._package = package
        self._depth = 0  # of functions: what they call is not called when the module is loaded
        self._quoted = 0  # within annotations, where text is code
        self._followed: dict[str, Flow] = {}
        self._escaped: set[str] = set()
        self._local: set[str] = set()
        self._classes: list[str] = []
        self.kind = _kind(node)
        self.names = _bound(node)
        self._visit(node)

    def _visit(self, node: ast.AST) -> None:
        special = _SPECIAL.get(node.__class__)
        if special is not None:
            special(self, node)
        else:
            self._generic(node)

    def _generic(self, node: ast.AST) -> None:
        self.text.append(node.__class__.__name__)
        for name in node._fields:
            self._value(getattr(node, name, None))
        self.text.append(")")

    def _value(self, value: Any) -> None:
        if value.__class__ is list:
            self.text.append("[")
            for each in value:
                self._value(each)
            self.text.append("]")
        elif isinstance(value, ast.AST):
            self._visit(value)
        else:
            self.text.append(repr(value))

    def _annotation(self, node: ast.AST | None) -> None:
        self._quoted += 1
        self._value(node)
        self._quoted -= 1

    def _constant(self, node: ast.Constant) -> None:
        self.text.append(repr(node.value))
        if self._quoted and isinstance(node.value, str):
            self.chains.update(_IN_QUOTES.findall(node.value))

    def _expression(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # text on its own documents something
            self._generic(node)

    def _name(self, node: ast.Name) -> None:
        self.text.append(node.id)
        if node.ctx.__class__ is ast.Load:
            self.chains.add(node.id)
            self._escaped.add(node.id)
            if node.id in _SEEING_ALL:
                self._escaped.update(self._followed)
        else:
            self._local.add(node.id)

    def _attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        path = _path(node)
        if path is None or self._quoted:
            self._generic(node)
            return
        root, parts = path
        self.text += [root, *parts, node.ctx.__class__.__name__]
        # what an item has is not known: the module of a name is reached by attributes alone
        dots = next((at for at, part in enumerate(parts) if part[0] != "."), len(parts))
        self.chains.add("".join([root, *parts[:dots]]))
        flow = self._followed.get(root)
        if flow is not None:
            flow.reads.append(parts)

    def _call(self, node: ast.Call) -> None:
        chain = _chain(node.func)
        if chain is None:
            self._generic(node)
            return
        last = chain.rpartition(".")[2]
        first = node.args[0] if node.args else None
        if last == "import_module" and isinstance(first, ast.Constant) and len(node.args) == 1:
            self.literal.add(str(first.value))
            self.text.append(repr(first.value))
            return
        if last == "files" and not (isinstance(first, ast.Name) and first.id == "__package__"):
            self.finds_own = False
        if chain == "vars" and first is None:
            self.chains.add("globals")
        self.text.append("Call")
        self._visit(node.func)
        self._arguments(node, chain)
        self.text.append(")")

    def _arguments(self, node: ast.Call, chain: str) -> None:
        self._quoted += chain in ("cast", "typing.cast")
        known = True  # whether the place of an argument is
        places: list[tuple[int | str | None, ast.expr]] = [*enumerate(node.args)]
        places += [(keyword.arg, keyword.value) for keyword in node.keywords]
        for place, value in places:
            known = known and not isinstance(value, ast.Starred)
            self.text.append(str(place))
            flow = self._followed.get(value.id) if isinstance(value, ast.Name) else None
            if flow is None or place is None or not (known or isinstance(place, str)):
                self._visit(value)
                continue
            self.text.append(ast.unparse(value))
            self.chains.add(ast.unparse(value))
            named = node.args[1] if chain == "getattr" and place == 0 and len(node.args) > 1 else None
            if isinstance(named, ast.Constant):
                flow.reads.append([f".{named.value!s}"])
            else:
                flow.passes.append((chain, place))
        self._quoted -= chain in ("cast", "typing.cast")

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.text += [node.__class__.__name__, node.name]
        for decorator in node.decorator_list:
            self._decorator(decorator)
        self._value(node.type_params)
        followed = self._depth == 0 and not self._followed
        self._local = set() if followed else self._local | {node.name}
        self._visit(node.args)
        self._annotation(node.returns)
        outer, escaped = self._followed, self._escaped
        if followed:
            given = node.args
            positional = [each.arg for each in (*given.posonlyargs, *given.args)]
            keywords = [each.arg for each in given.kwonlyargs]
            self._followed, self._escaped = {name: Flow() for name in (*positional, *keywords)}, set()
        self._depth += 1
        self._value(node.body)
        self._depth -= 1
        if followed:
            flows = {
                name: flow
                for name, flow in self._followed.items()
                if name not in self._escaped
                and not any(callee.partition(".")[0] in self._local for callee, _ in flow.passes)
            }
            decorators = [
                _chain(each.func if isinstance(each, ast.Call) else each) or ""
                for each in node.decorator_list
            ]
            self.signatures[".".join([*self._classes, node.name])] = Signature(
                positional, keywords, decorators, flows
            )
            self._followed, self._escaped = outer, escaped

    def _decorator(self, node: ast.expr) -> None:
        self.text.append("@")
        self._done(node)
        self._visit(node)

    def _done(self, node: ast.expr) -> None:
        """Note a decorator, or the call that a value is, when the module's loading does it."""
        chain = _chain(node.func if isinstance(node, ast.Call) else node)
        if chain is not None and not self._depth:
            self.calls.add(chain)

    def _assignment(self, node: ast.Assign) -> None:
        if isinstance(node.value, ast.Call):
            self._done(node.value)
        self._generic(node)

    def _class(self, node: ast.ClassDef) -> None:
        self.text += ["ClassDef", node.name]
        for decorator in node.decorator_list:
            self._decorator(decorator)
        self._value(node.type_params)
        for base in node.bases:
            chain = _chain(base)
            if chain is None or self._classes:
                self._visit(base)
            else:
                self.bases.add(chain)
                self.text.append(chain)
        self._value(node.keywords)
        self._classes.append(node.name)
        self._value(node.body)
        self._classes.pop()

    def _lambda(self, node: ast.Lambda) -> None:
        self.text.append("Lambda")
        self._visit(node.args)
        self._depth += 1
        self._visit(node.body)
        self._depth -= 1

    def _argument(self, node: ast.arg) -> None:
        self._local.add(node.arg)
        self.text.append(node.arg)
        self._annotation(node.annotation)

    def _annotated(self, node: ast.AnnAssign) -> None:
        self.text.append("AnnAssign")
        self._visit(node.target)
        self._annotation(node.annotation)
        if isinstance(node.value, ast.Call):
            self._done(node.value)
        self._value(node.value)

    def _alias(self, node: ast.TypeAlias) -> None:
        self._quoted += 1
        self._generic(node)
        self._quoted -= 1

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.text.append("Import")
        for name, target in imported(node, self._package):
            self.text += [name, target]
            self.imports.setdefault(name, set()).add(target)
        self.loads |= loaded(node, self._package)


_SPECIAL: dict[type[ast.AST], Any] = {
    ast.Constant: Statement._constant,
    ast.Expr: Statement._expression,
    ast.Name: Statement._name,
    ast.Attribute: Statement._attribute,
    ast.Subscript: Statement._attribute,
    ast.Call: Statement._call,
    ast.FunctionDef: Statement._function,
    ast.AsyncFunctionDef: Statement._function,
    ast.ClassDef: Statement._class,
    ast.Lambda: Statement._lambda,
    ast.arg: Statement._argument,
    ast.Assign: Statement._assignment,
    ast.AnnAssign: Statement._annotated,
    ast.TypeAlias: Statement._alias,
    ast.Import: Statement._import,
    ast.ImportFrom: Statement._import,
}


def _kind(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef):
        return "class"
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return "function"
    plain = isinstance(node, ast.TypeAlias | ast.Assign | ast.AnnAssign)
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    parts = [part for target in targets if target for part in ast.walk(target)]
    return (
        "value"
        if plain and not any(isinstance(part, ast.Attribute | ast.Subscript) for part in parts)
        else "effect"
    )


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement binds at the top level, and more."""
    if isinstance(node, _DEFINING):
        return {node.name}
    if isinstance(node, ast.TypeAlias):
        return {node.name.id}
    inner = list(ast.walk(node))
    names = {each.id for each in inner if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)}
    return names | {each.name for each in inner if isinstance(each, _DEFINING)}


def _chain(node: ast.AST) -> str | None:
    """``a.b.c`` of attributes of a name; ``None``: it is something else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _path(node: ast.AST) -> tuple[str, list[str]] | None:
    """As :func:`_chain`, with items of constant keys, apart."""
    parts: list[str] = []
    while node.__class__ is not ast.Name:
        if isinstance(node, ast.Attribute):
            parts.append(f".{node.attr}")
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            parts.append(f"[{node.slice.value}")
        else:
            return None
        node = node.value
    return node.id, parts[::-1]


def imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    """Names that an import binds, and what they stand for."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            source = _source(node, package)
            yield alias.asname or alias.name, source if alias.name == "*" else f"{source}.{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.partition(".")[0]
            yield top, top


def loaded(node: ast.Import | ast.ImportFrom, package: str) -> set[str]:
    """Dotted names that an import loads, of which the last part of some is no module."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {f"{_source(node, package)}.{alias.name}".removesuffix(".*") for alias in node.names}


def _source(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) + 1 - node.level], *filter(None, [node.module])])
