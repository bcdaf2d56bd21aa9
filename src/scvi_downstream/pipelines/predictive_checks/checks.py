"""Every check of every source as one row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .evidence import Evidence, GeneReference
from .ranks import N_BINS, STRATA
from .statistics_of_counts import ONE_SIDED, correlation_agreement, statistics_of

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
