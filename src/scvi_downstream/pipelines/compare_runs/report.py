"""Which model of which run is best, and what changed between runs, in words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pandas as pd

from scvi_downstream.pipelines.compare_runs.table import changes, comparable_groups
from scvi_downstream.scoring.criteria import JUDGED_BY_LABELS, SAW_LABELS, direction, unit

CRITERIA = ("elbo_test", "marginal_ll_test", "scib_total", "scib_bio_conservation", "scib_batch_correction")
_OF_LIKELIHOOD = ("elbo_test", "marginal_ll_test")
MOST_CHANGES = 8
MOST_GROUPS = 4


def best_models(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The best of each criterion in each group of rows that may be compared.

    Parameters
    ----------
    runs
        One row a model of a run.

    Returns
    -------
    ``criterion``, ``group``, ``studies``, ``n`` (rows with the criterion), ``model``, ``run``, ``value``,
    ``next_model``, ``next_run``, ``next_value``, ``standard_error`` (over cells, of the best; None where not known).
    Models that were trained on the labels are not judged by them.
    """
    found = []
    for criterion in CRITERIA:
        column = f"metric.{criterion}"
        if column not in runs:
            continue
        scored = runs[runs[column].notna() & ~_unfair(runs, criterion)]
        for group, rows in scored.groupby(comparable_groups(runs, criterion), sort=False):
            ranked = rows.sort_values(column, ascending=direction(criterion) < 0, kind="stable")
            best, second = ranked.iloc[0], ranked.iloc[1] if len(ranked) > 1 else None
            error = best.get(f"{column}_se")
            found.append(
                {
                    "criterion": criterion,
                    "group": str(group),
                    "studies": rows["study"].unique().tolist(),
                    "n": len(rows),
                    "model": best["model"],
                    "run": best["run"],
                    "value": float(best[column]),
                    "next_model": None if second is None else second["model"],
                    "next_run": None if second is None else second["run"],
                    "next_value": None if second is None else float(second[column]),
                    "standard_error": None if error is None or pd.isna(error) else float(error),
                }
            )
    return found


def describe_runs(runs: pd.DataFrame, best: list[dict[str, Any]]) -> list[str]:
    """Sentences: what is compared, the best, what cannot be compared, what changed, what failed.

    Parameters
    ----------
    runs
        One row a model of a run.
    best
        Of :func:`best_models`.
    """
    return [
        _overview(runs),
        *(_best(record) for record in _told(best)),
        *_apart(runs),
        *_changes(runs),
        *_failures(runs),
    ]


def _unfair(runs: pd.DataFrame, criterion: str) -> pd.Series:
    families = runs.get("param.family", pd.Series(index=runs.index, dtype=object))
    return families.isin(SAW_LABELS) & (criterion in JUDGED_BY_LABELS)


def _overview(runs: pd.DataFrame) -> str:
    n_runs, n_studies = runs["run_id"].nunique(), runs["study"].nunique()
    models = runs["model"].dropna()
    with_models = (
        f"{len(models)} fits of {_count(models.nunique(), 'model or baseline', 'models and baselines')}"
    )
    return (
        f"{_count(n_runs, 'run')} of {_count(n_studies, 'study', 'studies')} "
        f"{'is' if n_runs == 1 else 'are'} compared, with {with_models if len(models) else 'no models'}."
    )


def _told(best: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One likelihood and one score of embeddings, in the first groups of several models."""
    for criteria in (CRITERIA[:2], CRITERIA[2:]):
        present = [record["criterion"] for record in best if record["criterion"] in criteria]
        chosen = next((name for name in criteria if name in present), None)
        records = [record for record in best if record["criterion"] == chosen and record["n"] > 1]
        yield from records[:MOST_GROUPS]


def _best(record: dict[str, Any]) -> str:
    criterion, of = record["criterion"], unit(record["criterion"])
    studies = ", ".join(record["studies"])
    error = record["standard_error"]
    noise = f", standard error {_shown(criterion, error)} over cells that all of them share" if error else ""
    runs = f" of run '{record['run']}'" if record["run"] != record["next_run"] else ""
    other = f" of run '{record['next_run']}'" if runs else ""
    following = (
        f"equal: {record['next_model']}{other}"
        if record["next_value"] == record["value"]
        else f"next {record['next_model']}{other}, {_shown(criterion, record['next_value'])}"
    )
    return (
        f"{studies}: {record['model']}{runs} has the best {criterion} of {record['n']} fits on the same cells "
        f"({_shown(criterion, record['value'])}{of}{noise}; {following})."
    )


def _shown(criterion: str, value: float) -> str:
    return f"{value:.1f}" if criterion in _OF_LIKELIHOOD else f"{value:.3f}"


def _apart(runs: pd.DataFrame) -> Iterator[str]:
    for criterion, what in (("elbo_test", "Likelihoods"), ("scib_total", "Scores of embeddings")):
        if f"metric.{criterion}" not in runs:
            continue
        groups = comparable_groups(runs, criterion).dropna()
        scored = runs.loc[groups.index]
        if groups.nunique() < 2:
            continue
        named = "; ".join(
            f"{letter}: {_who(rows)}"
            for letter, rows in list(scored.groupby(groups, sort=False))[:MOST_GROUPS]
        )
        why = (
            "cells, genes or the split differ" if what == "Likelihoods" else "cells, labels or batches differ"
        )
        yield f"{what} are not compared between {groups.nunique()} groups of fits, as their {why} ({named})."


def _who(rows: pd.DataFrame) -> str:
    sizes = rows[["data_cells", "data_genes"]].dropna().drop_duplicates()
    shape = f" with {sizes.iloc[0, 0]:,.0f} cells × {sizes.iloc[0, 1]:,.0f} genes" if len(sizes) == 1 else ""
    names = rows["run"].unique()
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(map(str, names[:2]))}{more}{shape}"


def _changes(runs: pd.DataFrame) -> Iterator[str]:
    """From each run of a study to its next."""
    for _, of_study in runs.groupby("study", sort=False):
        ordered = of_study.sort_values("started", kind="stable")
        parts = [rows for _, rows in ordered.groupby("run_id", sort=False)]
        yield from (_change(before, after, runs) for before, after in pairwise(parts))


def _change(before: pd.DataFrame, after: pd.DataFrame, runs: pd.DataFrame) -> str:
    found = changes(before, after)
    names = [set(rows["model"].dropna()) for rows in (before, after)]
    told = [str(change) for change in found[:MOST_CHANGES]]
    told += [f"{len(found) - MOST_CHANGES} more options"] if len(found) > MOST_CHANGES else []
    told += [f"{word} {', '.join(sorted(models)[:6])}" for word, models in (
        ("new:", names[1] - names[0]), ("gone:", names[0] - names[1])
    ) if models]  # fmt: skip
    what = "; ".join(told) or "no option and no version differs"
    return f"From run '{before['run'].iloc[0]}' to '{after['run'].iloc[0]}': {what}{_moved(before, after, runs)}."


def _moved(before: pd.DataFrame, after: pd.DataFrame, runs: pd.DataFrame) -> str:
    """How far scores of the models that both runs have went."""
    moves, n_equal = [], 0
    for criterion in ("elbo_test", "scib_total"):
        column = f"metric.{criterion}"
        if column not in runs:
            continue
        groups = comparable_groups(runs, criterion)
        for index, one in before[before[column].notna()].iterrows():
            same = after[(after["model"] == one["model"]) & after[column].notna()]
            if same.empty or groups[same.index[0]] != groups[index]:
                continue
            old, new = float(one[column]), float(same.iloc[0][column])
            n_equal += old == new
            if old != new:
                moves.append((one["model"], criterion, old, new))
    if not moves:
        return f"; {n_equal} scores of the same models are equal to the last digit" if n_equal else ""
    shown = ", ".join(
        f"{model} {criterion} {_shown(criterion, old)} → {_shown(criterion, new)}"
        for model, criterion, old, new in moves[:6]
    )
    more = f" and {len(moves) - 6} more" if len(moves) > 6 else ""
    return f"; scores: {shown}{more}"


def _failures(runs: pd.DataFrame) -> Iterator[str]:
    unfinished = runs[(runs["status"] != "FINISHED") | runs["model_status"].isin(["FAILED", "KILLED"])]
    for _, rows in unfinished.groupby("run_id", sort=False):
        first = rows.iloc[0]
        if first["status"] == "FINISHED":
            names = ", ".join(rows["model"].dropna())
            yield f"In run '{first['run']}' {names} failed{_reason(rows)}."
        else:
            yield f"Run '{first['run']}' is {first['status']}{_reason(rows)}, so its scores may be incomplete."


def _reason(rows: pd.DataFrame) -> str:
    reasons = rows["error"].dropna()
    return f" ({str(reasons.iloc[0]).splitlines()[0].rstrip('.')})" if len(reasons) else ""


def _count(n: int, noun: str, plural: str = "") -> str:
    return f"{n} {noun if n == 1 else plural or noun + 's'}"
