"""Which obs columns look like batches, labels, samples and conditions, by their names and by their values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from scvi_downstream.cells.keys import ROLES, Keys
from scvi_downstream.cells.obs import as_categories, constant_within, with_unknown
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.words import first_names, listed

FEWEST_CELLS = 10
"""Cells of a value, on average, below which a column names cells rather than groups them."""
MOST_NUMBERED = 50
"""Whole numbers beyond which they are taken for a measurement rather than for names of groups."""
MOST_CONDITIONS = 30
FEWEST_KNOWN = 0.5
"""Share of the cells with a known label below which a column is not sure to be the labels."""
MOST_CROSSED = 0.5
"""Share of the samples that hold several conditions, from which the condition crosses them."""


@dataclass(frozen=True)
class Guess:
    """A column that looks like one of the study's keys.

    Attributes
    ----------
    key, column
        Parameter, such as ``batch_key``, and the obs column.
    values
        Names of its groups.
    is_sure
        Whether its name and values leave little doubt.
    why
        In words.
    """

    key: str
    column: str
    values: tuple[str, ...]
    is_sure: bool
    why: str

    @property
    def groups(self) -> str:
        """``8 values: 1015, 1016, 1039, …``."""
        return f"{len(self.values)} values: {first_names(self.values, 3)}"


class _Kind(NamedTuple):
    """Columns of a kind and how they are called, in lower case and with underscores."""

    what: str
    pattern: str
    is_sure: bool = True

    def calls(self, column: object) -> bool:
        """Whether a column is called so."""
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(column))
        words = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
        return bool(re.fullmatch(self.pattern, words)) and not _NO_KEY.search(words)


_NO_KEY = re.compile(
    r"(^|_)(n|total|pct|percent\w*|frac\w*|score\w*|prob\w*|conf(idence)?|uncertainty|entropy|ontology_term"
    r"|colou?rs?|counts?|size|factor|age|sex|weight|date|qc|doublets?|clusters?|leiden|louvain)(_|$)"
)
"""What is measured of donors and cells, what an algorithm has numbered, and identifiers of what has names."""
_ID = r"s?(_?(id|name|label|key|barcode|number|no|num))?"
_DONOR = _Kind("a donor", rf"(donor|patient|individual|subject|participant|mouse|animal){_ID}")
_SAMPLE = _Kind("a sample", rf"(bio_?)?(sample|specimen){_ID}|orig_ident|gsm{_ID}")
_LIBRARY = _Kind("a library", rf"((seq|sequencing|10x|gem|cdna)_)?(library|lib){_ID}")
_LANE = rf"((seq|sequencing|10x)_)?(lane|run|channel|pool|chip|plate|flow_?cell|gem_?(group|well)){_ID}"
_KINDS: Mapping[str, tuple[_Kind, ...]] = {
    "batch_key": (
        _Kind("a batch", rf"(\w+_)?batch(es)?{_ID}"),
        _LIBRARY,
        _Kind("a lane or run", _LANE),
        _DONOR,
        _SAMPLE,
        _Kind("a data set", rf"(dataset|study){_ID}"),
        _Kind("a technology", r"assay|chemistry|technology|tech|platform|protocol", is_sure=False),
    ),
    "label_key": (
        _Kind("cell types", r"(author_|manual_|final_|curated_)?cell_?(type|label|annotation|identity)s?"),
        _Kind("cell types", r"cell_?((sub)?type|(sub)?class|label|annotation)s?_\w+|\w+_cell_?types?"),
        _Kind("cell types", r"cell_?sub(type|class)(es|s)?|(\w+_)?annotations?|bulk_labels"),
        _Kind(
            "labels",
            r"labels?|predicted_\w+|majority_voting|(sub)?class|cell_?lines?|identity",
            is_sure=False,
        ),
    ),
    "sample_key": (_SAMPLE, _LIBRARY, _DONOR),
    "condition_key": (
        _Kind(
            "a condition",
            r"conditions?|treatments?|treated|stim(ulation|ulus|ulated)?|disease(_(status|state))?|diagnosis|genotype"
            r"|perturbations?|infection|drug|exposure",
        ),
        _Kind("a condition", r"group|status|response|time_?points?|day|stage|tissue", is_sure=False),
    ),
}
"""Key → kinds of columns, the likeliest first."""


def guess_keys(
    obs: pd.DataFrame, keys: Keys, unset: Collection[str], unknown_labels: tuple[str, ...]
) -> list[Guess]:
    """Columns that look like keys which are not set, the likeliest of each key first.

    A column must be called as the field calls such columns, and its values must group the cells: not one a cell, not
    one for all, no measurements, no numbers of clusters, none missing but labels. Besides, samples lie within donors,
    conditions are constant within samples or cross them, and batches that hold several conditions come first.

    Parameters
    ----------
    obs
        One row a cell.
    keys
        Those that are set, whose columns are not named for another key.
    unset
        Of :data:`ROLES`, those to guess.
    unknown_labels
        Names, in any case, of what is no label.
    """
    groups = dict(_grouping(obs, {keys.sample_key, keys.condition_key}))
    donors = _first(_DONOR, groups)
    samples = groups.get(str(keys.sample_key))
    if samples is None:
        samples = _first(_SAMPLE, groups)
    named = {key: list(_named(key, groups, keys, unknown_labels)) for key in ROLES}
    named["condition_key"] = [
        _judge_condition(guess, groups[guess.column], donors if samples is None else samples)
        for guess in named["condition_key"]
    ]
    found = [guess.column for guess in likeliest(_ranked(named["condition_key"]))]
    condition = groups.get(keys.condition_key or "".join(found))
    named["sample_key"] = [
        _judge_sample(guess, groups[guess.column], donors, condition) for guess in named["sample_key"]
    ]
    if condition is not None:
        judged = [_judge_batch(guess, groups[guess.column], condition) for guess in named["batch_key"]]
        named["batch_key"] = [guess for guess, _ in sorted(judged, key=lambda item: item[1])]
    return [guess for key in ROLES if key in unset for guess in _ranked(named[key])]


def likeliest(guesses: Iterable[Guess]) -> list[Guess]:
    """The first of each key, where it is sure."""
    first: dict[str, Guess] = {}
    for guess in guesses:
        first.setdefault(guess.key, guess)
    return [guess for guess in first.values() if guess.is_sure]


def as_options(guesses: Iterable[Guess]) -> str:
    """``--batch donor --label cell_type``, as the command `scvi-downstream run` takes them."""
    return " ".join(f"--{guess.key.removesuffix('_key')} {shlex.quote(guess.column)}" for guess in guesses)


def unset_sentence(guesses: Iterable[Guess]) -> str:
    """What could have been set, and how, in one sentence; empty where nothing is sure."""
    found = likeliest(guesses)
    if not found:
        return ""
    columns: dict[str, list[Guess]] = {}
    for guess in found:
        columns.setdefault(guess.column, []).append(guess)
    named = "; ".join(
        f"'{column}' ({of[0].groups}) as {listed([guess.key for guess in of])}"
        for column, of in columns.items()
    )
    params = shlex.quote(",".join(f"{guess.key}={guess.column}" for guess in found))
    return (
        f"keys that are not set but that obs seems to hold: {named}; to use them, add {as_options(found)} "
        f"(kedro run: --params {params})"
    )


def _grouping(obs: pd.DataFrame, keys: Collection[str | None]) -> Iterator[tuple[str, pd.Series]]:
    """Columns that are keys or called like any, and that group the cells, as categories by their names."""
    kinds = [kind for kinds in _KINDS.values() for kind in kinds]
    for column in obs.columns[~obs.columns.duplicated(keep=False)]:
        is_named = column in keys or any(kind.calls(column) for kind in kinds)
        if is_named and (values := _groups_of(obs[column])) is not None:
            yield str(column), values


def _groups_of(values: pd.Series) -> pd.Series | None:
    n_values = values.nunique()
    if pd.api.types.is_float_dtype(values) or n_values * FEWEST_CELLS > len(values):
        return None
    if pd.api.types.is_integer_dtype(values) and n_values > MOST_NUMBERED:
        return None
    groups = as_categories(values)
    numbers = pd.to_numeric(pd.Series(groups.categories, dtype=object), errors="coerce")
    if len(numbers) < 2 or (numbers % 1 > 0).any():
        return None
    return pd.Series(groups, index=values.index, name=str(values.name))


def _first(kind: _Kind, groups: Mapping[str, pd.Series]) -> pd.Series | None:
    found = (values for name, values in groups.items() if kind.calls(name) and not values.isna().any())
    return next(found, None)


def _named(
    key: str, groups: Mapping[str, pd.Series], keys: Keys, unknown_labels: tuple[str, ...]
) -> Iterator[Guess]:
    """Columns that are called like a key and can be one, in the order of its kinds."""
    named: dict[str, _Kind] = {}
    for kind in _KINDS[key]:
        named |= {name: kind for name in groups if name not in named and kind.calls(name)}
    for name in _taken(key, keys) & named.keys():
        del named[name]
    for name, kind in named.items():
        guess = Guess(key, name, tuple(groups[name].cat.categories), kind.is_sure, f"called like {kind.what}")
        if key == "label_key":
            yield from _as_labels(guess, groups[name], unknown_labels)
        elif not groups[name].isna().any() and _can_be(key, guess.values):
            yield guess


def _taken(key: str, keys: Keys) -> set[str]:
    """Columns of other keys; a donor may be batch and replicate, or replicate and covariate."""
    may_share = {"batch_key": ("sample_key",), "sample_key": ("batch_key", "categorical")}.get(key, ())
    others = {name for parameter, name in keys.categorical.items() if not parameter.startswith(may_share)}
    return others | {*keys.continuous_covariates}


def _can_be(key: str, values: tuple[str, ...]) -> bool:
    is_condition = key == "condition_key"
    return len(values) <= MOST_CONDITIONS if is_condition else not {"True", "False"} & {*values}


def _as_labels(guess: Guess, values: pd.Series, unknown_labels: tuple[str, ...]) -> Iterator[Guess]:
    """The guess with the known labels, where these are several and have names."""
    labels = pd.Series(with_unknown(values.array, unknown_labels))
    known = tuple(name for name in labels.cat.categories if name != UNKNOWN)
    if len(known) < 2 or all(name.isdecimal() for name in known) or {"True", "False"} & {*known}:
        return
    share = float((labels != UNKNOWN).mean())
    why = guess.why if share == 1 else f"{guess.why}; known for {share:.0%} of the cells"
    yield replace(guess, values=known, is_sure=guess.is_sure and share >= FEWEST_KNOWN, why=why)


def _judge_condition(guess: Guess, values: pd.Series, units: pd.Series | None) -> Guess:
    if units is None:
        return guess
    if constant_within(values, units):
        return _because(guess, f"each '{units.name}' has one")
    if _crosses(values, units):
        return _because(guess, f"most of '{units.name}' have several")
    return _doubted(guess, f"some of '{units.name}' have several")


def _judge_sample(
    guess: Guess, values: pd.Series, donors: pd.Series | None, condition: pd.Series | None
) -> Guess:
    if condition is not None and not (constant_within(condition, values) or _crosses(condition, values)):
        return _doubted(guess, f"some hold several of '{condition.name}'")
    if _DONOR.calls(guess.column):
        return guess
    if donors is None:
        is_sample = _SAMPLE.calls(guess.column)
        return guess if is_sample else _doubted(guess, "nothing says that each holds one donor")
    if constant_within(donors, values):
        return _because(guess, f"each is of one '{donors.name}'")
    return _doubted(guess, f"some hold several of '{donors.name}'")


def _judge_batch(guess: Guess, values: pd.Series, condition: pd.Series) -> tuple[Guess, bool]:
    """The guess, and whether each batch lies in one condition."""
    if not constant_within(condition, values):
        return _because(guess, f"some hold several of '{condition.name}'"), False
    if constant_within(values, condition):
        return _doubted(guess, f"they are those of '{condition.name}'"), True
    return _because(
        guess, f"each lies in one of '{condition.name}', whose effect a correction may take away"
    ), True


def _crosses(values: pd.Series, units: pd.Series) -> bool:
    n_values = values.groupby(units.to_numpy(), observed=True).nunique()
    return bool((n_values > 1).mean() >= MOST_CROSSED)


def _because(guess: Guess, reason: str) -> Guess:
    return replace(guess, why=f"{guess.why}; {reason}")


def _doubted(guess: Guess, reason: str) -> Guess:
    return replace(guess, why=f"{guess.why}, but {reason}", is_sure=False)


def _ranked(guesses: Iterable[Guess]) -> list[Guess]:
    return sorted(guesses, key=lambda guess: not guess.is_sure)
