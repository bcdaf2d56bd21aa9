"""How far each cluster expresses the markers of each type, against two kinds of chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.normalization import log_normalize
from scvi_downstream.progress import track
from scvi_downstream.statistics.multiple_testing import benjamini_hochberg

from .marker_table import KnownMarkers

if TYPE_CHECKING:
    from anndata import AnnData

N_BINS = 25
SETS_AT_ONCE = 500
COLUMNS = ("cluster", "type", "score", "z", "p_genes", "p_cells", "p", "fdr", "n_genes")


@dataclass(frozen=True)
class ClusterMeans:
    """Mean z-scored expression of every gene in every cluster.

    Attributes
    ----------
    clusters
        Names, in the order of the categories.
    sizes
        Cells of each.
    z
        ``(n_clusters, n_genes)``.
    bins
        ``(n_genes,)`` bin of equal mean expression; -1 for genes that do not vary.
    """

    clusters: list[str]
    sizes: np.ndarray
    z: np.ndarray
    bins: np.ndarray


def score_types(
    counts: AnnData, clusters: pd.Series, known: KnownMarkers, *, n_random_sets: int, seed: int
) -> tuple[pd.DataFrame, ClusterMeans]:
    """Score of every cluster for every type, tidy.

    The score is the mean z-scored log-normalised expression of the positive markers less that of the negative
    ones, averaged over the cluster. It is compared with random genes, sets of equally many genes of the
    same expression (as in Tirosh et al., 2016, the type's own markers left out), and with random cells, equally
    many of any cluster. Random genes alone would call any cluster of mixed cells something, since the markers
    of a type vary together; random cells alone would call a cluster in which most genes are high everything.

    Parameters
    ----------
    counts
        Raw counts, all genes.
    clusters
        Cluster of each cell, in the order of ``counts``.
    known
        Markers of each type.
    n_random_sets
        Number of random sets of genes.
    seed
        Of these sets.

    Returns
    -------
    One row a cluster and type: ``score``; ``z``, in standard deviations of the random sets; ``p_genes`` (with
    the +1 of Phipson & Smyth, 2010), ``p_cells`` (Pearson III with the exact first three moments of random cells,
    an idea of Larson & Owen, 2015), ``p``, the larger of the two, and ``fdr`` (Benjamini-Hochberg over all rows);
    and the mean expression behind them.

    References
    ----------
    Tirosh et al. (2016), doi:10.1126/science.aad0501; Phipson & Smyth (2010), doi:10.2202/1544-6115.1585; Larson
    & Owen (2015), doi:10.1186/s12859-015-0571-7.
    """
    expression = log_normalize(counts)
    means = cluster_means(expression, clusters)
    rng = np.random.default_rng(seed)
    by_type = known.genes.groupby("type", sort=False)
    tables = [
        _score_type(str(name), genes, expression, means, clusters, n_random_sets, rng)
        for name, genes in track(by_type, "Scoring markers", by_type.ngroups)
    ]
    scores = pd.concat(tables)
    scores["fdr"] = benjamini_hochberg(scores["p"].to_numpy())
    order = {name: position for position, name in enumerate(means.clusters)}
    ordered = scores.sort_values("cluster", key=lambda column: column.map(order), kind="stable")
    return ordered[list(COLUMNS)].reset_index(drop=True), means


def cluster_means(expression: sparse.csr_matrix, clusters: pd.Series) -> ClusterMeans:
    """Means by cluster of genes scaled to mean 0 and variance 1 over all cells.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised.
    clusters
        Of the same cells.
    """
    categories = clusters.astype("category").cat.remove_unused_categories()
    codes, names = categories.cat.codes.to_numpy(), [str(name) for name in categories.cat.categories]
    members = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    sizes = np.bincount(codes)
    mean, sd = _moments(expression)
    varies = sd > 1e-6
    means = np.asarray((members @ expression).todense()) / sizes[:, None]
    z = np.where(varies, (means - mean) / np.where(varies, sd, 1), 0)
    bins = np.full(len(mean), -1)
    ranks = np.argsort(np.argsort(mean[varies], kind="stable"), kind="stable")
    bins[varies] = ranks * N_BINS // max(len(ranks), 1)
    return ClusterMeans(names, sizes, z, bins)


def _score_type(
    name: str,
    genes: pd.DataFrame,
    expression: sparse.csr_matrix,
    means: ClusterMeans,
    clusters: pd.Series,
    n_random_sets: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    positions, weights = genes["position"].to_numpy(), _weights(genes["sign"].to_numpy())
    score = means.z[:, positions] @ weights
    drawn = _random_scores(means, positions, weights, n_random_sets, rng)
    sd = drawn.std(axis=1, ddof=1)
    p_genes = (1 + (drawn >= score[:, None]).sum(axis=1)) / (1 + n_random_sets)
    p_cells = _p_of_random_cells(score, _cell_scores(expression, positions, weights), means.sizes)
    return pd.DataFrame(
        {
            "cluster": means.clusters,
            "type": name,
            "score": score,
            "z": np.where(sd > 0, (score - drawn.mean(axis=1)) / np.where(sd > 0, sd, 1), 0),
            "p_genes": p_genes,
            "p_cells": p_cells,
            "p": np.maximum(p_genes, p_cells),
            "n_genes": len(genes),
        }
    )


def _weights(signs: np.ndarray) -> np.ndarray:
    """Weights by which the mean of positive genes less that of negative ones is a sum."""
    n_positive, n_negative = int((signs > 0).sum()), int((signs < 0).sum())
    return np.where(signs > 0, 1 / max(n_positive, 1), -1 / max(n_negative, 1))


def _random_scores(
    means: ClusterMeans, positions: np.ndarray, weights: np.ndarray, n_sets: int, rng: np.random.Generator
) -> np.ndarray:
    """``(n_clusters, n_sets)`` scores of genes of the same expression bins, other than the type's own."""
    drawn = np.empty((len(means.clusters), n_sets))
    own = np.zeros(len(means.bins), dtype=bool)
    own[positions] = True
    pools = []
    for position in positions:
        pool = np.flatnonzero((means.bins == means.bins[position]) & ~own)
        pools.append(pool if len(pool) else np.flatnonzero(~own) if (~own).any() else positions)
    for start in range(0, n_sets, SETS_AT_ONCE):
        n = min(SETS_AT_ONCE, n_sets - start)
        chosen = np.column_stack([rng.choice(pool, n) for pool in pools])
        drawn[:, start : start + n] = means.z[:, chosen] @ weights
    return drawn


def _cell_scores(expression: sparse.csr_matrix, positions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Score of every single cell: ``(n_cells,)``, mean 0."""
    chosen = expression[:, positions]
    mean, sd = _moments(chosen)
    scale = np.where(sd > 1e-6, weights / np.where(sd > 1e-6, sd, 1), 0)
    return chosen @ scale - mean @ scale


def _p_of_random_cells(score: np.ndarray, cells: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Chance that equally many cells drawn without replacement have at least this mean."""
    from scipy.stats import pearson3

    n_cells = len(cells)
    variance = cells.var()
    if variance <= 0:
        return np.ones(len(score))
    skew = np.mean((cells - cells.mean()) ** 3) / variance**1.5
    p = np.ones(len(score))
    for i, n in enumerate(sizes):
        if n >= n_cells - 1 or n_cells < 3:
            continue
        sd = np.sqrt(variance / n * (n_cells - n) / (n_cells - 1))
        skew_of_mean = skew * (n_cells - 2 * n) / (n_cells - 2) * np.sqrt((n_cells - 1) / (n * (n_cells - n)))
        p[i] = pearson3.sf((score[i] - cells.mean()) / sd, skew_of_mean)
    return np.clip(p, 0, 1)


def _moments(expression: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each gene over the cells."""
    mean = np.asarray(expression.mean(axis=0), dtype=np.float64).ravel()
    squared = np.asarray(expression.multiply(expression).mean(axis=0), dtype=np.float64).ravel()
    return mean, np.sqrt(np.maximum(squared - mean**2, 0))
