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

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.pipelines.trajectory.count_regression import fit_nested, natural_spline
from scvi_downstream.pipelines.trajectory.gene_trends import (
    COUNTS_PER,
    MIN_CELLS,
    PRIOR_COUNT,
    LineageTrends,
    fit_lineage,
    log_curves,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.statistics.testing import benjamini_hochberg

N_PLACES = 100
MONOTONE = 0.75
"""Share of the range that lies between both ends of a curve that is said to go up or down."""
DECIDED = 0.5
"""A cell is of one lineage where the weight of the other is at most this share."""
MIN_DECIDED = 30


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
        Of :func:`.gene_trends.fit_trends`.
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
    n_genes = len(trends.genes)

    def of_all(values: np.ndarray) -> np.ndarray:
        filled = np.full(n_genes, np.nan)
        filled[trends.fitted] = values
        return filled

    direction = np.full(n_genes, None, dtype=object)
    direction[trends.fitted] = _directions(curves)
    p = of_all(trends.fit.p)
    table = pd.DataFrame(
        {
            "lineage": trends.lineage,
            "gene": trends.genes,
            "mean": trends.mean,
            "statistic": of_all(trends.fit.statistic),
            "df": trends.fit.n_tested,
            "p": p,
            "p_adjusted": benjamini_hochberg(p),
            "log2_range": of_all(np.ptp(curves, axis=0)),
            "peak": of_all(places[curves.argmax(axis=0)]),
            "trough": of_all(places[curves.argmin(axis=0)]),
            "direction": direction,
            "seen": True if seen is None else trends.genes.isin(list(seen)),
        }
    )
    significant = table["p_adjusted"] <= fdr
    table["dynamic"] = significant & (table["log2_range"] >= min_log2_range)
    order = np.lexsort((-table["log2_range"].fillna(-1), ~significant))
    return table.iloc[order]


def _directions(curves: np.ndarray) -> np.ndarray:
    """Up, down, peak or dip of each column."""
    first, last = curves[0], curves[-1]
    high, low = curves.max(axis=0), curves.min(axis=0)
    rise = last - first
    above, below = high - np.maximum(first, last), np.minimum(first, last) - low
    return np.select(
        [np.abs(rise) >= MONOTONE * (high - low), above >= below],
        [np.where(rise > 0, "up", "down"), "peak"],
        default="dip",
    )


def check_calibration(
    counts: sparse.csr_matrix,
    genes: pd.Index,
    pseudotime: np.ndarray,
    weights: np.ndarray,
    library_size: np.ndarray,
    *,
    n_knots: int = 5,
    batches: pd.Series | None = None,
    n_permutations: int = 5,
    max_genes: int = 500,
    seed: int = 0,
) -> dict[str, float]:
    """Errors of the test where nothing changes: pseudotime permuted over the cells of a lineage, within batches.

    Shows whether sparse or uneven counts mislead the test. It cannot show the use of the same counts twice.

    Parameters
    ----------
    counts, genes, pseudotime, weights, library_size, n_knots, batches
        As in :func:`.gene_trends.fit_lineage`.
    n_permutations, max_genes, seed
        How often, on how many genes drawn at random.

    Returns
    -------
    ``n_tests``, the shares of them with p ≤ 0.05 and p ≤ 0.01 (``share_0.05``, ``share_0.01``), and ``inflation``:
    median statistic over that expected. 0.05, 0.01 and 1 are right.
    """
    from scipy import stats

    random = np.random.default_rng(seed)
    drawn = np.sort(random.permutation(counts.shape[1])[:max_genes])
    chosen = np.flatnonzero(np.isfinite(pseudotime) & (weights > 0))
    some, inside = counts[:, drawn][chosen], None if batches is None else batches.iloc[chosen]
    strata = np.zeros(len(chosen), int) if inside is None else pd.factorize(inside)[0]
    statistics = []
    for _ in range(n_permutations):
        shuffled = pseudotime[chosen].copy()
        for stratum in np.unique(strata):
            cells = np.flatnonzero(strata == stratum)
            shuffled[cells] = shuffled[random.permutation(cells)]
        trends = fit_lineage(
            some,
            genes[drawn],
            shuffled,
            weights[chosen],
            library_size[chosen],
            n_knots=n_knots,
            batches=inside,
        )
        statistics.append(trends.fit.statistic)
    found, df = np.concatenate(statistics), trends.fit.n_tested
    p = stats.chi2.sf(found, df)
    return {
        "n_tests": float(len(p)),
        "share_0.05": float((p <= 0.05).mean()),
        "share_0.01": float((p <= 0.01).mean()),
        "inflation": float(np.median(found) / stats.chi2.median(df)),
    }


def compare_lineages(
    counts: sparse.csr_matrix,
    genes: pd.Index,
    pseudotimes: pd.DataFrame,
    weights: pd.DataFrame,
    library_size: np.ndarray,
    *,
    n_knots: int = 4,
) -> pd.DataFrame:
    """Test which genes differ between lineages after they part.

    Compared are the cells of one lineage with those of the other, over the stretch of pseudotime in which both have
    such cells: one curve for both against a curve each. Cells that belong to both are left out. As lineages
    are told apart by the same counts, p-values are optimistic.

    Parameters
    ----------
    counts, genes, pseudotimes, weights, library_size
        As in :func:`.gene_trends.fit_trends`.
    n_knots
        Of each curve.

    Returns
    -------
    One row a pair of lineages and gene in at least 10 of the cells: ``lineage``, ``other``, ``gene``, ``n_cells``,
    ``statistic`` (χ²), ``df``, ``p``, ``p_adjusted`` (within the pair), ``log2_difference`` (``lineage`` over
    ``other`` where curves are farthest apart, a tenth of a count in the average cell added) and ``at``, its
    pseudotime. Pairs that share too little pseudotime to be compared have no rows.
    """
    times, shares = pseudotimes.to_numpy(float), weights.fillna(0).to_numpy(float)
    names = [str(name) for name in pseudotimes]
    tables = [
        _compare(counts, genes, times[:, pair], shares[:, pair], library_size, n_knots).assign(
            lineage=names[pair[0]], other=names[pair[1]]
        )
        for pair in map(list, combinations(range(len(names)), 2))
    ]
    if not tables:
        raise InputError("there is one lineage only, so none can be compared; it takes two or more")
    table = pd.concat(tables, ignore_index=True)
    return table[["lineage", "other", *(name for name in table if name not in ("lineage", "other"))]]


def _compare(
    counts: sparse.csr_matrix,
    genes: pd.Index,
    times: np.ndarray,
    weights: np.ndarray,
    library_size: np.ndarray,
    n_knots: int,
) -> pd.DataFrame:
    columns = ["gene", "n_cells", "statistic", "df", "p", "p_adjusted", "log2_difference", "at"]
    time, weight = np.where(weights > 0, times, np.nan), weights.max(axis=1)
    own = weights.argmax(axis=1)
    decided = (weights.min(axis=1) <= DECIDED * weight) & (weight > 0) & (library_size > 0)
    time = np.take_along_axis(time, own[:, None], axis=1)[:, 0]
    decided &= np.isfinite(time)
    sides = [time[decided & (own == side)] for side in (0, 1)]
    if min(map(len, sides)) < MIN_DECIDED:
        return pd.DataFrame(columns=columns)
    start, end = max(each.min() for each in sides), min(each.max() for each in sides)
    cells = np.flatnonzero(decided & (time >= start) & (time <= end))
    if np.bincount(own[cells], minlength=2).min() < MIN_DECIDED:
        return pd.DataFrame(columns=columns)
    time, weight, side = time[cells], weight[cells], np.where(own[cells] == 0, 0.5, -0.5)
    spline = natural_spline(time, n_knots, weight)
    basis, ones = spline.columns(time), np.ones((len(cells), 1))
    shared = np.hstack([ones, basis])
    own_counts = sparse.csc_matrix(counts[cells])
    own_counts.eliminate_zeros()
    fitted = np.flatnonzero(np.diff(own_counts.indptr) >= MIN_CELLS)
    if not len(fitted):
        return pd.DataFrame(columns=columns)
    offset = np.log(library_size[cells] / COUNTS_PER)
    design = np.hstack([shared, side[:, None] * shared])
    fit = fit_nested(own_counts[:, fitted], design, shared.shape[1], offset, weight)
    prior_level = PRIOR_COUNT / float(np.average(np.exp(offset), weights=weight))
    places = np.linspace(spline.knots[0], spline.knots[-1], N_PLACES)
    at = np.hstack([np.ones((N_PLACES, 1)), spline.columns(places)])
    one, other = (
        np.log2(np.exp(np.hstack([at, half * at]) @ fit.full.coefficients) + prior_level)
        for half in (0.5, -0.5)
    )
    farthest = np.abs(one - other).argmax(axis=0)
    return pd.DataFrame(
        {
            "gene": genes[fitted],
            "n_cells": len(cells),
            "statistic": fit.statistic,
            "df": fit.n_tested,
            "p": fit.p,
            "p_adjusted": benjamini_hochberg(fit.p),
            "log2_difference": (one - other)[farthest, np.arange(len(fitted))],
            "at": places[farthest],
        }
    ).sort_values("p", kind="stable", ignore_index=True)
