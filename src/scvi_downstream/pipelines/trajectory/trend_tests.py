r"""Which genes change along pseudotime, how, and between which lineages.

P-values take pseudotime as given. Where it was learnt from the same counts, genes that went into it were used twice:
any ordering, also one of noise, follows the genes that made it, and their p-values are too small. Three guards:
genes are called by the size of their change as well; genes that the model has not seen are marked, and their p-values
hold (``seen``); and :func:`check_calibration` shows on permuted pseudotime that the test itself errs no more often
than it says. How stable the ordering is must be asked of the cells (see :mod:`.stability`).
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.trajectory.count_regression import Observations, fit_nested, natural_spline
from scvi_downstream.pipelines.trajectory.gene_trends import (
    GeneCounts,
    LineageTrends,
    fit_lineages,
    lineage_statistic,
    lineages_of,
    log_curves,
    prior_level,
    trend_curves,
)
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions, TrendOptions
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.testing import benjamini_hochberg

N_PLACES = 100  # Places of pseudotime at which curves are judged.
MONOTONE = 0.75  # Share of the range that lies between both ends of a curve that is said to go up or down.
DECIDED = 0.5  # A cell is of one lineage where the weight of the other is at most this share.
MIN_DECIDED = 30  # Cells of each of two lineages, so that they can be compared.
CONTRAST_COLUMNS = [
    *["lineage", "other", "gene", "n_cells", "statistic", "df", "p", "p_adjusted", "log2_difference", "at"]
]


def fit_trends(
    counts: AnnData, orders: pd.DataFrame, keys: Keys, options: TrajectoryOptions, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Curves and tests of genes along each lineage.

    Parameters
    ----------
    counts, orders
        Raw counts of ``n_cells`` × all genes; orders of the same cells.
    keys, options
        The batch; which order, which genes, knots and thresholds.
    seed
        Seed of the permutations that check the test.

    Returns
    -------
    Curves of the dynamic genes and the ``top_genes`` of each lineage; tests of all genes; tests between lineages; and
    numbers with sentences: lineages that could not be fitted, dynamic genes, errors on permuted pseudotime.

    Raises
    ------
    InputError
        No lineage has enough cells.
    """
    trends = options.trends
    modelled = counts.var["highly_variable"].to_numpy()
    chosen = np.flatnonzero(modelled) if trends.genes == "modelled" else np.arange(counts.n_vars)
    cells = GeneCounts(
        counts=sparse.csr_matrix(counts.X[:, chosen]),
        genes=pd.Index(counts.var_names[chosen], name="gene"),
        library_size=np.asarray(counts.X.sum(axis=1)).ravel(),
        batches=counts.obs[keys.batch_key] if trends.correct_batch and keys.batch_key else None,
    )
    times, weights = lineages_of(orders.loc[counts.obs_names], trends.pseudotime)
    fitted, refused = fit_lineages(cells, times, weights, n_knots=trends.n_knots)
    times, weights = times[list(fitted)], weights[list(fitted)]
    seen = set(counts.var_names[modelled])
    tests = find_dynamic_genes(fitted, seen=seen, fdr=trends.fdr, min_log2_range=trends.min_log2_range)
    top = tests.groupby("lineage", observed=True, sort=False).head(trends.top_genes)
    drawn = pd.Index([*tests.loc[tests["dynamic"], "gene"], *top["gene"]])
    first, weight = times.iloc[:, 0].to_numpy(float), weights.iloc[:, 0].to_numpy(float)
    calibration = check_calibration(cells, first, weight, n_knots=trends.n_knots, seed=seed)
    facts = {
        "n_dynamic": tests.groupby("lineage", observed=True)["dynamic"].sum().to_dict(),
        "n_genes": len(chosen),
        "calibration": calibration,
        "sentences": [
            _describe_genes(tests, symbols_of(counts.var), trends, calibration, len(chosen)),
            *refused,
        ],
    }
    contrasts = compare_lineages(cells, times, weights, n_knots=trends.n_knots)
    return trend_curves(fitted, drawn), tests, contrasts, facts


def _describe_genes(
    tests: pd.DataFrame,
    symbols: pd.Series,
    options: TrendOptions,
    calibration: dict[str, float],
    n_genes: int,
) -> str:
    counted = tests.groupby("lineage", observed=True)["dynamic"].sum()
    span = f"{counted.min()}" if counted.min() == counted.max() else f"{counted.min()} to {counted.max()}"
    widest = tests[tests["dynamic"]].drop_duplicates("gene").nlargest(6, "log2_range")["gene"]
    named = f", the widest {', '.join(symbols.reindex(widest))}" if len(widest) else ""
    where = "a lineage" if len(counted) > 1 else "pseudotime"
    return (
        f"{span} of {n_genes:,} genes change along {where} by a factor of {2**options.min_log2_range:g} or more at FDR "
        f"{options.fdr:g}{named}; pseudotime was learnt from the modelled genes, so their p-values are too small (with "
        f"pseudotime permuted {calibration['share_0.05']:.1%} of tests have p ≤ 0.05)"
    )


def find_dynamic_genes(
    trends: dict[str, LineageTrends],
    *,
    seen: Collection[str] | None = None,
    fdr: float = 0.05,
    min_log2_range: float = 1.0,
) -> pd.DataFrame:
    """Test every gene of every lineage against constant expression.

    Parameters
    ----------
    trends
        Curves of :func:`.gene_trends.fit_lineages`.
    seen
        Genes that pseudotime was learnt from; ``None``: all of them.
    fdr, min_log2_range
        What a gene that is called ``dynamic`` must reach.

    Returns
    -------
    One row a lineage and gene, genes of the largest change first where significant: ``lineage``, ``gene``, ``mean``
    (counts per 10,000), ``statistic`` (χ²), ``df``, ``p``, ``p_adjusted`` (Benjamini–Hochberg within the lineage),
    ``log2_range`` (highest over lowest point of the curve, a tenth of a count in the average cell added to both),
    ``peak`` and ``trough`` (their pseudotimes), ``direction`` (up, down, peak or dip), ``seen``, ``dynamic``. NaN where
    a gene is in fewer than 10 cells of the lineage. P-values of ``seen`` genes are optimistic; see the module.
    """
    tables = [_test_lineage(each, seen, fdr, min_log2_range) for each in trends.values()]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(
        lineage=pd.Categorical(table["lineage"], [each.lineage for each in trends.values()]),
        direction=pd.Categorical(table["direction"], ["up", "down", "peak", "dip"]),
    )


def _test_lineage(
    trends: LineageTrends, seen: Collection[str] | None, fdr: float, min_log2_range: float
) -> pd.DataFrame:
    places = np.linspace(*trends.span, N_PLACES)
    curves = np.log2(np.exp(log_curves(trends, places)) + trends.prior_level)
    fitted = {
        "statistic": trends.fit.statistic,
        "p": trends.fit.p,
        "log2_range": np.ptp(curves, axis=0),
        "peak": places[curves.argmax(axis=0)],
        "trough": places[curves.argmin(axis=0)],
        "direction": _describe_shapes(curves),
    }
    table = pd.DataFrame(fitted, index=trends.fitted).reindex(range(len(trends.genes)))
    table.insert(0, "lineage", trends.lineage)
    table.insert(1, "gene", trends.genes)
    table.insert(2, "mean", trends.mean)
    table.insert(4, "df", trends.fit.n_tested)
    table.insert(6, "p_adjusted", benjamini_hochberg(table["p"].to_numpy()))
    table["seen"] = True if seen is None else trends.genes.isin(list(seen))
    significant = table["p_adjusted"] <= fdr
    table["dynamic"] = significant & (table["log2_range"] >= min_log2_range)
    return table.iloc[np.lexsort((-table["log2_range"].fillna(-1), ~significant))]


def _describe_shapes(curves: np.ndarray) -> np.ndarray:
    """Up, down, peak or dip of each column."""
    first, last = curves[0], curves[-1]
    high, low = curves.max(axis=0), curves.min(axis=0)
    rise = last - first
    above, below = high - np.maximum(first, last), np.minimum(first, last) - low
    one_way, bent = np.where(rise > 0, "up", "down"), np.where(above >= below, "peak", "dip")
    return np.where(np.abs(rise) >= MONOTONE * (high - low), one_way, bent)


def check_calibration(
    cells: GeneCounts,
    pseudotime: np.ndarray,
    weights: np.ndarray,
    *,
    n_knots: int = 5,
    n_permutations: int = 5,
    max_genes: int = 500,
    seed: int = 0,
) -> dict[str, float]:
    """Errors of the test where nothing changes: pseudotime permuted over the cells of a lineage, within batches.

    Shows whether sparse or uneven counts mislead the test, on ``max_genes`` genes drawn at random. It cannot show
    the use of the same counts twice. The first arguments are those of :func:`.gene_trends.fit_lineage`.

    Returns
    -------
    ``n_tests``, the shares of them with p ≤ 0.05 and p ≤ 0.01 (``share_0.05``, ``share_0.01``), and ``inflation``:
    median statistic over that expected. 0.05, 0.01 and 1 are right.
    """
    from scipy import stats

    random = np.random.default_rng(seed)
    drawn = np.sort(random.permutation(len(cells.genes))[:max_genes])
    chosen = np.flatnonzero(np.isfinite(pseudotime) & (weights > 0))
    some, time = cells.take(chosen, drawn), pseudotime[chosen]
    strata = np.zeros(len(chosen), int) if some.batches is None else pd.factorize(some.batches)[0]
    statistics = []
    for _ in range(n_permutations):
        shuffled = time.copy()
        for stratum in np.unique(strata):
            inside = np.flatnonzero(strata == stratum)
            shuffled[inside] = shuffled[random.permutation(inside)]
        statistic, df = lineage_statistic(some, shuffled, weights[chosen], n_knots=n_knots)
        statistics.append(statistic)
    found = np.concatenate(statistics)
    p = stats.chi2.sf(found, df)
    return {
        "n_tests": float(len(p)),
        "share_0.05": float((p <= 0.05).mean()),
        "share_0.01": float((p <= 0.01).mean()),
        "inflation": float(np.median(found) / stats.chi2.median(df)),
    }


def compare_lineages(
    cells: GeneCounts, pseudotimes: pd.DataFrame, weights: pd.DataFrame, *, n_knots: int = 4
) -> pd.DataFrame:
    """Test which genes differ between lineages after they part.

    Compared are the cells of one lineage with those of the other, over the stretch of pseudotime in which both
    have such cells: one curve for both against a curve each. Cells that belong to both are left out. As lineages
    are told apart by the same counts, p-values are optimistic. Arguments are those of
    :func:`.gene_trends.fit_lineages`.

    Returns
    -------
    One row a pair of lineages and gene in at least 10 of the cells: ``lineage``, ``other``, ``gene``, ``n_cells``,
    ``statistic`` (χ²), ``df``, ``p``, ``p_adjusted`` (within the pair), ``log2_difference`` (``lineage`` over
    ``other`` where curves are farthest apart, a tenth of a count in the average cell added) and ``at``, its
    pseudotime. Pairs that share too little pseudotime to be compared have no rows, and one lineage has none.
    """
    times, shares = pseudotimes.to_numpy(float), weights.fillna(0).to_numpy(float)
    tables = [
        _compare_pair(cells, times[:, pair], shares[:, pair], n_knots).assign(
            lineage=str(pseudotimes.columns[pair[0]]), other=str(pseudotimes.columns[pair[1]])
        )
        for pair in map(list, combinations(range(times.shape[1]), 2))
    ]
    if not tables:
        return pd.DataFrame(columns=CONTRAST_COLUMNS)
    return pd.concat(tables, ignore_index=True)[CONTRAST_COLUMNS]


def _compare_pair(cells: GeneCounts, times: np.ndarray, weights: np.ndarray, n_knots: int) -> pd.DataFrame:
    nothing = pd.DataFrame(columns=CONTRAST_COLUMNS[2:])
    time, weight = np.where(weights > 0, times, np.nan), weights.max(axis=1)
    own = weights.argmax(axis=1)
    decided = (weights.min(axis=1) <= DECIDED * weight) & (weight > 0) & (cells.library_size > 0)
    time = np.take_along_axis(time, own[:, None], axis=1)[:, 0]
    decided &= np.isfinite(time)
    sides = [time[decided & (own == side)] for side in (0, 1)]
    if min(map(len, sides)) < MIN_DECIDED:
        return nothing
    start, end = max(each.min() for each in sides), min(each.max() for each in sides)
    shared = np.flatnonzero(decided & (time >= start) & (time <= end))
    if np.bincount(own[shared], minlength=2).min() < MIN_DECIDED:
        return nothing
    inside = cells.take(shared)
    counts, fitted = inside.in_enough_cells()
    if not len(fitted):
        return nothing
    time, weight, side = time[shared], weight[shared], np.where(own[shared] == 0, 0.5, -0.5)
    spline = natural_spline(time, n_knots, weight)
    curve = np.hstack([np.ones((len(shared), 1)), spline.columns(time)])
    design = np.hstack([curve, side[:, None] * curve])
    fit = fit_nested(Observations(counts[:, fitted], design, inside.offset, weight), curve.shape[1])
    places = np.linspace(spline.knots[0], spline.knots[-1], N_PLACES)
    at = np.hstack([np.ones((N_PLACES, 1)), spline.columns(places)])
    level = prior_level(inside.offset, weight)
    one, other = (
        np.log2(np.exp(np.hstack([at, half * at]) @ fit.full.coefficients) + level) for half in (0.5, -0.5)
    )
    farthest = np.abs(one - other).argmax(axis=0)
    return pd.DataFrame(
        {
            "gene": inside.genes[fitted],
            "n_cells": len(shared),
            "statistic": fit.statistic,
            "df": fit.n_tested,
            "p": fit.p,
            "p_adjusted": benjamini_hochberg(fit.p),
            "log2_difference": (one - other)[farthest, np.arange(len(fitted))],
            "at": places[farthest],
        }
    ).sort_values("p", kind="stable", ignore_index=True)
