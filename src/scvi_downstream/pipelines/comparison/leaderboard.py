"""One row a model, trial or baseline, the best first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.comparison.noise import (
    Evidence,
    deciding_criterion,
    hold,
    likelihood_intervals,
    paired_difference,
    score_intervals,
)
from scvi_downstream.pipelines.comparison.options import ChampionRule
from scvi_downstream.scoring.criteria import (
    AGGREGATES,
    BATCH_CORRECTION,
    BIO_CONSERVATION,
    CLUSTERS,
    COSTS,
    LIKELIHOOD,
    QUALITIES,
    RANKED,
    direction,
)


def pareto_front(quality: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Rows that no other row dominates: none is as good and as cheap, and better in one of the two.

    Parameters
    ----------
    quality
        ``(n_rows,)``, more is better.
    cost
        ``(n_rows,)``, less is better.

    Returns
    -------
    ``(n_rows,)`` of booleans; a row with NaN in either is never on the front. Equal rows are on it together.
    """
    quality, cost = np.asarray(quality, dtype=float), np.asarray(cost, dtype=float)
    known = np.isfinite(quality) & np.isfinite(cost)
    front = np.zeros(len(quality), dtype=bool)
    as_good = quality[known][:, None] >= quality[known][None, :]
    as_cheap = cost[known][:, None] <= cost[known][None, :]
    dominates = as_good & as_cheap & ~(as_good.T & as_cheap.T)
    front[known] = ~dominates.any(axis=0)
    return front


def rank_models(board: pd.DataFrame) -> pd.DataFrame:
    """1 for the best by each criterion; equal values share their mean rank, as in Friedman's test.

    Parameters
    ----------
    board
        One row a model or baseline.

    Returns
    -------
    ``rank_<criterion>`` for each criterion that the board holds, NaN where a row lacks it, and ``mean_rank`` over
    bio conservation, batch correction and held-out likelihoods. A row without one of these that others have gets no
    mean: ranks by different criteria among different rows cannot be compared.

    References
    ----------
    Friedman (1937), doi:10.1080/01621459.1937.10503522.
    """
    ranks = pd.DataFrame(
        {
            f"rank_{criterion}": (board[criterion] * -direction(criterion)).rank(method="average")
            for criterion in RANKED
            if criterion in board and board[criterion].notna().any()
        },
        index=board.index,
    )
    qualities = [name for name in (f"rank_{criterion}" for criterion in QUALITIES) if name in ranks]
    if qualities:
        ranks["mean_rank"] = ranks[qualities].mean(axis="columns", skipna=False)
    return ranks


_IDENTITY = ("name", "family", "init_from", "trial_of")


def differing_options(names: pd.Index, models: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One column for each option that two models of one family set differently.

    Parameters
    ----------
    names
        Rows of the leaderboard.
    models
        Complete options by model; those of ``training`` become ``training.<option>``.

    Returns
    -------
    One row a name; missing where a family does not have the option, or the row is no model.
    """
    options = {name: _flat(models[name]) for name in names if name in models}
    values: dict[tuple[str, str], set[str]] = {}
    for name, given in options.items():
        for option, value in given.items():
            values.setdefault((str(models[name].get("family")), option), set()).add(repr(value))
    swept = dict.fromkeys(option for (_, option), seen in values.items() if len(seen) > 1)
    return pd.DataFrame(
        {option: [options.get(name, {}).get(option) for name in names] for option in swept}, index=names
    )


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and words; lists and mappings are written as text."""
    flat = {
        **{name: value for name, value in options.items() if name not in (*_IDENTITY, "training")},
        **{f"training.{name}": value for name, value in (options.get("training") or {}).items()},
    }
    return {name: str(value) if isinstance(value, list | dict) else value for name, value in flat.items()}


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
