"""How near predictions come to what is measured, on cells that neither the prediction nor the choice of genes saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.cells.keys import Replicates
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.prediction.comparison import (
    BASELINES,
    CHOSEN,
    MEASURED_HALF,
    NO_CHANGE,
    UNCHANGED,
    Group,
    Prediction,
    Weights,
    bootstrap_weights,
    change_p_value,
    halved_weights,
    measured,
    measured_again,
    pair_means,
    predict,
    test_genes,
    whole_weights,
)
from scvi_downstream.pipelines.prediction.design import Decoder, block_names, find_groups
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.prediction.training import kept_cells, mrvi_decoder, scvi_decoder
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import Accelerator
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.testing import benjamini_hochberg

type Unit = dict[str, Prediction]
"""What is measured of a sample, and what each method predicts of it."""
type Scores = dict[str, dict[str, np.ndarray]]
"""Method → score → a value a division and bootstrap replicate."""
BOUNDED = ("delta_pearson", "delta_pearson_top", "pearson", "spearman", "sign")
LOWER_IS_BETTER = ("rmse", "rmse_top")
INTERVAL = (2.5, 97.5)
N_DIVISIONS = 20
"""Divisions of the held-out cells into halves whose mean is the estimate."""
MIN_BLOCKS = 3
"""Held-out samples from which the bootstrap is over samples, too."""
MIN_UNIT_CELLS, MIN_UNITS = 3, 5
"""Cells of each kind of a sample and type, and such units, from which genes are correlated over them."""
ALL_GROUPS = "all groups"
MEASURED = "measured"
COMPARED = ("explained", "delta_pearson", "delta_pearson_top", "rmse", "rmse_top")
_GROUP = ["target", "group"]
_ENDS = ["ci_lower", "ci_upper"]


def list_models(scores: pd.DataFrame) -> list[str]:
    """Methods of which the scores hold the same cells decoded unchanged."""
    methods = list(scores["method"].astype(str).unique())
    return [name for name in methods if name + UNCHANGED in methods]


def best_model(scores: pd.DataFrame) -> str:
    """The model whose change correlates best with the measured one, over all groups and targets."""
    models = list_models(scores)
    rows = scores[(scores["group"] == ALL_GROUPS) & (scores["score"] == "delta_pearson")]
    means = rows.groupby("method", observed=True)["value"].mean().reindex(models)
    return str(means.idxmax()) if means.notna().any() else models[0]


class Tables(NamedTuple):
    """What :func:`compare_predictions` finds; one row a gene, a score, a difference, a group, a gene across units."""

    expression: pd.DataFrame
    scores: pd.DataFrame
    differences: pd.DataFrame
    groups: pd.DataFrame
    by_gene: pd.DataFrame


NO_ROWS = (
    [*_GROUP, "gene", "symbol", "source", "measured", "change", "p_adjusted", "responds", "predictor"],
    [*_GROUP, "method", "score", "value", *_ENDS],
    [*_GROUP, "method", "versus", "score", "better_by", *_ENDS],
    [
        *_GROUP, "n_source", "n_reference", "n_target", "n_samples", "n_responders", "change_p", "changes", "predictor",
    ],
    ["target", "gene", "symbol", "n_units", "mean_change"],
)  # fmt: skip
"""Columns of the tables where nothing can be predicted."""


def compare_predictions(
    counts: AnnData,
    prediction_split: pd.DataFrame,
    prediction_design: dict[str, Any],
    keys: Replicates,
    options: PredictionOptions,
    seed: int,
    accelerator: Accelerator,
    prediction_model: SavedModel,
    prediction_mrvi_model: SavedModel | None = None,
) -> Tables:
    """Predict the held-out cells' mean expression from source cells, beside baselines, and score it.

    Parameters
    ----------
    counts
        Raw counts of all cells.
    prediction_split, prediction_design
        Of :func:`.design.hold_out_cells`.
    keys, options, seed
        Samples and conditions; draws, bootstrap, number of top genes, FDR; of every draw.
    accelerator
        Where to decode.
    prediction_model, prediction_mrvi_model
        Of :func:`.training.train_on_kept`: scVI, and MrVI where there are samples.

    Returns
    -------
    ``predicted_expression``, ``prediction_scores``, ``prediction_differences``, ``prediction_groups``,
    ``prediction_by_gene``, as of :func:`compare_groups`; without rows where nothing can be predicted.

    Raises
    ------
    InputError
        When no cell type has enough cells.
    """
    if "reason" in prediction_design:
        return Tables(*(pd.DataFrame(columns=names) for names in NO_ROWS))
    kept = kept_cells(counts, prediction_split)
    scvi = scvi_decoder(prediction_model, kept, options.n_samples, seed, accelerator)
    decoders: dict[str, Decoder] = {"scvi": scvi}
    if prediction_mrvi_model is not None:
        decoders["mrvi"] = mrvi_decoder(prediction_mrvi_model, kept, prediction_split, accelerator)
    symbols = symbols_of(counts.var).reindex(kept.var_names).to_numpy()
    genes = pd.DataFrame({"gene": kept.var_names, "symbol": symbols})
    groups = find_groups(counts, prediction_split, prediction_design, decoders, keys, options, seed)
    return compare_groups(groups, len(block_names(prediction_split)), genes, options, seed)


def compare_groups(
    found: Iterable[Group], n_blocks: int, genes: pd.DataFrame, options: PredictionOptions, seed: int
) -> Tables:
    """Score all methods in all groups of :func:`.design.find_groups`.

    ``n_blocks`` are the held-out samples, or 1; from 3 on, the bootstrap weights them at random, too. ``genes`` holds
    ``gene`` and ``symbol`` of the modelled genes.

    Raises
    ------
    InputError
        When no group has enough cells.
    """
    rng = np.random.default_rng(seed)
    blocks = np.ones((N_DIVISIONS + options.n_bootstrap, n_blocks))
    if n_blocks >= MIN_BLOCKS:
        # Dirichlet weights (Rubin 1981, doi:10.1214/aos/1176345338): with few samples of unequal size, draws with
        # replacement would often hold small ones only
        blocks[N_DIVISIONS:] = n_blocks * rng.dirichlet(np.ones(n_blocks), size=options.n_bootstrap)
    expression, rows = [], []
    units: dict[str, list[Unit]] = {}
    scored: dict[str, dict[str, Scores]] = {}
    for group in found:
        table, row, values = _compare_group(group, blocks, genes, options, seed)
        expression.append(table)
        rows.append(row)
        scored.setdefault(group.condition, {})[group.name] = values
        units.setdefault(group.condition, []).extend(_predict_samples(group))
    if not expression:
        raise InputError(
            f"no cell type has {options.min_cells} held-out cells and as many of the source in the same samples; "
            "lower prediction.min_cells or bring more cells"
        )
    groups = pd.DataFrame(rows)
    groups["change_p_adjusted"] = benjamini_hochberg(groups["change_p"].to_numpy())
    groups["changes"] = groups["change_p_adjusted"] <= options.fdr
    for target, by_group in scored.items():
        of_target, every = groups["target"] == target, list(by_group.values())
        among = {name for name in set.intersection(*map(set, every)) if not name.endswith(UNCHANGED)} - {
            MEASURED_HALF
        }
        predictors = [NO_CHANGE] * (1 + len(every))
        if groups.loc[of_target, "changes"].any():
            # the choice is scored on groups that had no part in it, where there are others
            others = [[each for each in every if each is not own] or every for own in every]
            predictors = [choose_predictor(each, among) for each in (every, *others)]
        groups.loc[of_target, "predictor"] = predictors[0]
        for own, predictor in zip(every, predictors[1:], strict=True):
            own[CHOSEN] = own[predictor]
        by_group[ALL_GROUPS] = _mean_over_groups(every)
    delivered = [deliver(*each) for each in zip(expression, groups["predictor"], strict=True)]
    expressed, by_gene = pd.concat(delivered, ignore_index=True), _correlate_genes(units, genes)
    return Tables(expressed, *_tabulate_scores(scored), groups, by_gene)


def choose_predictor(groups: list[Scores], among: set[str]) -> str:
    """The method to deliver, of those named: the one that explains most of the change measured in these groups.

    It has to explain some surely (95 % interval above zero), and its expression has to err less than the source does;
    where none does, no change.
    """
    means, explained = _mean_over_groups(groups), {}
    for method in sorted(among):
        value, low, _ = _estimate("explained", means[method]["explained"])
        error, of_source = (_estimate("rmse", means[name]["rmse"])[0] for name in (method, NO_CHANGE))
        if low > 0 and error < of_source:
            explained[method] = value
    return max(explained, key=lambda method: explained[method], default=NO_CHANGE)


def deliver(expression: pd.DataFrame, predictor: str) -> pd.DataFrame:
    """A group's table with the predictor's columns as ``predicted``, with its name."""
    ends = ("", "_lower", "_upper", "_change")
    return expression.assign(
        predictor=predictor, **{f"predicted{end}": expression[predictor + end] for end in ends}
    )


def _compare_group(
    group: Group, blocks: np.ndarray, genes: pd.DataFrame, options: PredictionOptions, seed: int
) -> tuple[pd.DataFrame, dict[str, object], Scores]:
    """The table of expression, the row of the group, and the scores of all methods."""
    rng = np.random.default_rng(seed)
    resampled = np.arange(len(blocks)) >= N_DIVISIONS
    halves = halved_weights(group.blocks, blocks, rng, resampled=resampled)
    values = score_halves(group, halves, options.top_genes)
    whole = whole_weights(group.blocks)
    replicates = bootstrap_weights(group.blocks, blocks[resampled], rng)
    truths = [measured(group, each) for each in (whole, replicates)]
    point, drawn = (predict(group, each) for each in (whole, replicates))
    tests = test_genes(group)
    responders = tests <= options.fdr
    change = truths[0].change[0]
    for method, prediction in point.items():
        once = right_signs(prediction.change, change, responders)
        again = right_signs(drawn[method].change, change, responders)
        values[method]["sign"] = np.concatenate([np.repeat(once, N_DIVISIONS), again])
    values[MEASURED_HALF]["sign"] = np.full(len(blocks), np.nan)
    row = {
        "target": group.condition,
        "group": group.name,
        "n_source": len(group.blocks.source),
        "n_reference": len(group.blocks.reference),
        "n_target": len(group.blocks.target),
        "n_samples": len(np.intersect1d(group.blocks.source, group.blocks.target)),
        "n_responders": int(responders.sum()),
        "change_p": change_p_value(group, seed),
    }
    table = _tabulate_expression(group, genes, tests, responders, truths, (point, drawn))
    return table, row, values


def _tabulate_scores(scored: dict[str, dict[str, Scores]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores, and how much better each model is than each baseline and each other model, with bootstrap intervals."""
    rows: list[tuple[str | float, ...]] = []
    differences: list[tuple[str | float, ...]] = []
    for target, by_group in scored.items():
        for group, methods in by_group.items():
            models = [method for method in methods if method + UNCHANGED in methods]
            for method, by_score in methods.items():
                for score, values in by_score.items():
                    rows.append((target, group, method, score, *_estimate(score, values)))
            for model in models:
                for other in (model + UNCHANGED, *BASELINES, *models):
                    if other not in methods or other == model:
                        continue
                    for score in COMPARED:
                        gain = better_by(score, methods[model][score], methods[other][score])
                        found = _estimate("difference", gain)
                        differences.append((target, group, model, other, score, *found))
    return (
        pd.DataFrame(rows, columns=NO_ROWS[1]).dropna(subset="value", ignore_index=True),
        pd.DataFrame(differences, columns=NO_ROWS[2]).dropna(subset="better_by", ignore_index=True),
    )


def _estimate(score: str, values: np.ndarray) -> tuple[float, float, float]:
    return interval(score, values[:N_DIVISIONS], values[N_DIVISIONS:])


def score_halves(group: Group, halves: tuple[Weights, Weights], top_genes: int) -> Scores:
    """Scores of every method against one random half of the held-out cells.

    Prediction and truth share no cell: predictions start from some source cells, the truth is one half of the target
    cells and its change from other source cells. A change that is computed from the same source cells on both sides
    correlates by their noise alone. The ``top_genes`` that change most are chosen on the other half of the target
    cells, which, as a prediction, also shows what another measurement of as many cells achieves.

    ``halves`` are of :func:`.comparison.halved_weights`, two rows a division; each score, by method and name, is
    ``(n_rows / 2,)``, the mean of the two directions, and NaN where undefined.
    """
    from scipy.stats import rankdata

    again, truth = measured_again(group, halves[0]), measured(group, halves[1])
    top = np.argsort(-np.abs(again.change), axis=1, kind="stable")[:, :top_genes]
    ranks = rankdata(truth.expression, axis=1)
    methods = {**predict(group, halves[0]), MEASURED_HALF: again}
    scores = {method: _score(given, truth, ranks, top) for method, given in methods.items()}
    # a perfect prediction explains as much as two measurements share; their difference holds the noise of both
    scores[MEASURED_HALF]["explained"] = _over_squares(again.change * truth.change, truth)
    return {
        method: {name: values.reshape(-1, 2).mean(axis=1) for name, values in by_score.items()}
        for method, by_score in scores.items()
    }


def _over_squares(products: np.ndarray, truth: Prediction) -> np.ndarray:
    """Sums of the ``(n_rows, n_genes)`` products over those of the squares of the measured change; NaN without one."""
    squares = (truth.change**2).sum(axis=1)
    return np.divide(products.sum(axis=1), squares, out=np.full(len(squares), np.nan), where=squares > 0)


def right_signs(predicted: np.ndarray, change: np.ndarray, responders: np.ndarray) -> np.ndarray:
    """Share of responding genes whose predicted change has the measured sign; NaN without responders or changes.

    ``predicted`` is ``(n_replicates, n_genes)``; ``change``, the measured one, and ``responders``, whether that is
    significant, are ``(n_genes,)``.
    """
    if not responders.any() or not np.any(predicted):
        return np.full(len(predicted), np.nan)
    agree = np.sign(predicted[:, responders]) == np.sign(change[responders])
    return np.where(np.isfinite(predicted).all(axis=1), agree.mean(axis=1), np.nan)


def interval(score: str, estimates: np.ndarray, replicates: np.ndarray) -> tuple[float, float, float]:
    """The mean of ``estimates``, of divisions without resampling, and a 95 % bootstrap interval about it.

    Resampled cells carry their noise twice, which lowers every correlation of the ``replicates``; their spread is
    therefore laid about the estimate (a basic shift, not the raw percentiles). Intervals of correlations and shares end
    at their bounds.
    """
    if not np.isfinite(estimates).any() or np.isfinite(replicates).sum() < 2:
        return np.nan, np.nan, np.nan
    value = float(np.nanmean(estimates))
    low, high = np.nanpercentile(replicates, INTERVAL) - np.nanmean(replicates) + value
    if score in BOUNDED:
        low, high = max(low, 0.0 if score == "sign" else -1.0), min(high, 1.0)
    if score in LOWER_IS_BETTER:
        low = max(low, 0.0)
    return value, float(low), float(high)


def better_by(score: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much better the first is: a difference that is positive when the first is better."""
    return other - one if score in LOWER_IS_BETTER else one - other


def _mean_over_groups(by_group: list[Scores]) -> Scores:
    """Scores of methods that every group has, each group with the same weight."""
    common = [name for name in by_group[0] if all(name in scores for scores in by_group)]
    return {
        method: {
            score: _mean_where_defined(np.array([scores[method][score] for scores in by_group]))
            for score in by_group[0][method]
        }
        for method in common
    }


def _score(
    given: Prediction, truth: Prediction, true_ranks: np.ndarray, top: np.ndarray
) -> dict[str, np.ndarray]:
    from scipy.stats import rankdata

    expression, change = given.expression, given.change
    predicted_top, true_top, change_top, true_change_top = (
        np.take_along_axis(values, top, axis=1)
        for values in (expression, truth.expression, change, truth.change)
    )
    error = ((predicted_top - true_top) ** 2).sum(axis=1)
    spread = ((true_top - true_top.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return {
        "explained": 1 - _over_squares((change - truth.change) ** 2, truth),
        "delta_pearson": pearson(change, truth.change),
        "delta_pearson_top": pearson(change_top, true_change_top),
        "pearson": pearson(expression, truth.expression),
        "spearman": pearson(rankdata(expression, axis=1), true_ranks),
        "rmse": np.sqrt(((expression - truth.expression) ** 2).mean(axis=1)),
        "rmse_top": np.sqrt(error / top.shape[1]),
        "r2_top": 1 - np.divide(error, spread, out=np.full(len(error), np.nan), where=spread > 0),
    }


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each row of ``(n_rows, n_values)``; NaN where one of them does not vary."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), scale, out=np.full(len(x), np.nan), where=scale > 1e-12)


def _mean_where_defined(values: np.ndarray) -> np.ndarray:
    defined = np.isfinite(values)
    total, n = np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0)
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)


def _tabulate_expression(
    group: Group,
    genes: pd.DataFrame,
    tests: np.ndarray,
    responders: np.ndarray,
    truths: list[Prediction],
    predictions: tuple[dict[str, Prediction], dict[str, Prediction]],
) -> pd.DataFrame:
    """One row a gene: measured and predicted log mean expression with 95 % bootstrap intervals.

    ``target``, ``group``, ``gene``, ``symbol``, ``source`` and ``measured`` (log(1 + counts per 10,000 of the modelled
    genes)), ``change``, ``p_adjusted``, ``responds``; by method its name, ``…_lower``, ``…_upper``, and for its change
    ``…_change``. The intervals are over cells (and samples), with the models as they are. Of ``truths`` and
    ``predictions`` the first are of all cells, the second of cells drawn with replacement.
    """
    source, blocks = group.all_source
    before, _ = pair_means((source, group.target), (blocks, group.blocks.target), group.blocks.n)
    table = genes.assign(
        target=group.condition,
        group=group.name,
        source=before,
        **_with_interval("measured", *truths),
        change=truths[0].change[0],
        p_adjusted=tests,
        responds=responders,
    )
    point, drawn = predictions
    for method, prediction in point.items():
        if not method.endswith(UNCHANGED):
            table = table.assign(**_with_interval(method, prediction, drawn[method]))
            table[f"{method}_change"] = prediction.change[0]
    return table[[*_GROUP, *table.columns.drop(_GROUP)]]


def _with_interval(name: str, point: Prediction, drawn: Prediction) -> dict[str, np.ndarray]:
    known = drawn.expression[np.isfinite(drawn.expression).all(axis=1)]  # replicates without a block are NaN
    low, high = np.percentile(known, INTERVAL, axis=0) if len(known) else np.full((2, known.shape[1]), np.nan)
    return {name: point.expression[0], f"{name}_lower": low, f"{name}_upper": high}


def _predict_samples(group: Group) -> list[Unit]:
    """What is measured and predicted of each sample with enough cells of both conditions."""
    blocks, units = group.blocks, []
    for block in range(blocks.n):
        chosen = [codes == block for codes in (blocks.source, blocks.reference, blocks.target)]
        if min(each.sum() for each in chosen) >= MIN_UNIT_CELLS:
            weights = Weights(*(each[None] / each.sum() for each in chosen))
            units.append({MEASURED: measured(group, weights), **predict(group, weights)})
    return units


def _correlate_genes(units: Mapping[str, list[Unit]], genes: pd.DataFrame) -> pd.DataFrame:
    """Per gene, Pearson's correlation of predicted and measured values across samples and cell types, by target.

    ``target``, ``gene``, ``symbol``, ``n_units``, ``mean_change``, and by method ``pearson_…`` (of expression) and
    ``pearson_change_…``; no row where there are fewer than 5 units.
    """
    tables = []
    for target, found in units.items():
        if len(found) < MIN_UNITS:
            continue
        shared = [name for name in found[0] if all(name in unit for unit in found)]
        expression, change = (
            {name: np.array([getattr(unit[name], part)[0] for unit in found]).T for name in shared}
            for part in ("expression", "change")
        )
        table = genes.assign(target=target, n_units=len(found), mean_change=change[MEASURED].mean(axis=1))
        for method in shared[1:]:
            table[f"pearson_{method}"] = pearson(expression[method], expression[MEASURED])
            table[f"pearson_change_{method}"] = pearson(change[method], change[MEASURED])
        tables.append(table[["target", *table.columns.drop("target")]])
    if tables:
        return pd.concat(tables, ignore_index=True).dropna(axis="columns", how="all")
    return pd.DataFrame(columns=NO_ROWS[-1])
