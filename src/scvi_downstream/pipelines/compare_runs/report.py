"""Which model of which run is best, and what changed between runs, in the report and in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pandas as pd

from scvi_downstream.pipelines.compare_runs.table import LIKELIHOODS, comparable_groups, list_changes
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Headline, Item, Section, Trust, result
from scvi_downstream.runtime.words import count, up_to
from scvi_downstream.scoring.criteria import AGGREGATES, JUDGED_BY_LABELS, SAW_LABELS, direction, unit

logger = logging.getLogger(__name__)
SECTION = Section(
    "Runs compared",
    "Models of several runs on one board; only scores of the same cells, genes and labels are compared.",
    (
        Item("run_comparison_figure", "Scores of the models of each run."),
        result("run_comparison.csv", "One row a model of a run.", folder="", folded=True),
    ),
)

# So many of each kind can be read in a sentence; the table has all of them.
MOST_CHANGES = 8
MOST_GROUPS = 4
_MOST_NAMES = 6
_MOST_RUNS = 2


def summarize_runs(tracked_runs: pd.DataFrame) -> dict[str, Any]:
    """The best by each criterion, and sentences on the best, on what changed and on what cannot be compared.

    Parameters
    ----------
    tracked_runs
        One row a model of a run.

    Returns
    -------
    ``n_runs``, ``n_models``, ``runs`` (ids), ``best`` (see ``_best_models``) and ``sentences``: what is compared,
    the best, what cannot be compared, what changed, what failed.
    """
    best = _best_models(tracked_runs)
    sentences = [
        _describe_size(tracked_runs),
        *_describe_best(best),
        *_describe_groups(tracked_runs),
        *_describe_changes(tracked_runs),
        *_describe_failures(tracked_runs),
    ]
    for sentence in sentences:
        logger.info("%s", sentence)
    return {
        "n_runs": tracked_runs["run_id"].nunique(),
        "n_models": int(tracked_runs["model"].notna().sum()),
        "runs": tracked_runs["run_id"].unique().tolist(),
        "best": best,
        "sentences": sentences,
    }


def _best_models(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The best of each criterion in each group of rows that may be compared.

    ``criterion``, ``group``, ``studies``, ``n`` (rows with the criterion), ``model``, ``run``, ``value``,
    ``next_model``, ``next_run``, ``next_value``, ``standard_error`` (over cells, of the best; None where not known).
    Models that were trained on the labels are not judged by them.
    """
    families = runs.get("param.family", pd.Series(index=runs.index, dtype=object))
    found = []
    for criterion in (*LIKELIHOODS, *AGGREGATES):
        column = f"metric.{criterion}"
        if column not in runs:
            continue
        unfair = families.isin(SAW_LABELS) & (criterion in JUDGED_BY_LABELS)
        scored = runs[runs[column].notna() & ~unfair]
        for group, rows in scored.groupby(comparable_groups(runs, criterion), sort=False):
            ranked = rows.sort_values(column, ascending=direction(criterion) < 0, kind="stable")
            best = ranked.iloc[0]
            second: Any = ranked.iloc[1] if len(ranked) > 1 else dict.fromkeys(("model", "run", column))
            record: dict[str, Any] = {"criterion": criterion, "group": str(group)}
            record |= {"studies": rows["study"].unique().tolist(), "n": len(rows)}
            for prefix, row in (("", best), ("next_", second)):
                value = None if pd.isna(row[column]) else float(row[column])
                record |= {
                    f"{prefix}model": row["model"],
                    f"{prefix}run": row["run"],
                    f"{prefix}value": value,
                }
            error = best.get(f"{column}_se")
            found.append(record | {"standard_error": None if pd.isna(error) else float(error)})
    return found


def _describe_size(runs: pd.DataFrame) -> str:
    n_runs, models = runs["run_id"].nunique(), runs["model"].dropna()
    kinds = _count(models.nunique(), "model or baseline", "models and baselines")
    return (
        f"{_count(n_runs, 'run', 'runs')} of {_count(runs['study'].nunique(), 'study', 'studies')} "
        f"{'is' if n_runs == 1 else 'are'} compared, with "
        f"{f'{len(models)} fits of {kinds}' if len(models) else 'no models'}."
    )


def _count(n: int, noun: str, plural: str) -> str:
    return f"{n} {noun if n == 1 else plural}"


def _describe_best(best: list[dict[str, Any]]) -> Iterator[str]:
    """By one likelihood and one score of embeddings, in the first groups of several models."""
    for criteria in (LIKELIHOODS, AGGREGATES):
        first = next((record["criterion"] for record in best if record["criterion"] in criteria), None)
        several = [record for record in best if record["criterion"] == first and record["n"] > 1]
        yield from map(_describe_record, several[:MOST_GROUPS])


def _describe_record(record: dict[str, Any]) -> str:
    criterion = record["criterion"]
    value, next_value, error = (
        _format_score(criterion, record[name]) for name in ("value", "next_value", "standard_error")
    )
    noise = f", standard error {error} over cells that all of them share" if record["standard_error"] else ""
    apart = record["run"] != record["next_run"]
    run, next_run = (f" of run '{record[name]}'" if apart else "" for name in ("run", "next_run"))
    second = f"{record['next_model']}{next_run}"
    equal = record["next_value"] == record["value"]
    following = f"equal: {second}" if equal else f"next {second}, {next_value}"
    return (
        f"{', '.join(record['studies'])}: {record['model']}{run} has the best {criterion} of {record['n']} fits on the "
        f"same cells ({value}{unit(criterion)}{noise}; {following})."
    )


def _format_score(criterion: str, value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if criterion in LIKELIHOODS else f"{value:.3f}"


def _describe_groups(runs: pd.DataFrame) -> Iterator[str]:
    for criterion, what, why in (
        ("elbo_test", "Likelihoods", "cells, genes or the split"),
        ("scib_total", "Scores of embeddings", "cells, labels or batches"),
    ):
        groups = comparable_groups(runs, criterion).dropna()
        if groups.nunique() < 2:
            continue
        first = list(runs.loc[groups.index].groupby(groups, sort=False))[:MOST_GROUPS]
        members = "; ".join(f"{letter}: {_name_runs(rows)}" for letter, rows in first)
        yield (
            f"{what} are not compared between {groups.nunique()} groups of fits, as their {why} differ ({members})."
        )


def _name_runs(rows: pd.DataFrame) -> str:
    sizes = rows[["data_cells", "data_genes"]].dropna().drop_duplicates()
    shape = f" with {sizes.iloc[0, 0]:,.0f} cells × {sizes.iloc[0, 1]:,.0f} genes" if len(sizes) == 1 else ""
    return up_to([str(name) for name in rows["run"].unique()], _MOST_RUNS) + shape


def _describe_changes(runs: pd.DataFrame) -> Iterator[str]:
    """From each run of a study to its next."""
    for _, of_study in runs.groupby("study", sort=False):
        ordered = of_study.sort_values("started", kind="stable")
        parts = [rows for _, rows in ordered.groupby("run_id", sort=False)]
        yield from (_describe_change(before, after, runs) for before, after in pairwise(parts))


def _describe_change(before: pd.DataFrame, after: pd.DataFrame, runs: pd.DataFrame) -> str:
    changes = list_changes(before, after)
    old, new = (set(rows["model"].dropna()) for rows in (before, after))
    more = [f"{len(changes) - MOST_CHANGES} more options"] if len(changes) > MOST_CHANGES else []
    parts = changes[:MOST_CHANGES] + more
    for word, models in (("new:", new - old), ("gone:", old - new)):
        if models:
            parts.append(f"{word} {', '.join(sorted(models)[:_MOST_NAMES])}")
    what = "; ".join(parts) or "no option and no version differs"
    moved = _describe_moves(before, after, runs)
    return f"From run '{before['run'].iloc[0]}' to '{after['run'].iloc[0]}': {what}{moved}."


def _describe_moves(before: pd.DataFrame, after: pd.DataFrame, runs: pd.DataFrame) -> str:
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
                values = f"{_format_score(criterion, old)} → {_format_score(criterion, new)}"
                moves.append(f"{one['model']} {criterion} {values}")
    if not moves:
        return f"; {n_equal} scores of the same models are equal to the last digit" if n_equal else ""
    return f"; scores: {up_to(moves, _MOST_NAMES)}"


def _describe_failures(runs: pd.DataFrame) -> Iterator[str]:
    unfinished = runs[(runs["status"] != "FINISHED") | runs["model_status"].isin(["FAILED", "KILLED"])]
    for _, rows in unfinished.groupby("run_id", sort=False):
        run, status = rows["run"].iloc[0], rows["status"].iloc[0]
        reasons = rows["error"].dropna()
        reason = f" ({str(reasons.iloc[0]).splitlines()[0].rstrip('.')})" if len(reasons) else ""
        if status == "FINISHED":
            yield f"In run '{run}' {', '.join(rows['model'].dropna())} failed{reason}."
        else:
            yield f"Run '{run}' is {status}{reason}, so its scores may be incomplete."


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """The best model of all runs, by the first criterion, and whether the next is beyond the noise of the cells."""
    summary = contents.get("run_comparison_summary")
    if not summary:
        return None
    size = f"{count(summary['n_runs'], 'run')}, {count(summary['n_models'], 'fit')}"
    first = next((record for record in summary["best"] if record["n"] > 1), None)
    if first is None:
        return Headline(f"{size}: nothing to compare", Trust.UNCERTAIN)
    gap = abs(first["value"] - first["next_value"])
    beyond = first["standard_error"] is not None and gap > first["standard_error"]
    best = f"{first['model']} of run '{first['run']}' has the best {first['criterion']}"
    return Headline(f"{size}: {best}", Trust.HOLDS if beyond else Trust.UNCERTAIN)
