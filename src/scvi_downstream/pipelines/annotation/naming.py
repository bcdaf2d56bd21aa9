"""Names of clusters by the scores of their marker genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.label_split import chosen_clustering
from scvi_downstream.pipelines.annotation.marker_table import KnownMarkers, find_markers
from scvi_downstream.pipelines.annotation.options import AnnotationOptions, MarkerNamingOptions
from scvi_downstream.pipelines.annotation.report import summarize_names
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.testing import benjamini_hochberg

# Bins of equal mean expression, from which random genes are drawn: as many as in Tirosh et al. (2016).
N_BINS = 25
SETS_AT_ONCE = 500  # Random sets of genes that are scored at once, which bounds the memory.
# Standard deviation of log-expression below which a gene counts as constant.
LEAST_SD = 1e-6
MOST_GENES_NAMED = 5
SCORE_COLUMNS = ("cluster", "type", "score", "z", "p_genes", "p_cells", "p", "fdr", "n_genes")
NAME_COLUMNS = (
    "cluster", "n_cells", "name", "best_type", "score", "z", "fdr", "runner_up", "margin", "why_unknown", "genes",
)  # fmt: skip


@dataclass(frozen=True)
class ClusterMeans:
    """Mean z-scored expression of every gene in every cluster: ``z``, ``(n_clusters, n_genes)``.

    ``clusters`` are in the order of the categories, ``sizes`` their cells, and ``bins`` the ``(n_genes,)`` bin of
    equal mean expression; -1 for genes that do not vary.
    """

    clusters: list[str]
    sizes: np.ndarray
    z: np.ndarray
    bins: np.ndarray


def name_clusters(
    counts: AnnData,
    clusters: pd.DataFrame,
    marker_table: pd.DataFrame,
    keys: Keys,
    annotation: AnnotationOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Name clusters by the user's marker genes.

    Parameters
    ----------
    counts, clusters
        Raw counts of `n_cells` cells, all genes, and clusterings of the same cells.
    marker_table
        Columns ``type``, ``gene`` and ``sign``.
    keys
        ``label_key``, whose labels are compared with the names.
    annotation, seed
        ``clustering`` and ``markers``; the seed is that of the random sets of genes.

    Returns
    -------
    One row a cluster (:func:`choose_names`); one row a cluster and type (:func:`score_types`);
    ``cell_type_markers`` of each cell; summary with sentences.

    Raises
    ------
    InputError
        As of :func:`.marker_table.find_markers`.
    """
    options = annotation.markers
    known = find_markers(marker_table, counts, options.min_genes)
    known.log()
    chosen = chosen_clustering(clusters, annotation).loc[counts.obs_names]
    scores, means = score_types(counts, chosen, known, n_random_sets=options.n_random_sets, seed=seed)
    names = choose_names(scores, means, known, options)
    cells = cells_by_name(chosen, names)
    labels = counts.obs[keys.label_key] if keys.label_key else None
    return names, scores, cells, summarize_names(names, cells, known, labels)


def score_types(
    counts: AnnData, clusters: pd.Series, known: KnownMarkers, *, n_random_sets: int, seed: int
) -> tuple[pd.DataFrame, ClusterMeans]:
    """Score of every cluster for every type, tidy.

    The score is the mean z-scored log-normalised expression of the positive markers less that of the negative ones,
    averaged over the cluster. It is compared with random genes, ``n_random_sets`` sets of equally many genes of the
    same expression (as in Tirosh et al., 2016, the type's own markers left out), and with random cells, equally many
    of any cluster. Random genes alone would call any cluster of mixed cells something, since the markers of a type
    vary together; random cells alone would call a cluster in which most genes are high everything. ``counts`` are
    raw, of all genes, ``clusters`` those of each cell in their order.

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
        _score_type(str(name), genes, expression, means, n_random_sets, rng)
        for name, genes in track(by_type, "Scoring markers", by_type.ngroups)
    ]
    scores = pd.concat(tables)
    scores["fdr"] = benjamini_hochberg(scores["p"].to_numpy())
    # the index of every table is the position of the cluster
    return scores.sort_index(kind="stable")[list(SCORE_COLUMNS)].reset_index(drop=True), means


def cluster_means(expression: sparse.csr_matrix, clusters: pd.Series) -> ClusterMeans:
    """Means by cluster of genes scaled to mean 0 and variance 1 over all cells.

    ``expression`` is ``(n_cells, n_genes)``, log-normalised.
    """
    categories = clusters.astype("category").cat.remove_unused_categories()
    codes, names = categories.cat.codes.to_numpy(), [str(name) for name in categories.cat.categories]
    members = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    sizes = np.bincount(codes)
    mean, sd = _gene_moments(expression)
    varies = sd > LEAST_SD
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
    n_random_sets: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    positions, weights = genes["position"].to_numpy(), _sign_weights(genes["sign"].to_numpy())
    score = means.z[:, positions] @ weights
    drawn = _random_gene_scores(means, positions, weights, n_random_sets, rng)
    sd = drawn.std(axis=1, ddof=1)
    p_genes = (1 + (drawn >= score[:, None]).sum(axis=1)) / (1 + n_random_sets)
    p_cells = _random_cells_p(score, _cell_scores(expression, positions, weights), means.sizes)
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


def _sign_weights(signs: np.ndarray) -> np.ndarray:
    """Weights by which the mean of positive genes less that of negative ones is a sum."""
    n_positive, n_negative = int((signs > 0).sum()), int((signs < 0).sum())
    return np.where(signs > 0, 1 / max(n_positive, 1), -1 / max(n_negative, 1))


def _random_gene_scores(
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
    mean, sd = _gene_moments(chosen)
    scale = np.where(sd > LEAST_SD, weights / np.where(sd > LEAST_SD, sd, 1), 0)
    return chosen @ scale - mean @ scale


def _random_cells_p(score: np.ndarray, cells: np.ndarray, sizes: np.ndarray) -> np.ndarray:
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


def _gene_moments(expression: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each gene over the cells."""
    mean = np.asarray(expression.mean(axis=0), dtype=np.float64).ravel()
    squared = np.asarray(expression.multiply(expression).mean(axis=0), dtype=np.float64).ravel()
    return mean, np.sqrt(np.maximum(squared - mean**2, 0))


def choose_names(
    scores: pd.DataFrame, means: ClusterMeans, known: KnownMarkers, options: MarkerNamingOptions
) -> pd.DataFrame:
    """The best type of each cluster, where it is significant and clear of the next one.

    Significant is what :func:`score_types` gives a rate below ``fdr``, clear what is ``min_margin`` standard
    deviations of random sets of genes above the runner-up.

    Returns
    -------
    One row a cluster: ``name`` (``unknown`` where ``why_unknown`` says so), ``best_type``, its ``score``, ``z``
    and ``fdr``, ``runner_up`` and ``margin``, and the positive markers of the best type that are highest here.
    """
    ranked = scores.sort_values("z", ascending=False, kind="stable").groupby("cluster", sort=False)
    best, second = (ranked.nth(place).set_index("cluster").reindex(means.clusters) for place in (0, 1))
    margin = best["z"] - second["z"].fillna(0)
    unclear = np.where(margin < options.min_margin, "two types are equally likely", "")
    why_unknown = np.where(best["fdr"] >= options.fdr, "no type is significant", unclear)
    table = best[["score", "z", "fdr"]].assign(
        n_cells=means.sizes,
        name=best["type"].where(why_unknown == "", UNKNOWN),
        best_type=best["type"],
        runner_up=second["type"].fillna(""),
        margin=margin,
        why_unknown=why_unknown,
        genes=[_highest_genes(name, z, known) for name, z in zip(best["type"], means.z, strict=True)],
    )
    return table.reset_index()[list(NAME_COLUMNS)]


def _highest_genes(name: str, z: np.ndarray, known: KnownMarkers) -> str:
    """Positive markers of a type that are highest in a cluster of mean expression ``z``."""
    positive = known.genes[(known.genes["type"] == name) & (known.genes["sign"] > 0)]
    highest = positive.assign(z=z[positive["position"]]).sort_values("z", ascending=False, kind="stable")
    return ", ".join(highest.loc[highest["z"] > 0, "gene"].head(MOST_GENES_NAMED))


def cells_by_name(clusters: pd.Series, names: pd.DataFrame) -> pd.DataFrame:
    """The name of each cell's cluster: categorical ``cell_type_markers``, ``unknown`` last."""
    by_cluster = names.set_index("cluster")["name"]
    categories = sorted(by_cluster.unique(), key=lambda name: (name == UNKNOWN, name))
    values = pd.Categorical(clusters.astype(str).map(by_cluster), categories=categories)
    return pd.DataFrame({"cell_type_markers": values}, index=clusters.index.rename("cell"))
