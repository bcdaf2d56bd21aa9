"""Options and versions in which runs differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from .comparability import NOTHING

# Names and places, what another column says, and what moves no number.
_NO_DIFFERENCE = ("study", "name", "data_root", "runs", "workers", "incremental", "primary", "trial_of")
_TOLD_ELSEWHERE = ("keys.", "models.", "reporting.")


@dataclass(frozen=True)
class Change:
    """An option, or the version of a package, that differs between two runs.

    Attributes
    ----------
    name
        Dotted; of one model's options ``models.<model>.<option>``.
    before, after
        Values as they were logged; ``–`` where there is none.
    """

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} → {self.after}"


def differing(runs: pd.DataFrame, prefix: str, within: Iterable[str] = ()) -> list[str]:
    """Columns of a prefix whose values differ between rows, or between rows of the same ``within``.

    Parameters
    ----------
    runs
        One row a model of a run.
    prefix
        ``param.``, ``study_param.`` or ``version.``.
    within
        Columns; rows are compared only where these agree.
    """
    columns = [column for column in runs if column.startswith(prefix) and _tells(column.removeprefix(prefix))]
    values = runs[columns].astype(object).where(runs[columns].notna(), NOTHING).astype(str)
    keys = [runs[name].astype(str) for name in within if name in runs]
    distinct = values.groupby(keys, sort=False).nunique().max() if keys else values.nunique()
    return [column for column in columns if distinct[column] > 1]


def changes(before: pd.DataFrame, after: pd.DataFrame) -> list[Change]:
    """What differs from one run to another: the study's options, those of models that both have, versions.

    Parameters
    ----------
    before, after
        Rows of one run each.
    """
    found = [
        change
        for prefix in ("study_param.", "version.")
        for change in _changed(before.iloc[0], after.iloc[0], prefix, "")
    ]
    for model, one in before.dropna(subset=["model"]).set_index("model").iterrows():
        other = after[after["model"] == model]
        if len(other):
            found += _changed(one, other.iloc[0], "param.", f"models.{model}.")
    return found


def _changed(one: pd.Series, other: pd.Series, prefix: str, shown_as: str) -> Iterator[Change]:
    for column in dict.fromkeys([*one.index, *other.index]):
        name = str(column).removeprefix(prefix)
        if not str(column).startswith(prefix) or not _tells(name):
            continue
        before, after = _text(one.get(column)), _text(other.get(column))
        if before != after:
            shown = name if prefix == "version." else f"{shown_as}{name}"
            yield Change(shown, before, after)


def _text(value: object) -> str:
    return NOTHING if value is None or pd.isna(value) else str(value)


def _tells(name: str) -> bool:
    return name not in _NO_DIFFERENCE and not name.startswith(_TOLD_ELSEWHERE)
