"""Names of clusters by the scores of their markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.pipelines.annotation.marker_table import KnownMarkers
from scvi_downstream.pipelines.annotation.options import MarkerNamingOptions
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.progress import track
from scvi_downstream.statistics.testing import benjamini_hochberg

if TYPE_CHECKING:
    from anndata import AnnData


N_BINS = 25
SETS_AT_ONCE = 500
SCORE_COLUMNS = ("cluster", "type", "score", "z", "p_genes", "p_cells", "p", "fdr", "n_genes")


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
    return ordered[list(SCORE_COLUMNS)].reset_index(drop=True), means


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


COLUMNS = (
    "cluster", "n_cells", "name", "best_type", "score", "z", "fdr", "runner_up", "margin", "why_unknown", "genes",
)  # fmt: skip
_SHOWN = 5


def choose_names(
    scores: pd.DataFrame, means: ClusterMeans, known: KnownMarkers, options: MarkerNamingOptions
) -> pd.DataFrame:
    """The best type of each cluster, where it is significant and clear of the next one.

    Parameters
    ----------
    scores
        Of :func:`.marker_scores.score_types`.
    means
        Mean expression by cluster.
    known
        Markers of each type.
    options
        ``fdr``, and ``min_margin`` to the runner-up in standard deviations of random sets of genes.

    Returns
    -------
    One row a cluster: ``name`` (``unknown`` where ``why_unknown`` says so), ``best_type``, its ``score``, ``z``
    and ``fdr``, ``runner_up`` and ``margin``, and the positive markers of the best type that are highest
    here.
    """
    rows = []
    for cluster, size in zip(means.clusters, means.sizes, strict=True):
        ranked = scores[scores["cluster"] == cluster].sort_values("z", ascending=False, kind="stable")
        best, second = ranked.iloc[0], ranked.iloc[1] if len(ranked) > 1 else None
        margin = float(best["z"] - (second["z"] if second is not None else 0))
        why = ""
        if best["fdr"] >= options.fdr:
            why = "no type is significant"
        elif margin < options.min_margin:
            why = "two types are equally likely"
        rows.append(
            {
                "cluster": cluster,
                "n_cells": int(size),
                "name": UNKNOWN if why else best["type"],
                "best_type": best["type"],
                "score": best["score"],
                "z": best["z"],
                "fdr": best["fdr"],
                "runner_up": second["type"] if second is not None else "",
                "margin": margin,
                "why_unknown": why,
                "genes": ", ".join(_highest(best["type"], cluster, means, known)),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _highest(name: str, cluster: str, means: ClusterMeans, known: KnownMarkers) -> list[str]:
    positive = known.genes[(known.genes["type"] == name) & (known.genes["sign"] > 0)]
    z = means.z[means.clusters.index(cluster), positive["position"]]
    order = np.argsort(-z, kind="stable")
    return [str(positive["gene"].iloc[i]) for i in order[:_SHOWN] if z[i] > 0]


def cells_by_name(clusters: pd.Series, names: pd.DataFrame) -> pd.DataFrame:
    """The name of each cell's cluster: categorical ``cell_type_markers``, ``unknown`` last."""
    by_cluster = names.set_index("cluster")["name"].to_dict()
    categories = sorted(set(by_cluster.values()) - {UNKNOWN})
    categories += [UNKNOWN] if UNKNOWN in by_cluster.values() else []
    values = pd.Categorical(clusters.astype(str).map(by_cluster), categories=categories)
    return pd.DataFrame({"cell_type_markers": values}, index=clusters.index.rename("cell"))


def summarize_names(
    names: pd.DataFrame, cells: pd.DataFrame, known: KnownMarkers, labels: pd.Series | None
) -> dict[str, Any]:
    """Numbers and sentences of the naming.

    Parameters
    ----------
    names, cells
        Of :func:`choose_names` and :func:`cells_by_name`.
    known
        Markers that the counts hold.
    labels
        The study's own labels of the same cells, or ``None``.
    """
    named = names["name"] != UNKNOWN
    n_named = int(names.loc[named, "n_cells"].sum())
    summary: dict[str, Any] = {
        "n_types": len(known.types),
        "n_listed": known.n_listed,
        "n_genes": int(known.genes["name"].nunique()),
        "n_missing_genes": len(known.missing),
        "n_left_out_types": len(known.left_out),
        "n_clusters": len(names),
        "n_named": int(named.sum()),
        "n_types_named": int(names.loc[named, "name"].nunique()),
        "share_cells_named": float(n_named / names["n_cells"].sum()),
        "missing_genes": list(known.missing),
        "left_out_types": [{"type": name, "n_genes": n} for name, n in known.left_out.items()],
    }
    if labels is not None:
        summary |= _agreement(cells["cell_type_markers"].astype(str), labels.loc[cells.index].astype(str))
    return summary | {
        "sentences": [_named(summary, names), *_table(summary, known), *_labels(summary, labels)]
    }


def _agreement(names: pd.Series, labels: pd.Series) -> dict[str, Any]:
    """Adjusted Rand index of names and labels over the cells that have both."""
    from sklearn.metrics import adjusted_rand_score

    both = ((names != UNKNOWN) & (labels != UNKNOWN)).to_numpy()
    if not both.any():
        return {}
    shared = both & names.isin(set(labels)).to_numpy()
    equal = float((names[shared] == labels[shared]).mean()) if shared.any() else None
    return {
        "ari_labels": float(adjusted_rand_score(labels[both], names[both])),
        "n_cells_compared": int(both.sum()),
        "n_cells_same_vocabulary": int(shared.sum()),
        "share_equal": equal,
    }


def _named(summary: dict[str, Any], names: pd.DataFrame) -> str:
    unknown = names[names["name"] == UNKNOWN]
    text = (
        f"{summary['n_named']} of {summary['n_clusters']} clusters ({summary['share_cells_named']:.0%} of the cells) "
        f"were named by the markers of {summary['n_types']} types"
    )
    if len(unknown):
        reasons = unknown.groupby("why_unknown", sort=False)["cluster"].agg(list)
        text += "; unknown stay " + ", ".join(
            f"{', '.join(clusters)} ({reason})" for reason, clusters in reasons.items()
        )
    return text + "."


def _table(summary: dict[str, Any], known: KnownMarkers) -> list[str]:
    if not known.missing and not known.left_out:
        return []
    parts = []
    if known.missing:
        shown = ", ".join(known.missing[:_SHOWN]) + (", …" if len(known.missing) > _SHOWN else "")
        are = "gene of the marker table is" if len(known.missing) == 1 else "genes of the marker table are"
        parts.append(f"{len(known.missing)} {are} not in the counts ({shown})")
    if known.left_out:
        named = ", ".join(known.left_out)
        parts.append(f"left out for too few genes: {named}")
    return ["; ".join(parts) + "."]


def _labels(summary: dict[str, Any], labels: pd.Series | None) -> list[str]:
    if labels is None or "ari_labels" not in summary:
        return []
    text = (
        f"Names agree with the labels in '{labels.name}' to an adjusted Rand index of {summary['ari_labels']:.2f} "
        f"over {summary['n_cells_compared']:,} cells"
    )
    if summary["share_equal"] is not None:
        text += (
            f"; where the name is also a label ({summary['n_cells_same_vocabulary']:,} cells), "
            f"{summary['share_equal']:.0%} have that label"
        )
    return [text + "."]
