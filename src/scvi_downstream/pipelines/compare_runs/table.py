"""Models of runs as rows, with what differs between them and what they score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from scvi_downstream.scoring.criteria import (
    AGGREGATES,
    BATCH_CORRECTION,
    BIO_CONSERVATION,
    CLUSTERS,
    COSTS,
    LIKELIHOOD,
)

# A likelihood is one of these cells and these genes; the split decides which cells were held out.
_LIKELIHOOD = (
    "data_digest",
    "metric.n_genes",
    "metric.n_test",
    "study_param.seed",
    "training.train_size",
    "training.validation_size",
)
# With more draws the bound of the marginal likelihood rises.
_MARGINAL = (*_LIKELIHOOD, "metric.marginal_ll_samples")
_EMBEDDING = (
    "data_digest",
    "study_param.label_key",
    "study_param.batch_key",
    "study_param.comparison.profile",
    "study_param.comparison.max_cells",
)
_COST = ("data_digest", "device")
NOTHING = "–"


def comparable_groups(runs: pd.DataFrame, criterion: str) -> pd.Series:
    """Letter of the group within which a criterion may be compared.

    Parameters
    ----------
    runs
        One row a model of a run, as they are tracked.
    criterion
        Name of a score without ``metric.``.

    Returns
    -------
    ``A``, ``B``, … of the rows that have the criterion, in their order; None for the others. Models of a run that
    recorded no data are compared with each other only.
    """
    scored = runs[runs[f"metric.{criterion}"].notna()] if f"metric.{criterion}" in runs else runs.iloc[:0]
    names: tuple[str, ...] = _LIKELIHOOD
    if criterion.startswith("marginal_ll"):
        names = _MARGINAL
    elif criterion.startswith("scib_") or criterion.endswith("_labels"):
        names = _EMBEDDING
    elif criterion in ("seconds", "peak_memory_mb"):
        names = _COST
    parts = pd.DataFrame({name: _values(scored, name) for name in names}, index=scored.index)
    parts["run"] = scored["run_id"].where(scored["data_digest"].isna(), NOTHING)
    codes, _ = pd.factorize(pd.MultiIndex.from_frame(parts))
    letters = pd.Series([_letter(code) for code in codes], index=scored.index, dtype=object)
    return letters.reindex(runs.index)


def _values(runs: pd.DataFrame, name: str) -> pd.Series:
    """What a model says, else its run; as text, as other versions may have logged numbers otherwise."""
    found = pd.Series(None, index=runs.index, dtype=object)
    for column in (name, f"param.{name}", f"study_param.{name}"):
        if column in runs:
            found = found.where(found.notna(), runs[column])
    return found.map(lambda value: NOTHING if pd.isna(value) else str(value))


def _letter(code: int) -> str:
    letters = ""
    number = code + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


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


FIRST = ("study", "run", "started", "status", "model", "family", "device")
LAST = ("error", "data_digest", "run_id", "model_run_id")
SAME_CELLS, SAME_LABELS = "same_cells_and_genes", "same_cells_and_labels"
_KNOWN = (*AGGREGATES, *LIKELIHOOD, *COSTS, *BIO_CONSERVATION, *BATCH_CORRECTION, *CLUSTERS)


def tabulate_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a model of a run, runs in their order.

    Parameters
    ----------
    runs
        As they are tracked: ``param.…``, ``study_param.…``, ``metric.…`` and ``version.…`` beside the names.

    Returns
    -------
    Names; ``same_cells_and_genes`` and ``same_cells_and_labels``: letters of groups within which likelihoods, and
    scores of embeddings, may be compared; options of models that differ within a family (``option.…``), of studies
    (``study.…``) and versions (``version.…``) that differ between runs; scores; errors and ids. Columns without a
    value are left out.
    """
    table = pd.DataFrame({name: runs[name] for name in ("study", "run", "started", "status", "model")})
    table["family"] = runs.get("param.family")
    table["device"] = runs.get("device")
    table[SAME_CELLS] = _first_group(runs, ("elbo_test", "marginal_ll_test"))
    table[SAME_LABELS] = _first_group(runs, AGGREGATES)
    options = differing(runs, "param.", ["param.family"])
    of_study = differing(runs, "study_param.")
    versions = differing(runs, "version.")
    parts = [
        table,
        runs[options].rename(columns=lambda name: "option." + name.removeprefix("param.")),
        runs[of_study].rename(columns=lambda name: "study." + name.removeprefix("study_param.")),
        runs[versions],
        _scores(runs),
        runs[[name for name in LAST if name in runs]],
    ]
    return pd.concat(parts, axis=1).dropna(axis=1, how="all")


def _first_group(runs: pd.DataFrame, criteria: tuple[str, ...]) -> pd.Series:
    """Groups of the first criterion that any row has."""
    present = [name for name in criteria if f"metric.{name}" in runs]
    return comparable_groups(runs, present[0] if present else criteria[0])


def _scores(runs: pd.DataFrame) -> pd.DataFrame:
    """Known scores first; names with dots are what other analyses tell of the whole run."""
    found = {column.removeprefix("metric."): column for column in runs if column.startswith("metric.")}
    known = [name for name in _KNOWN if name in found]
    others = [name for name in found if name not in known and "." not in name]
    return pd.DataFrame({name: runs[found[name]] for name in [*known, *others]}, index=runs.index)
