"""Statistics of a whole set of counts: of the observed one, and of every generated one."""

from __future__ import annotations

import numpy as np

from .evidence import Evidence, GeneReference
from .gene_moments import GeneMoments

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
