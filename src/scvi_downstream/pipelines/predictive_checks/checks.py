"""Every check of every source as one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.predictive_checks.evidence import (
    MEASURES,
    N_BINS,
    STRATA,
    Evidence,
    GeneMoments,
    GeneReference,
    quantiles,
    tail_probabilities,
)
from scvi_downstream.statistics.testing import benjamini_hochberg


def calibration_table(evidence: Sequence[Evidence]) -> pd.DataFrame:
    """Share of counts in each of 40 bins of the PIT: ``source, cells, genes, low, high, share, n``."""
    tables = []
    for each in evidence:
        counted = np.concatenate(each.ranks.histograms).sum(axis=0)
        for stratum, row in zip(STRATA, counted, strict=True):
            if row.sum() == 0:
                continue
            edges = np.arange(N_BINS + 1) / N_BINS
            tables.append(
                pd.DataFrame(
                    {
                        "source": each.source,
                        "cells": each.cells,
                        "genes": stratum,
                        "low": edges[:-1],
                        "high": edges[1:],
                        "share": row / row.sum(),
                        "n": row,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def cell_table(evidence: Sequence[Evidence], names: dict[str, pd.Index]) -> pd.DataFrame:
    """Counts and share of zeros of each cell, observed and generated with the central 95 % of the draws.

    Parameters
    ----------
    evidence
        Of all sources.
    names
        Names of the ``held-out`` and the ``training`` cells.
    """
    tables = []
    for each in evidence:
        values = {"counts": each.totals, "zero_fraction": each.cell_zeros / len(each.genes.center)}
        columns: dict[str, np.ndarray] = {}
        for name, drawn in values.items():
            lower, upper = np.quantile(drawn[1:], (0.025, 0.975), axis=0)
            columns |= {
                f"{name}_observed": drawn[0],
                f"{name}_predicted": drawn[1:].mean(axis=0),
                f"{name}_lower": lower,
                f"{name}_upper": upper,
            }
        tables.append(
            pd.DataFrame(
                {"cell": names[each.cells].astype(str), "source": each.source, "cells": each.cells, **columns}
            )
        )
    return pd.concat(tables, ignore_index=True)


def correlation_table(evidence: Sequence[Evidence], genes: pd.Index, cells: str = "held-out") -> pd.DataFrame:
    """Correlation of each pair of genes: ``gene_a, gene_b, observed``, and the mean of the draws of each source."""
    chosen = [each for each in evidence if each.cells == cells]
    first, second = np.triu_indices(len(chosen[0].correlations.genes), 1)
    names = genes[chosen[0].correlations.genes].astype(str)
    columns = {each.source: each.correlations.pairs() for each in chosen}
    observed = next(iter(columns.values()))[0]
    return pd.DataFrame(
        {"gene_a": names[first], "gene_b": names[second], "observed": observed}
        | {source: pairs[1:].mean(axis=0) for source, pairs in columns.items()}
    ).astype({"gene_a": "category", "gene_b": "category"})


LEAST_MEAN = 0.1
"""Genes below this mean count in training cells say nothing of variances in a few hundred cells."""
ONE_SIDED = ("gene_mean", "gene_variance", "gene_zero_fraction", "correlation_error")
"""Distances from what the draws say on average; only too large a one speaks against the source."""


def statistics_of(evidence: Evidence, reference: GeneReference) -> dict[str, np.ndarray]:
    """Name → ``(1 + n_samples,)`` values, of the observed counts first.

    Parameters
    ----------
    evidence
        Of one source.
    reference
        Of training cells.

    Returns
    -------
    ``zero_fraction``: share of zeros. ``zero_fraction_sd``: standard deviation over cells of a cell's share of zeros.
    ``library_size``: mean counts of a cell. ``overdispersion``: median over genes of (variance - mean) / mean².
    ``correlation_strength``: root mean square of gene–gene correlations. And distances from the average of the
    draws, for a set of draws from the average of the others: ``gene_mean`` and ``gene_variance`` (root mean square
    of the difference of log10), ``gene_zero_fraction`` and ``correlation_error`` (of the difference itself).
    """
    genes = evidence.genes
    n_cells, n_genes = genes.n_cells, len(genes.center)
    expressed = reference.mean >= LEAST_MEAN
    if not expressed.any():
        expressed = reference.mean > 0
    mean, variance = genes.sums / n_cells, variances(genes)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(mean > 0, (variance - mean) / mean**2, np.nan)[:, expressed]
    shares = evidence.cell_zeros / n_genes
    half = 0.5 / n_cells
    pairs = evidence.correlations.pairs()
    return {
        "zero_fraction": shares.mean(axis=1),
        "zero_fraction_sd": shares.std(axis=1, ddof=1),
        "library_size": evidence.totals.mean(axis=1),
        "overdispersion": np.nanmedian(excess, axis=1),
        "gene_mean": _distances(np.log10(mean[:, expressed] + half)),
        "gene_variance": _distances(np.log10(variance[:, expressed] + half)),
        "gene_zero_fraction": _distances(genes.zeros / n_cells),
        "correlation_strength": np.sqrt(np.square(pairs).mean(axis=1)),
        "correlation_error": _distances(pairs),
    }


def variances(genes: GeneMoments) -> np.ndarray:
    """``(1 + n_samples, n_genes)`` variances over cells."""
    n_cells = genes.n_cells
    mean = genes.sums / n_cells
    return np.maximum(genes.squares / n_cells - mean**2, 0) * n_cells / (n_cells - 1)


def correlation_agreement(pairs: np.ndarray) -> tuple[float, float]:
    """Pearson's r between observed and average generated correlations, and what a set of draws itself reaches."""
    observed, draws = pairs[0], pairs[1:]
    total = draws.sum(axis=0)
    own = [_pearson(draw, (total - draw) / (len(draws) - 1)) for draw in draws]
    return _pearson(observed, total / len(draws)), float(np.mean(own))


def _distances(values: np.ndarray) -> np.ndarray:
    """Root mean square distance of each row from the mean of the other draws; of the first, from that of all draws."""
    draws = values[1:]
    total = draws.sum(axis=0)
    centers = np.concatenate([(total / len(draws))[None], (total - draws) / (len(draws) - 1)])
    return np.sqrt(np.square(values - centers).mean(axis=1))


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


COLUMNS = (
    "check", "genes", "source", "cells", "n_cells", "observed", "expected", "discrepancy", "interval", "lower",
    "upper", "inside", "p",
)  # fmt: skip
COVERAGES = (0.5, 0.8, 0.95)
ALL_GENES = "all"
_BOOTSTRAPS = 1000
_LEVELS = (0.025, 0.975)


def check_counts(evidence: Evidence, reference: GeneReference) -> list[dict[str, Any]]:
    """Statistics of the observed counts within those of the draws.

    Returns
    -------
    One row a statistic: what was observed, the mean of the draws, their central 95 %, and the posterior predictive
    p-value (two-sided, of distances one-sided; Gelman, Meng & Stern (1996)), never below 1 / (1 + n_samples).
    """
    rows = []
    for name, values in statistics_of(evidence, reference).items():
        observed, draws = float(values[0]), values[1:]
        lower, upper = np.quantile(draws, _LEVELS)
        above = (1 + np.count_nonzero(draws >= observed)) / (1 + len(draws))
        below = (1 + np.count_nonzero(draws <= observed)) / (1 + len(draws))
        one_sided = name in ONE_SIDED
        p = above if one_sided else min(1.0, 2 * min(above, below))
        inside = observed <= np.quantile(draws, 0.95) if one_sided else lower <= observed <= upper
        rows.append(
            _row(evidence, name, ALL_GENES, observed, float(draws.mean()))
            | {"interval": "of the draws", "lower": lower, "upper": upper, "inside": bool(inside), "p": p}
        )
    agreement, own = correlation_agreement(evidence.correlations.pairs())
    return [*rows, _row(evidence, "correlation_agreement", ALL_GENES, agreement, own)]


def check_calibration(evidence: Evidence, baseline: Evidence | None, seed: int) -> list[dict[str, Any]]:
    """Coverage of central intervals, dispersion of the PIT and scores, of all genes and by their mean count.

    Parameters
    ----------
    evidence
        Of one source.
    baseline
        Of the same cells, which the score is compared with; ``None``: not compared.
    seed
        Of the bootstrap.

    Returns
    -------
    ``coverage_50``, ``coverage_80``, ``coverage_95``: shares of counts, and the nominal ones.
    ``pit_dispersion``: 12 times the mean square of PIT - 1/2; above 1 where intervals are too narrow. ``crps``: of
    log(1 + count), and what it would be were the draws right. ``crps_gain``: by how much it is lower than the
    baseline's, as a share of it; 0: as good. Intervals are 95 % bootstrap intervals over cells of what was observed.
    """
    histograms = np.concatenate(evidence.ranks.histograms)
    scores, spreads = (
        np.concatenate(parts) for parts in (evidence.ranks.scores, evidence.ranks.expected_scores)
    )
    others = np.concatenate(baseline.ranks.scores) if baseline else None
    weights = _resamples(len(scores), seed)
    rows = []
    strata = {ALL_GENES: list(range(len(STRATA))), **{name: [i] for i, name in enumerate(STRATA)}}
    for stratum, chosen in strata.items():
        counted = histograms[:, chosen].sum(axis=1).astype(np.float64)
        n_genes = counted[0].sum()
        if n_genes == 0:
            continue
        shares = counted / n_genes
        for nominal in COVERAGES:
            covered = shares[:, _central(nominal)].sum(axis=1)
            name = f"coverage_{nominal * 100:.0f}"
            rows.append(_calibrated(evidence, name, stratum, covered, nominal, weights))
        middles = (np.arange(N_BINS) + 0.5) / N_BINS
        # the variance within a bin, which the middles lack
        dispersion = 12 * (shares @ np.square(middles - 0.5)) + 1 / N_BINS**2
        rows.append(_calibrated(evidence, "pit_dispersion", stratum, dispersion, 1.0, weights))
        score = scores[:, chosen].sum(axis=1) / n_genes
        expected = float(spreads[:, chosen].sum() / n_genes / len(scores))
        rows.append(_calibrated(evidence, "crps", stratum, score, expected, weights))
        if others is not None:
            other = others[:, chosen].sum(axis=1) / n_genes
            rows.append(_gain(evidence, stratum, score, other, weights))
    return rows


def check_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of all checks and sources, with :data:`COLUMNS`."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"inside": "boolean"})


def _row(evidence: Evidence, check: str, genes: str, observed: float, expected: float) -> dict[str, Any]:
    return {
        "check": check,
        "genes": genes,
        "source": evidence.source,
        "cells": evidence.cells,
        "n_cells": evidence.n_cells,
        "observed": observed,
        "expected": expected,
        "discrepancy": observed - expected,
    }


def _calibrated(
    evidence: Evidence, check: str, genes: str, values: np.ndarray, expected: float, weights: np.ndarray
) -> dict[str, Any]:
    return _row(evidence, check, genes, float(values.mean()), expected) | _bootstrapped(
        weights @ values / len(values), expected
    )


def _gain(
    evidence: Evidence, genes: str, score: np.ndarray, other: np.ndarray, weights: np.ndarray
) -> dict[str, Any]:
    gains = 1 - (weights @ score) / (weights @ other)
    return _row(evidence, "crps_gain", genes, float(1 - score.sum() / other.sum()), 0.0) | _bootstrapped(
        gains, 0.0
    )


def _bootstrapped(replicates: np.ndarray, expected: float) -> dict[str, Any]:
    lower, upper = np.quantile(replicates, _LEVELS)
    return {
        "interval": "of the observed",
        "lower": lower,
        "upper": upper,
        "inside": bool(lower <= expected <= upper),
    }


def _resamples(n_cells: int, seed: int) -> np.ndarray:
    """``(n_bootstraps, n_cells)`` how often each cell is drawn."""
    return np.random.default_rng(seed).multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=_BOOTSTRAPS)


def _central(nominal: float) -> slice:
    cut = round((1 - nominal) / 2 * N_BINS)
    return slice(cut, N_BINS - cut)


FEWEST_COUNTS = 5
"""Expected in all cells together, by the training cells' mean; genes with fewer are not tested."""
_INTEGERS = ("mean", "zeros")


def compare_genes(
    evidence: Evidence, reference: GeneReference, names: pd.Index, symbols: np.ndarray, fdr: float
) -> pd.DataFrame:
    """Mean, variance, zeros and spread of each gene, as observed and as generated.

    Of the generated mean, zeros and spread over the checked cells, the interval and the two-sided posterior predictive
    p-value are those of a shifted gamma distribution with the first three cumulants of the draws. The variance is
    widened by the share 1 / n_samples, and, of cells that the source was not fitted to, by their number over that
    of the training cells, since what it knows of a gene comes from these. The spread takes the place of the variance
    in the test: a few large counts decide the variance of a gene, and no approximation of its tail holds.

    Parameters
    ----------
    evidence
        Of one source.
    reference
        Of training cells.
    names, symbols
        Of the genes.
    fdr
        At which genes are called.

    Returns
    -------
    One row a gene: ``<measure>_observed``, ``_predicted``, ``_lower``, ``_upper`` for mean, variance, zeros and
    spread; ``p_mean``, ``p_zeros``, ``p_spread``; ``p``, thrice the smallest of them; ``p_adjusted``
    [Benjamini–Hochberg]; ``outlier``; ``differs_in``, the measure of the smallest p; ``coverage_95``, the share of
    cells whose count lies in its central 95 %. P-values are NaN of genes with fewer than 5 expected counts.
    """
    genes, n_cells = evidence.genes, evidence.n_cells
    columns: dict[str, np.ndarray] = {}
    p_values = []
    tested = reference.mean * n_cells >= FEWEST_COUNTS
    held_out = n_cells / reference.n_cells if evidence.cells == "held-out" else 0.0
    inflation = 1 + 1 / genes.n_samples + held_out
    for row, measure in enumerate(MEASURES):
        p, lower, upper = _place(genes, row, inflation, continuity=0.5 if measure in _INTEGERS else 0.0)
        p_values.append(np.where(tested, p, np.nan))
        columns |= {
            f"{measure}_observed": genes.observed[row] / n_cells,
            f"{measure}_predicted": genes.mean[row] / n_cells,
            f"{measure}_lower": np.clip(lower / n_cells, 0, 1 if measure == "zeros" else None),
            f"{measure}_upper": np.clip(upper / n_cells, 0, 1 if measure == "zeros" else None),
        }
        if measure == "mean":
            columns |= _variance_columns(variances(genes))
    columns |= {f"p_{measure}": p for measure, p in zip(MEASURES, p_values, strict=True)}
    smallest = np.min(p_values, axis=0)
    p = np.minimum(1.0, len(MEASURES) * smallest)
    adjusted = benjamini_hochberg(p)
    outlier = adjusted <= fdr
    which = np.array(MEASURES)[np.argmin(p_values, axis=0)]
    return pd.DataFrame(
        {
            "gene": names.astype(str),
            "symbol": symbols,
            "source": evidence.source,
            "cells": evidence.cells,
            **columns,
            "coverage_95": evidence.ranks.inside / n_cells,
            "p": p,
            "p_adjusted": adjusted,
            "outlier": outlier,
            "differs_in": np.where(outlier, which, ""),
        }
    )


def _place(
    genes: GeneMoments, row: int, inflation: float, *, continuity: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two-sided p of the observed sum, and the central 95 % of the generated one."""
    observed, mean = genes.observed[row], genes.mean[row]
    deviation = np.sqrt(np.maximum(genes.variance[row], 0) * inflation)
    varies = deviation > 0
    scale = np.where(varies, deviation, 1.0)
    skewness = np.where(varies, genes.third[row] / scale**3, 0.0)
    below, _ = tail_probabilities((observed + continuity - mean) / scale, skewness)
    _, above = tail_probabilities((observed - continuity - mean) / scale, skewness)
    p = np.minimum(1.0, 2 * np.minimum(below, above))
    # nothing varies over all draws: either the same was observed, or the source says that it cannot be
    p = np.where(varies, p, np.where(np.abs(observed - mean) <= continuity, 1.0, 0.0))
    low, high = (mean + deviation * quantiles(level, skewness) for level in (0.025, 0.975))
    return p, low, high


def _variance_columns(values: np.ndarray) -> dict[str, np.ndarray]:
    lower, upper = np.quantile(values[1:], (0.025, 0.975), axis=0)
    return {
        "variance_observed": values[0],
        "variance_predicted": values[1:].mean(axis=0),
        "variance_lower": lower,
        "variance_upper": upper,
    }
