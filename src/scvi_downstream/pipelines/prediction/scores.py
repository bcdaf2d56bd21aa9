"""How near predictions come to what is measured, on cells that neither the prediction nor the choice of genes saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from scvi_downstream.pipelines.prediction.comparison import (
    BASELINES,
    MEASURED_HALF,
    UNCHANGED,
    Group,
    Prediction,
    change_p_value,
    measured,
    measured_again,
    pair_means,
    predict,
    test_genes,
)
from scvi_downstream.pipelines.prediction.design import (
    Weights,
    bootstrap_weights,
    halved_weights,
    pair_weights,
    whole_weights,
)
from scvi_downstream.pipelines.prediction.groups import NamedGroup
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.statistics.testing import benjamini_hochberg

BOUNDED = ("delta_pearson", "delta_pearson_top", "pearson", "spearman", "sign")
LOWER_IS_BETTER = ("rmse", "rmse_top")
INTERVAL = (2.5, 97.5)


def score_halves(
    group: Group, halves: tuple[Weights, Weights], top_genes: int
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of every method against one random half of the held-out cells.

    Prediction and truth share no cell: predictions start from some source cells, the truth is one half of the target
    cells and its change from other source cells. A change that is computed from the same source cells on both sides
    correlates by their noise alone. The genes that change most are chosen on the other half of the target cells,
    which, as a prediction, also shows what another measurement of as many cells achieves.

    Parameters
    ----------
    group
        Cells and what predictions are made of.
    halves
        Of :func:`.weights.halved_weights`: ``n_rows``, two a division.
    top_genes
        Number of genes of the largest change in the ``_top`` scores.

    Returns
    -------
    Method → score → ``(n_rows / 2,)``, the mean of the two directions; NaN where undefined.
    """
    again, truth = measured_again(group, halves[0]), measured(group, halves[1])
    top = np.argsort(-np.abs(again.change), axis=1, kind="stable")[:, :top_genes]
    methods = {**predict(group, halves[0]), MEASURED_HALF: again}
    return {
        method: {
            name: values.reshape(-1, 2).mean(axis=1) for name, values in _scores(given, truth, top).items()
        }
        for method, given in methods.items()
    }


def right_signs(predicted: np.ndarray, change: np.ndarray, responders: np.ndarray) -> np.ndarray:
    """Share of responding genes whose predicted change has the measured sign; NaN without responders or changes.

    Parameters
    ----------
    predicted
        ``(n_replicates, n_genes)`` predicted change.
    change
        ``(n_genes,)`` measured change.
    responders
        ``(n_genes,)`` whether a gene's change is significant.
    """
    if not responders.any() or not np.any(predicted):
        return np.full(len(predicted), np.nan)
    agree = np.sign(predicted[:, responders]) == np.sign(change[responders])
    return np.where(np.isfinite(predicted).all(axis=1), agree.mean(axis=1), np.nan)


def interval(score: str, estimates: np.ndarray, replicates: np.ndarray) -> tuple[float, float, float]:
    """The mean over divisions, and a 95 % bootstrap interval about it.

    Resampled cells carry their noise twice, which lowers every correlation of the replicates; their spread is
    therefore laid about the estimate (a basic shift, not the raw percentiles).

    Parameters
    ----------
    score
        Name, for the bounds of correlations and shares.
    estimates
        Values of divisions without resampling.
    replicates
        Values of divisions with resampled cells (and samples).
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


def mean_over_groups(
    by_group: list[dict[str, dict[str, np.ndarray]]],
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of methods that every group has, each group with the same weight."""
    common = [name for name in by_group[0] if all(name in scores for scores in by_group)]
    return {
        method: {
            score: _mean_where_defined(np.array([scores[method][score] for scores in by_group]))
            for score in by_group[0][method]
        }
        for method in common
    }


def tabulate(scores: dict[str, dict[str, np.ndarray]], n_divisions: int, **names: str | int) -> pd.DataFrame:
    """One row a method and score: ``value``, ``ci_lower``, ``ci_upper``; the first ``n_divisions`` are estimates."""
    rows = [
        {**names, "method": method, "score": score}
        | dict(
            zip(
                ("value", "ci_lower", "ci_upper"),
                interval(score, values[:n_divisions], values[n_divisions:]),
                strict=True,
            )
        )
        for method, by_score in scores.items()
        for score, values in by_score.items()
    ]
    return pd.DataFrame(rows)


def _scores(given: Prediction, truth: Prediction, top: np.ndarray) -> dict[str, np.ndarray]:
    expression, change = given.expression, given.change
    chosen = np.take_along_axis(expression, top, axis=1), np.take_along_axis(truth.expression, top, axis=1)
    error = ((chosen[0] - chosen[1]) ** 2).sum(axis=1)
    spread = ((chosen[1] - chosen[1].mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return {
        "delta_pearson": pearson(change, truth.change),
        "delta_pearson_top": pearson(
            np.take_along_axis(change, top, axis=1), np.take_along_axis(truth.change, top, axis=1)
        ),
        "pearson": pearson(expression, truth.expression),
        "spearman": pearson(rankdata(expression, axis=1), rankdata(truth.expression, axis=1)),
        "rmse": np.sqrt(((expression - truth.expression) ** 2).mean(axis=1)),
        "rmse_top": np.sqrt(error / top.shape[1]),
        "r2_top": 1 - np.divide(error, spread, out=np.full(len(error), np.nan), where=spread > 0),
    }


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each row; NaN where one of them does not vary.

    Parameters
    ----------
    x, y
        ``(n_rows, n_values)``.
    """
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), scale, out=np.full(len(x), np.nan), where=scale > 1e-12)


def _mean_where_defined(values: np.ndarray) -> np.ndarray:
    defined = np.isfinite(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.divide(
        total, defined.sum(axis=0), out=np.full(values.shape[1], np.nan), where=defined.any(axis=0)
    )


MIN_UNIT_CELLS, MIN_UNITS = 3, 5


def tabulate_expression(
    found: NamedGroup,
    tests: pd.DataFrame,
    whole: Weights,
    replicates: Weights,
    genes: pd.DataFrame,
    fdr: float,
) -> pd.DataFrame:
    """One row a gene: measured and predicted log mean expression with 95 % bootstrap intervals.

    Parameters
    ----------
    found
        The group.
    tests
        Of :func:`.measured_change.test_genes`.
    whole, replicates
        All cells once, and drawn with replacement.
    genes
        ``gene`` and ``symbol``.
    fdr
        At which a gene counts as responding.

    Returns
    -------
    ``target``, ``group``, ``gene``, ``symbol``, ``source`` and ``measured`` (log(1 + counts per 10,000 of the
    modelled genes)), ``change``, ``p_adjusted``, ``responds``; by method its name, ``…_lower``, ``…_upper``, and for
    its change ``…_change``. The intervals are over cells (and samples), with the models as they are.
    """
    group = found.cells
    true, drawn = measured(group, whole), measured(group, replicates)
    low, high = np.nanpercentile(drawn.expression, INTERVAL, axis=0)
    source, blocks = group.all_source
    weights = pair_weights(blocks, group.blocks.target, group.blocks.n)
    before, _ = pair_means(source, group.target, (weights[0][None], weights[1][None]))
    table = genes.assign(
        target=found.target,
        group=found.name,
        source=before[0],
        measured=true.expression[0],
        measured_lower=low,
        measured_upper=high,
        change=true.change[0],
        p_adjusted=tests["p_adjusted"].to_numpy(),
        responds=(tests["p_adjusted"] <= fdr).to_numpy(),
    )
    drawn_predictions = predict(group, replicates)
    for method, prediction in predict(group, whole).items():
        if method.endswith(UNCHANGED):
            continue
        low, high = np.nanpercentile(drawn_predictions[method].expression, INTERVAL, axis=0)
        table[method] = prediction.expression[0]
        table[f"{method}_lower"], table[f"{method}_upper"] = low, high
        table[f"{method}_change"] = prediction.change[0]
    first = ["target", "group"]
    return table[[*first, *[name for name in table if name not in first]]]


def units_of(found: NamedGroup) -> list[dict[str, np.ndarray]]:
    """Measured and predicted values of each sample with enough cells of both conditions.

    Returns
    -------
    A dictionary a sample: ``expression`` and ``change`` as measured, ``expression_<method>`` and ``change_<method>``
    as predicted, each ``(n_genes,)``.
    """
    group = found.cells
    units = []
    for block in range(group.blocks.n):
        chosen = [
            codes == block for codes in (group.blocks.source, group.blocks.reference, group.blocks.target)
        ]
        if min(each.sum() for each in chosen) < MIN_UNIT_CELLS:
            continue
        weights = Weights(*(each[None] / each.sum() for each in chosen))
        true = measured(group, weights)
        unit = {"expression": true.expression[0], "change": true.change[0]}
        for method, prediction in predict(group, weights).items():
            unit[f"expression_{method}"] = prediction.expression[0]
            unit[f"change_{method}"] = prediction.change[0]
        units.append(unit)
    return units


def correlate_genes(units: Mapping[str, list[dict[str, np.ndarray]]], genes: pd.DataFrame) -> pd.DataFrame:
    """Per gene, Pearson's correlation of predicted and measured values across samples and cell types.

    Parameters
    ----------
    units
        By target, those of :func:`units_of` of all groups.
    genes
        ``gene`` and ``symbol``.

    Returns
    -------
    ``target``, ``gene``, ``symbol``, ``n_units``, ``mean_change``, and by method ``pearson_…`` (of expression) and
    ``pearson_change_…``; no row
    where there are fewer than 5 units.
    """
    tables = []
    for target, found in units.items():
        if len(found) < MIN_UNITS:
            continue
        shared = [name for name in found[0] if all(name in unit for unit in found)]
        stacked = {name: np.array([unit[name] for unit in found]).T for name in shared}
        table = genes.assign(target=target, n_units=len(found), mean_change=stacked["change"].mean(axis=1))
        for name, values in stacked.items():
            kind, _, method = name.partition("_")
            if method:
                column = f"pearson_{method}" if kind == "expression" else f"pearson_change_{method}"
                table[column] = pearson(values, stacked[kind])
        tables.append(table[["target", *[name for name in table if name != "target"]]])
    if tables:
        return pd.concat(tables, ignore_index=True).dropna(axis="columns", how="all")
    return pd.DataFrame(columns=["target", "gene", "symbol", "n_units", "mean_change"])


N_DIVISIONS = 20
MIN_BLOCKS = 3
ALL_GROUPS = "all groups"
COMPARED = ("delta_pearson", "delta_pearson_top", "rmse", "rmse_top")
type Scores = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Tables:
    """What :func:`compare_groups` finds; one row a gene, a score, a difference, a group, a gene across units."""

    expression: pd.DataFrame
    scores: pd.DataFrame
    differences: pd.DataFrame
    groups: pd.DataFrame
    by_gene: pd.DataFrame


def no_tables() -> Tables:
    """Tables without rows, where nothing can be predicted."""
    identity = ["target", "group"]
    columns = (
        [*identity, "gene", "symbol", "source", "measured", "change", "p_adjusted", "responds"],
        [*identity, "method", "score", "value", "ci_lower", "ci_upper"],
        [*identity, "method", "versus", "score", "better_by", "ci_lower", "ci_upper"],
        [
            *identity,
            "n_source",
            "n_reference",
            "n_target",
            "n_samples",
            "n_responders",
            "change_p",
            "changes",
        ],
        ["target", "gene", "symbol", "n_units", "mean_change"],
    )
    return Tables(*(pd.DataFrame(columns=names) for names in columns))


def compare_groups(
    found: Iterable[NamedGroup], n_blocks: int, genes: pd.DataFrame, options: PredictionOptions, seed: int
) -> Tables:
    """Score all methods in all groups.

    Parameters
    ----------
    found
        Of :func:`.groups.find_groups`.
    n_blocks
        Held-out samples, or 1; from 3 on, the bootstrap weights them at random, too.
    genes
        ``gene`` and ``symbol`` of the modelled genes.
    options
        Bootstrap, number of top genes, FDR.
    seed
        Of every draw.

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
    expression, groups = [], []
    units: dict[str, list[dict[str, np.ndarray]]] = {}
    scored: dict[str, dict[str, Scores]] = {}
    for each in found:
        table, row, values = _compare(each, blocks, genes, options, seed)
        expression.append(table)
        groups.append(row)
        scored.setdefault(each.target, {})[each.name] = values
        units.setdefault(each.target, []).extend(units_of(each))
    if not expression:
        raise InputError(
            f"no cell type has {options.min_cells} held-out cells and as many of the source in the same samples; "
            "lower prediction.min_cells or bring more cells"
        )
    tabulated = pd.DataFrame(groups)
    tabulated["change_p_adjusted"] = benjamini_hochberg(tabulated["change_p"].to_numpy())
    tabulated["changes"] = tabulated["change_p_adjusted"] <= options.fdr
    for by_group in scored.values():
        by_group[ALL_GROUPS] = mean_over_groups(list(by_group.values()))
    return Tables(
        expression=pd.concat(expression, ignore_index=True),
        scores=_tabulate_scores(scored),
        differences=_tabulate_differences(scored),
        groups=tabulated,
        by_gene=correlate_genes(units, genes),
    )


def _compare(
    found: NamedGroup, blocks: np.ndarray, genes: pd.DataFrame, options: PredictionOptions, seed: int
) -> tuple[pd.DataFrame, dict[str, object], Scores]:
    group = found.cells
    rng = np.random.default_rng(seed)
    resampled = np.arange(len(blocks)) >= N_DIVISIONS
    halves = halved_weights(group.blocks, blocks, rng, resampled=resampled)
    values = score_halves(group, halves, options.top_genes)
    whole = whole_weights(group.blocks)
    replicates = bootstrap_weights(group.blocks, blocks[resampled], rng)
    tests = test_genes(group)
    responders = (tests["p_adjusted"] <= options.fdr).to_numpy()
    true = measured(group, whole)
    point, drawn = predict(group, whole), predict(group, replicates)
    for method, prediction in point.items():
        once = right_signs(prediction.change, true.change[0], responders)
        again = right_signs(drawn[method].change, true.change[0], responders)
        values[method]["sign"] = np.concatenate([np.repeat(once, N_DIVISIONS), again])
    values[MEASURED_HALF]["sign"] = np.full(len(blocks), np.nan)
    row = {
        "target": found.target,
        "group": found.name,
        "n_source": len(group.blocks.source),
        "n_reference": len(group.blocks.reference),
        "n_target": len(group.blocks.target),
        "n_samples": len(np.intersect1d(group.blocks.source, group.blocks.target)),
        "n_responders": int(responders.sum()),
        "change_p": change_p_value(group, seed),
    }
    table = tabulate_expression(found, tests, whole, replicates, genes, options.fdr)
    return table, row, values


def _tabulate_scores(scored: dict[str, dict[str, Scores]]) -> pd.DataFrame:
    tables = [
        tabulate(values, N_DIVISIONS, target=target, group=name)
        for target, by_group in scored.items()
        for name, values in by_group.items()
    ]
    return pd.concat(tables, ignore_index=True).dropna(subset="value", ignore_index=True)


def _tabulate_differences(scored: dict[str, dict[str, Scores]]) -> pd.DataFrame:
    """How much better each model is than each baseline, positive when better, with bootstrap intervals."""
    rows = []
    for target, by_group in scored.items():
        for name, values in by_group.items():
            models = [method for method in values if method + UNCHANGED in values]
            rows += [
                {"target": target, "group": name, "method": model, "versus": other, "score": score}
                | _difference(score, values[model][score], values[other][score])
                for model in models
                for other in (model + UNCHANGED, *BASELINES, *models)
                if other in values and other != model
                for score in COMPARED
            ]
    columns = ["target", "group", "method", "versus", "score", "better_by", "ci_lower", "ci_upper"]
    return pd.DataFrame(rows, columns=columns).dropna(subset="better_by", ignore_index=True)


def _difference(score: str, one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    gain = better_by(score, one, other)
    value, low, high = interval("difference", gain[:N_DIVISIONS], gain[N_DIVISIONS:])
    return {"better_by": value, "ci_lower": low, "ci_upper": high}
