"""Slingshot over many clusterings: what does not hang on where clusters happen to be cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from scvi_downstream.errors import InputError
from scvi_downstream.progress import track

from .lineages import choose_start_cluster
from .slingshot import Slingshot, slingshot


@dataclass(frozen=True, eq=False)
class SlingshotConsensus:
    """Orders over clusterings.

    Attributes
    ----------
    pseudotime
        ``(n_cells,)`` mean over clusterings of the rank, 0 at the first cell and at most 1; NaN for cells that the
        start does not reach.
    spread
        ``(n_cells,)`` standard deviation of the rank, in [0, 1], over clusterings.
    agreement
        ``(n_clusterings,)`` mean Spearman correlation of each order with the others.
    n_clusters, n_lineages
        ``(n_clusterings,)``.
    typical
        The fit that agrees best with the others.
    typical_clusters
        ``(n_cells,)`` its clusters.
    """

    pseudotime: np.ndarray
    spread: np.ndarray
    agreement: np.ndarray
    n_clusters: np.ndarray
    n_lineages: np.ndarray
    typical: Slingshot
    typical_clusters: pd.Series


def slingshot_consensus(
    latent: np.ndarray,
    start_cells: np.ndarray,
    *,
    n_clusters: Sequence[int] = tuple(range(5, 15)),
    n_repeats: int = 2,
    components: np.ndarray | None = None,
    df: float = 5.0,
    seed: int = 0,
) -> SlingshotConsensus:
    """Order cells by Slingshot on k-means clusters of several numbers and seeds, and take the mean rank.

    In a continuum of cells clusters are cut arbitrarily, and a cut elsewhere may join other clusters and turn a lineage
    round. Errors of single trees average out; what all of them share stays. On worm_embryo single trees came to rank
    correlations with the measured time from 0.17 to 0.94 over clusterings; mean ranks came to 0.89 to 0.93 with 5 to 14
    clusters, and to 0.76 to 0.92 with 15 to 24.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)``.
    start_cells
        Positions of start cells; in each clustering the cluster with the most of them, beyond its size, is the start.
    n_clusters
        Numbers of clusters.
    n_repeats
        Clusterings of each number.
    components
        ``(n_cells,)`` connected component of each cell; only cells in that of most start cells are ordered.
    df
        Effective degrees of freedom of the curves.
    seed
        Of the clusterings.

    Raises
    ------
    InputError
        When the start cells reach fewer than two cells a cluster.
    """
    from sklearn.cluster import KMeans

    latent = np.asarray(latent, dtype=np.float64)
    reached = _component_of(start_cells, components, len(latent))
    rows = np.flatnonzero(reached)
    if len(rows) < 2 * max(n_clusters):
        raise InputError(
            f"the start reaches {len(rows)} cells, too few for {max(n_clusters)} clusters; ask for fewer clusters"
        )
    starts = np.flatnonzero(np.isin(rows, start_cells))
    runs = [(k, repeat) for k in n_clusters for repeat in range(n_repeats)]
    seeds = np.random.default_rng(seed).integers(0, 2**31, len(runs))
    fits, labels = [], []
    for (k, _), own_seed in track(
        list(zip(runs, seeds, strict=True)), "Slingshot over clusterings", len(runs)
    ):
        codes = KMeans(k, n_init=1, random_state=int(own_seed)).fit_predict(latent[rows])
        clusters = pd.Series(pd.Categorical(codes.astype(str)))
        fits.append(slingshot(latent[rows], clusters, choose_start_cluster(clusters, starts), df=df))
        labels.append(clusters)
    ranks = np.array([stats.rankdata(fit.mean_pseudotime) for fit in fits]) / len(rows)
    agreement = _agreement(ranks)
    best = int(agreement.argmax())
    mean, spread = np.full(len(latent), np.nan), np.full(len(latent), np.nan)
    mean[rows] = ranks.mean(axis=0) - ranks.mean(axis=0).min()
    spread[rows] = ranks.std(axis=0)
    return SlingshotConsensus(
        pseudotime=mean,
        spread=spread,
        agreement=agreement,
        n_clusters=np.array([k for k, _ in runs]),
        n_lineages=np.array([len(fit.curves) for fit in fits]),
        typical=_among_all(fits[best], reached),
        typical_clusters=_named_among_all(labels[best], reached),
    )


def _component_of(start_cells: np.ndarray, components: np.ndarray | None, n_cells: int) -> np.ndarray:
    if len(start_cells) == 0:
        raise InputError("there are no start cells, so nothing can be ordered; name a start that has cells")
    if components is None:
        return np.ones(n_cells, dtype=bool)
    values, counts = np.unique(components[start_cells], return_counts=True)
    return np.asarray(components == values[counts.argmax()])


def _agreement(ranks: np.ndarray) -> np.ndarray:
    if len(ranks) == 1:
        return np.full(1, np.nan)
    correlation = np.corrcoef(ranks)
    return (correlation.sum(axis=1) - 1) / (len(ranks) - 1)


def _among_all(fit: Slingshot, reached: np.ndarray) -> Slingshot:
    shape = (len(reached), fit.weights.shape[1])
    pseudotime, weights = np.full(shape, np.nan), np.zeros(shape)
    lineage, mean = np.full(len(reached), -1), np.full(len(reached), np.nan)
    pseudotime[reached], weights[reached] = fit.pseudotime, fit.weights
    lineage[reached], mean[reached] = fit.lineage, fit.mean_pseudotime
    return Slingshot(fit.tree, fit.curves, pseudotime, weights, lineage, mean, fit.converged)


def _named_among_all(clusters: pd.Series, reached: np.ndarray) -> pd.Series:
    codes = np.full(len(reached), -1)
    codes[reached] = clusters.cat.codes.to_numpy()
    return pd.Series(pd.Categorical.from_codes(codes, categories=clusters.cat.categories))
