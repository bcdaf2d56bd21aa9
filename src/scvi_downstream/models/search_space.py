"""What a search varies of a model: options with their values or ranges, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import yaml

from scvi_downstream.models.families import FAMILIES, parse_spec
from scvi_downstream.models.specification import IDENTITY, ModelSpec, TrainingOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.numbers import is_number

if TYPE_CHECKING:
    import numpy as np

TRAINING = "training."
# Names and links, and what would change the cells that trials are compared on.
_NOT_VARIED = (*IDENTITY, "seed")
_NOT_VARIED_IN_TRAINING = ("train_size", "validation_size", "checkpoint_every_seconds")
_DIGITS = 3
_DEFAULT: dict[str, Any] = {
    "n_latent": [5, 10, 20, 30],
    "n_layers": {"low": 1, "high": 3},
    "n_hidden": [64, 128, 256],
    "dropout_rate": [0.0, 0.1, 0.2],
    "gene_likelihood": ["zinb", "nb"],
    "training.lr": {"low": 2e-4, "high": 5e-3, "log": True},
}


@dataclass(frozen=True)
class Choice:
    """One of some values, each as likely."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """A value."""
        return self.values[int(rng.integers(len(self.values)))]

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return any(value is own or (value == own and type(value) is type(own)) for own in self.values)

    @property
    def size(self) -> float:
        """How many different values there are."""
        return len(self.values)


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; evenly, or on a logarithmic scale."""

    low: float
    high: float
    log: bool
    integer: bool

    def draw(self, rng: np.random.Generator) -> float | int:
        """A number; floats to three significant digits, as people write them."""
        margin = 0.5 if self.integer else 0.0
        low, high = self.low - margin, self.high + margin
        if not self.log:
            return self.rounded(rng.uniform(low, high))
        return self.rounded(math.exp(rng.uniform(math.log(low), math.log(high))))

    def rounded(self, value: float) -> float | int:
        """An integer, or three significant digits, inside the range."""
        if self.integer:
            return int(min(max(round(value), self.low), self.high))
        return float(min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high))

    def holds(self, value: Any) -> bool:
        """Whether the value is a number of the range."""
        return is_number(value) and self.low <= value <= self.high

    @property
    def size(self) -> float:
        """How many different values there are."""
        return self.high - self.low + 1 if self.integer else math.inf


@dataclass(frozen=True)
class SearchSpace:
    """Option (``training.lr`` for one of the training) → what can be drawn for it."""

    options: Mapping[str, Choice | Range]

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """A value for every option."""
        return {name: domain.draw(rng) for name, domain in self.options.items()}

    @property
    def size(self) -> float:
        """How many different combinations there are."""
        return math.prod(domain.size for domain in self.options.values())

    def current(self, spec: ModelSpec) -> dict[str, Any]:
        """The options' values in a model's options."""
        return {name: _value_of(spec, name) for name in self.options}


def read_space(space: Mapping[str, Any], base: Mapping[str, Any]) -> SearchSpace:
    """Check a search space against the model that it varies.

    Parameters
    ----------
    space
        Option → list of values, or ``{low, high, log}``; empty: latent dimensions, layers, width, dropout,
        likelihood and learning rate, as far as the family has them.
    base
        Complete options of the model, with ``name``.

    Raises
    ------
    InputError
        An option that there is not or that cannot be varied, an empty list, a value given twice or of the wrong
        kind, a range upside down, or a value that the family refuses.
    """
    if not space:
        return _default_space(base)
    flat = dict(_dotted(space))
    return SearchSpace({name: _domain(name, given, base) for name, given in flat.items()})


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a model with some values changed; ``training.lr`` changes ``lr`` of its ``training``."""
    options = dict(base)
    for name, value in changes.items():
        group, _, option = name.rpartition(".")
        if group:
            options[group] = {**(options.get(group) or {}), option: value}
        else:
            options[name] = value
    return options


def _default_space(base: Mapping[str, Any]) -> SearchSpace:
    family = FAMILIES[str(base["family"])]
    options = {}
    for name, given in _DEFAULT.items():
        is_list = isinstance(given, list)
        possible = [value for value in given if _accepted(name, value, base)] if is_list else given
        if possible and _kinds_of(name, family):
            options[name] = _domain(name, possible, base)
    return SearchSpace(options)


def _dotted(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``training: {lr: …}`` as ``training.lr: …``, for ``--params`` splits names at dots."""
    for name, given in space.items():
        if not prefix and name == "training" and isinstance(given, Mapping):
            yield from _dotted(given, TRAINING)
        else:
            yield f"{prefix}{name}", given


def _domain(name: str, given: Any, base: Mapping[str, Any]) -> Choice | Range:
    where = f"search.space.{name}"
    family = FAMILIES[str(base["family"])]
    _check_name(name, family)
    kinds = _kinds_of(name, family)
    if isinstance(given, Mapping):
        found = _range(where, given, kinds)
        for end in (found.low, found.high):
            _checked(name, end, base)
        return found
    if isinstance(given, str) and ";" in given:
        given = [yaml.safe_load(part) for part in given.split(";")]  # the command line has no lists
    if not isinstance(given, list | tuple):
        raise InputError(f"{where}: give a list of values or {{low: …, high: …}}, not {given!r}")
    if not given:
        raise InputError(f"{where} is an empty list; give at least one value")
    for value in given:
        if isinstance(value, bool) and bool not in kinds:
            raise InputError(f"{where} takes no true or false, but a value is {value!r}")
    values = tuple(_checked(name, value, base) for value in given)
    if len(set(map(repr, values))) < len(values):
        raise InputError(f"{where} names a value twice: {list(given)}")
    return Choice(values)


def _check_name(name: str, family: type[ModelSpec]) -> None:
    barred = _NOT_VARIED_IN_TRAINING if name.startswith(TRAINING) else _NOT_VARIED
    if name.removeprefix(TRAINING) in barred:
        raise InputError(f"search.space.{name} cannot be varied; trials would not be comparable")
    if not _kinds_of(name, family):
        own = [option for option in family.model_fields if option not in _NOT_VARIED]
        training = [f"{TRAINING}{option}" for option in TrainingOptions.model_fields]
        raise InputError(f"search.space.{name} is not an option{closest(name, [*own, *training])}")


def _range(where: str, given: Mapping[str, Any], kinds: set[type]) -> Range:
    unknown = [key for key in given if key not in ("low", "high", "log")]
    if unknown:
        raise InputError(f"{where}.{unknown[0]} is not known{closest(unknown[0], ('low', 'high', 'log'))}")
    low, high = (_number(f"{where}.{end}", given.get(end)) for end in ("low", "high"))
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{where}.log must be true or false, but it is {log!r}")
    if not kinds & {int, float}:
        raise InputError(f"{where} takes no numbers; give a list of values in place of low and high")
    integer = float not in kinds
    if integer and not (float(low).is_integer() and float(high).is_integer()):
        raise InputError(f"{where} takes whole numbers, but low and high are {low!r} and {high!r}")
    if low >= high:
        raise InputError(f"{where}.low must be below high, but they are {low!r} and {high!r}")
    if log and low <= 0:
        raise InputError(f"{where}.low must be above 0 on a logarithmic scale, but it is {low!r}")
    kind = int if integer else float
    return Range(low=kind(low), high=kind(high), log=log, integer=integer)


def _number(where: str, value: Any) -> int | float:
    if not (is_number(value) and math.isfinite(value)):
        raise InputError(f"{where} must be a number, but it is {value!r}")
    return value


def _kinds_of(name: str, family: type[ModelSpec]) -> set[type]:
    """The types that an option may have; empty: there is no such option."""
    fields = TrainingOptions.model_fields if name.startswith(TRAINING) else family.model_fields
    short = name.removeprefix(TRAINING)
    return set(_types_in(fields[short].annotation)) if short in fields else set()


def _types_in(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "__metadata__"):  # Annotated
        yield annotation.__origin__
        return
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _types_in(part)


def _checked(name: str, value: Any, base: Mapping[str, Any]) -> Any:
    """The value as the family takes it."""
    try:
        return _value_of(parse_spec(changed(base, {name: value})), name)
    except InputError as error:
        raise InputError(str(error).replace(f"models.{base['name']}", "search.space", 1)) from None


def _accepted(name: str, value: Any, base: Mapping[str, Any]) -> bool:
    try:
        _checked(name, value, base)
    except InputError:
        return False
    return True


def _value_of(spec: ModelSpec, name: str) -> Any:
    if name.startswith(TRAINING):
        return getattr(spec.training, name.removeprefix(TRAINING))
    return getattr(spec, name)
