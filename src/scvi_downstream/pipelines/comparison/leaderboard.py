"""One row a model, trial or baseline, the best first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.criteria import (
    AGGREGATES,
    BATCH_CORRECTION,
    BIO_CONSERVATION,
    CLUSTERS,
    COSTS,
    LIKELIHOOD,
    direction,
)
from scvi_downstream.parameters import ChampionRule

from .contest import deciding_criterion, hold
from .intervals import likelihood_intervals, score_intervals
from .noise import Evidence, paired_difference
from .pareto import pareto_front
from .ranks import rank_models
from .swept import differing_options

_ORDER = ("family", *AGGREGATES, *BIO_CONSERVATION, *BATCH_CORRECTION, *LIKELIHOOD, *CLUSTERS, *COSTS)
_LAST = ("left_out", "failed")
_SORT_BY = ("scib_total", "scib_bio_conservation", "elbo_test", "scib_batch_correction")


def tabulate_scores(scores: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows by ``scib_total``, else bio conservation, held-out ELBO or batch correction; columns grouped.

    Parameters
    ----------
    scores
        One flat record each, with at least ``model``; ``failed`` says why a trial has no scores.

    Returns
    -------
    Indexed by ``model``; NaN where a metric does not exist for a row, failed trials last.
    """
    table = pd.DataFrame(list(scores)).set_index("model").dropna(axis="columns", how="all")
    numbers = table.select_dtypes("number").columns
    table[numbers] = table[numbers].replace([np.inf, -np.inf], np.nan)
    named = [column for column in _ORDER if column in table]
    others = [column for column in table if column not in (*_ORDER, *_LAST)]
    table = table[[*named, *others, *(column for column in _LAST if column in table)]].sort_index()
    criterion = next((column for column in _SORT_BY if column in table), None)
    if criterion is not None:
        table = table.sort_values(criterion, ascending=False, na_position="last", kind="stable")
    if "failed" not in table:
        return table
    return table.sort_values(
        "failed", key=lambda reasons: reasons.notna(), kind="stable"
    )  # the failed after all that are scored, even where these lack the criterion


def complete_board(
    table: pd.DataFrame,
    *,
    evidence: Evidence,
    models: Mapping[str, Mapping[str, Any]],
    baselines: Collection[str],
    rule: ChampionRule,
) -> pd.DataFrame:
    """What follows from the scores: kinds, swept options, ranks, the Pareto front and intervals.

    Parameters
    ----------
    table
        Of :func:`tabulate_scores`.
    evidence
        Bootstrap draws and per-cell likelihoods by row.
    models
        Complete options by model.
    baselines
        Rows that are not models.
    rule
        Its first criterion that a model has is the quality of the Pareto front and of ``behind_best``.

    Returns
    -------
    The table with further columns behind its own; ``left_out`` and ``failed`` stay last.
    """
    options = differing_options(table.index, models)
    known = [column for column in options if column in table]
    table = table.assign(**{column: table[column].fillna(options[column]) for column in known})
    trial_of = pd.Series(
        [(models.get(name) or {}).get("trial_of") for name in table.index], index=table.index, dtype=object
    )
    trial_of = table["trial_of"].fillna(trial_of) if "trial_of" in table else trial_of
    kind = np.where(table.index.isin(baselines), "baseline", np.where(trial_of.notna(), "trial", "model"))
    last = [column for column in _LAST if column in table]
    identity = pd.DataFrame({"kind": kind}, index=table.index)
    if trial_of.notna().any():
        identity["trial_of"] = trial_of
    return pd.concat(
        [
            table.drop(columns=[*last, "trial_of"], errors="ignore"),
            identity,
            options.drop(columns=known),
            rank_models(table),
            _against_best(table, evidence, baselines, rule),
            score_intervals(table, evidence.draws),
            likelihood_intervals(table, evidence.cells),
            table[last],
        ],
        axis="columns",
    )


def _against_best(
    table: pd.DataFrame, evidence: Evidence, baselines: Collection[str], rule: ChampionRule
) -> pd.DataFrame:
    """``pareto``, and by how much each row is behind the best model in pairs of the same cells or draws."""
    models = table[~table.index.isin(baselines)]
    quality = deciding_criterion(models, rule)
    if quality is None:
        return pd.DataFrame(index=table.index)
    columns: dict[str, Any] = {}
    if "seconds" in table:
        better = table[quality].to_numpy(dtype=float) * direction(quality)
        columns["pareto"] = pareto_front(better, table["seconds"].to_numpy(dtype=float))
    best = hold(models, quality, rule, evidence).best
    differences = {
        str(name): paired_difference(table, quality, best, str(name), evidence)
        for name in table.index[table[quality].notna()]
    }
    if any(difference is not None for difference in differences.values()):
        for column, part in (
            ("behind_best", "value"),
            ("behind_best_low", "low"),
            ("behind_best_high", "high"),
        ):
            columns[column] = [getattr(differences.get(name), part, np.nan) for name in table.index]
    return pd.DataFrame(columns, index=table.index)
