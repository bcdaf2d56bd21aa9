"""Models of runs as rows, with what differs between them and what they score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from scvi_downstream.scoring.criteria import (
    AGGREGATES,
    BATCH_CORRECTION,
    BIO_CONSERVATION,
    CLUSTERS,
    COSTS,
    LIKELIHOOD,
)

NOTHING = "–"
LIKELIHOODS = ("elbo_test", "marginal_ll_test")
LAST = ("error", "data_digest", "run_id", "model_run_id")
_KNOWN = (*AGGREGATES, *LIKELIHOOD, *COSTS, *BIO_CONSERVATION, *BATCH_CORRECTION, *CLUSTERS)
# A likelihood is one of these cells and these genes; the split decides which cells were held out.
_LIKELIHOOD = (
    "data_digest", "metric.n_genes", "metric.n_test", "study_param.seed", "training.train_size",
    "training.validation_size",
)  # fmt: skip
# With more draws the bound of the marginal likelihood rises.
_MARGINAL = (*_LIKELIHOOD, "metric.marginal_ll_samples")
_EMBEDDING = (
    "data_digest", "study_param.label_key", "study_param.batch_key", "study_param.comparison.profile",
    "study_param.comparison.max_cells",
)  # fmt: skip
_COST = ("data_digest", "device")
# Names and places, what another column says, and what moves no number.
_NO_DIFFERENCE = ("study", "name", "data_root", "runs", "workers", "incremental", "primary", "trial_of")
_TOLD_ELSEWHERE = ("keys.", "models.", "reporting.")


def tabulate_runs(tracked_runs: pd.DataFrame) -> pd.DataFrame:
    """One row a model of a run, runs in their order.

    Parameters
    ----------
    tracked_runs
        As they are tracked: ``param.…``, ``study_param.…``, ``metric.…`` and ``version.…`` beside the names.

    Returns
    -------
    Names; ``same_cells_and_genes`` and ``same_cells_and_labels``: letters of groups within which likelihoods, and
    scores of embeddings, may be compared; options of models that differ within a family (``option.…``), of studies
    (``study.…``) and versions (``version.…``) that differ between runs; scores; errors and ids. Columns without a
    value are left out.
    """
    table = tracked_runs[["study", "run", "started", "status", "model"]].assign(
        family=tracked_runs.get("param.family"),
        device=tracked_runs.get("device"),
        same_cells_and_genes=_group_by_first(tracked_runs, LIKELIHOODS),
        same_cells_and_labels=_group_by_first(tracked_runs, AGGREGATES),
    )
    parts = [
        table,
        _differing(tracked_runs, "param.", "option.", within=["param.family"]),
        _differing(tracked_runs, "study_param.", "study."),
        _differing(tracked_runs, "version.", "version."),
        _scores(tracked_runs),
        tracked_runs[[name for name in LAST if name in tracked_runs]],
    ]
    return pd.concat(parts, axis=1).dropna(axis=1, how="all")


def _group_by_first(runs: pd.DataFrame, criteria: tuple[str, ...]) -> pd.Series:
    """Groups of the first criterion that any row has."""
    present = (name for name in criteria if f"metric.{name}" in runs)
    return comparable_groups(runs, next(present, criteria[0]))


def _differing(runs: pd.DataFrame, prefix: str, written: str, within: Iterable[str] = ()) -> pd.DataFrame:
    """Columns of a prefix whose values differ between rows, or between rows of the same ``within``, as ``written``."""
    columns = [column for column in runs if column.startswith(prefix) and _tells(column.removeprefix(prefix))]
    values = runs[columns].astype(object).where(runs[columns].notna(), NOTHING).astype(str)
    keys = [runs[name].astype(str) for name in within if name in runs]
    distinct = values.groupby(keys, sort=False).nunique().max() if keys else values.nunique()
    differing = [column for column in columns if distinct[column] > 1]
    return runs[differing].set_axis([written + name.removeprefix(prefix) for name in differing], axis=1)


def _scores(runs: pd.DataFrame) -> pd.DataFrame:
    """Known scores first; names with dots are what other analyses tell of the whole run."""
    found = {column.removeprefix("metric."): column for column in runs if column.startswith("metric.")}
    known = [name for name in _KNOWN if name in found]
    others = [name for name in found if name not in known and "." not in name]
    return pd.DataFrame({name: runs[found[name]] for name in [*known, *others]}, index=runs.index)


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
    return found.map(_text)


def _letter(code: int) -> str:
    """``A`` to ``Z``, then ``AA``, as in the columns of a spreadsheet."""
    before, last = divmod(code, 26)
    return (_letter(before - 1) if before else "") + chr(ord("A") + last)


def list_changes(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """What differs from one run to another, of which the rows are given.

    ``name before → after`` each, with the dotted name of the study's option or the package (of options of models that
    both have ``models.<model>.<option>``) and the values as they were logged; ``–`` where there is none.
    """
    found = [
        change
        for prefix in ("study_param.", "version.")
        for change in _changes(before.iloc[0], after.iloc[0], prefix)
    ]
    for model, one in before.dropna(subset=["model"]).set_index("model").iterrows():
        other = after[after["model"] == model]
        if len(other):
            found += [f"models.{model}.{change}" for change in _changes(one, other.iloc[0], "param.")]
    return found


def _changes(one: pd.Series, other: pd.Series, prefix: str) -> Iterator[str]:
    for column in dict.fromkeys([*one.index, *other.index]):
        name = str(column).removeprefix(prefix)
        before, after = _text(one.get(column)), _text(other.get(column))
        if str(column).startswith(prefix) and _tells(name) and before != after:
            yield f"{name} {before} → {after}"


def _text(value: object) -> str:
    return NOTHING if value is None or pd.isna(value) else str(value)


def _tells(name: str) -> bool:
    return name not in _NO_DIFFERENCE and not name.startswith(_TOLD_ELSEWHERE)
