"""Every method against what is measured, group by group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.parameters.prediction import PredictionOptions
from scvi_downstream.pipelines.prediction import scores
from scvi_downstream.pipelines.prediction.comparison import (
    BASELINES,
    MEASURED_HALF,
    UNCHANGED,
    measured,
    predict,
)
from scvi_downstream.pipelines.prediction.expression_table import (
    correlate_genes,
    tabulate_expression,
    units_of,
)
from scvi_downstream.pipelines.prediction.groups import NamedGroup
from scvi_downstream.pipelines.prediction.measured_change import change_p_value, test_genes
from scvi_downstream.pipelines.prediction.weights import bootstrap_weights, halved_weights, whole_weights
from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

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
        by_group[ALL_GROUPS] = scores.mean_over_groups(list(by_group.values()))
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
    values = scores.score_halves(group, halves, options.top_genes)
    whole = whole_weights(group.blocks)
    replicates = bootstrap_weights(group.blocks, blocks[resampled], rng)
    tests = test_genes(group)
    responders = (tests["p_adjusted"] <= options.fdr).to_numpy()
    true = measured(group, whole)
    point, drawn = predict(group, whole), predict(group, replicates)
    for method, prediction in point.items():
        once = scores.right_signs(prediction.change, true.change[0], responders)
        again = scores.right_signs(drawn[method].change, true.change[0], responders)
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
        scores.tabulate(values, N_DIVISIONS, target=target, group=name)
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
    gain = scores.better_by(score, one, other)
    value, low, high = scores.interval("difference", gain[:N_DIVISIONS], gain[N_DIVISIONS:])
    return {"better_by": value, "ci_lower": low, "ci_upper": high}
