"""One row a model, trial or baseline, the best first."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.models.specification import IDENTITY
from scvi_downstream.pipelines.comparison.champion import deciding_criterion, hold
from scvi_downstream.pipelines.comparison.noise import (
    Evidence,
    by_model,
    likelihood_intervals,
    paired_difference,
    score_intervals,
)
from scvi_downstream.pipelines.comparison.options import ChampionRule, ComparisonOptions
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
    pareto_front,
)

logger = logging.getLogger(__name__)

_ORDER = ("family", *AGGREGATES, *BIO_CONSERVATION, *BATCH_CORRECTION, *LIKELIHOOD, *CLUSTERS, *COSTS)
_LAST = ("left_out", "failed")
_SORT_BY = ("scib_total", "scib_bio_conservation", "elbo_test", "scib_batch_correction")


def build_leaderboard(
    options: ComparisonOptions, models: Mapping[str, Mapping[str, Any]] | None = None, **records: Any
) -> pd.DataFrame:
    """One row a model, trial or baseline, the best first, with NaN where a metric does not exist.

    Parameters
    ----------
    options
        ``champion.criteria``: the first that exists is the quality of the Pareto front; ``baselines``: rows that are
        no models.
    models
        Complete options by model, for what differs between them.
    **records
        ``<name>__scores``: flat records, each with ``model``; ``<name>__score_draws``: bootstrap draws × scib metrics;
        ``<name>__cell_likelihood``: cells × ``share, elbo, reconstruction_error, marginal_ll``.

    Returns
    -------
    Indexed by ``model``: scores and costs, ``kind`` (model, trial or baseline), ``trial_of``, options that differ,
    ``rank_<criterion>``, ``mean_rank``, ``pareto``, ``behind_best`` (in pairs of the same cells or draws), intervals of
    95 % as ``<metric>_low`` and ``<metric>_high``, ``left_out`` and ``failed``.
    """
    models = models or {}
    evidence = Evidence.of_datasets(records)
    table = _tabulate_scores(list(by_model(records, "scores").values()))
    differing = _differing_options(table.index, models)
    scored = table.columns.intersection(differing.columns)
    table = table.assign(**{column: table[column].fillna(differing[column]) for column in scored})
    origins = [(models.get(name) or {}).get("trial_of") for name in table.index]
    trial_of = pd.Series(origins, index=table.index, dtype=object)
    if "trial_of" in table:
        trial_of = table["trial_of"].fillna(trial_of)
    is_baseline = table.index.isin(options.no_models)
    kind = np.where(is_baseline, "baseline", np.where(trial_of.notna(), "trial", "model"))
    identity = pd.DataFrame({"kind": kind, "trial_of": trial_of}, index=table.index)
    last = table.columns.intersection(_LAST)
    board = pd.concat(
        [
            table.drop(columns=[*last, "trial_of"], errors="ignore"),
            identity if trial_of.notna().any() else identity[["kind"]],
            differing.drop(columns=scored),
            rank_models(table),
            _compare_with_best(table, evidence, options.no_models, options.champion),
            score_intervals(table, evidence.draws),
            likelihood_intervals(table, evidence.cells),
            table[last],
        ],
        axis="columns",
    )
    if "failed" in board:
        for name, reason in board["failed"].dropna().items():
            logger.warning("%s failed and has no scores: %s", name, reason)
    return board


def _tabulate_scores(scores: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows by ``scib_total``, else bio conservation, held-out ELBO or batch correction; columns grouped.

    ``scores`` are flat records with at least ``model``; ``failed`` says why a trial has no scores. Indexed by
    ``model``, NaN where a metric does not exist for a row, failed trials last.
    """
    table = pd.DataFrame(list(scores)).set_index("model").dropna(axis="columns", how="all")
    numbers = table.select_dtypes("number").columns
    table[numbers] = table[numbers].replace([np.inf, -np.inf], np.nan)
    grouped = [column for column in _ORDER if column in table]
    others = [column for column in table if column not in (*_ORDER, *_LAST)]
    last = [column for column in _LAST if column in table]
    table = table[[*grouped, *others, *last]].sort_index()
    criterion = next((column for column in _SORT_BY if column in table), None)
    if criterion is not None:
        table = table.sort_values(criterion, ascending=False, na_position="last", kind="stable")
    if "failed" not in table:
        return table
    # the failed after all that are scored, even where these lack the criterion
    return table.sort_values("failed", key=pd.Series.notna, kind="stable")


def _differing_options(names: pd.Index, models: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One column for each option that two models of one family set differently.

    Options of ``training`` become ``training.<option>``. One row a name; missing where a family does not have the
    option, or the row is no model.
    """
    options = {name: _flatten(models[name]) for name in names if name in models}
    values: dict[tuple[str, str], set[str]] = {}
    for name, given in options.items():
        for option, value in given.items():
            values.setdefault((str(models[name].get("family")), option), set()).add(repr(value))
    differing = dict.fromkeys(option for (_, option), seen in values.items() if len(seen) > 1)
    return pd.DataFrame(
        {option: [options.get(name, {}).get(option) for name in names] for option in differing}, index=names
    )


def _flatten(options: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and words; lists and mappings are written as text."""
    flat = {name: value for name, value in options.items() if name not in IDENTITY}
    flat |= {f"training.{name}": value for name, value in (options.get("training") or {}).items()}
    return {name: str(value) if isinstance(value, list | dict) else value for name, value in flat.items()}


def rank_models(board: pd.DataFrame) -> pd.DataFrame:
    """1 for the best by each criterion; equal values share their mean rank, as in Friedman's test.

    ``rank_<criterion>`` for each criterion that the board holds, NaN where a row lacks it, and ``mean_rank`` over bio
    conservation, batch correction and held-out likelihoods. A row without one of these that others have gets no mean:
    ranks by different criteria among different rows cannot be compared. Friedman (1937),
    doi:10.1080/01621459.1937.10503522.
    """
    ranks = pd.DataFrame(
        {
            f"rank_{criterion}": (board[criterion] * -direction(criterion)).rank(method="average")
            for criterion in RANKED
            if criterion in board and board[criterion].notna().any()
        },
        index=board.index,
    )
    qualities = ranks.columns.intersection([f"rank_{criterion}" for criterion in QUALITIES])
    if len(qualities):
        ranks["mean_rank"] = ranks[qualities].mean(axis="columns", skipna=False)
    return ranks


def _compare_with_best(
    table: pd.DataFrame, evidence: Evidence, baselines: Collection[str], rule: ChampionRule
) -> pd.DataFrame:
    """``pareto``, and by how much each row is behind the best model in pairs of the same cells or draws."""
    models = table[~table.index.isin(baselines)]
    compared = pd.DataFrame(index=table.index)
    quality = deciding_criterion(models, rule)
    if quality is None:
        return compared
    if "seconds" in table:
        scores = np.column_stack([table[quality] * direction(quality), -table["seconds"]])
        compared["pareto"] = pareto_front(scores.astype(float))
    best = hold(models, quality, rule, evidence).best
    differences = [
        paired_difference(table, quality, best, name, evidence) if known else None
        for name, known in table[quality].notna().items()
    ]
    if any(differences):
        for end, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            compared[f"behind_best{end}"] = [getattr(found, part, np.nan) for found in differences]
    return compared
