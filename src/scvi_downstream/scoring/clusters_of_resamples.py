"""Clusters of resampled cells, and how well they agree with known labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from scvi_downstream.metrics.agreement import (
    adjusted_rand_index,
    contingency,
    normalised_mutual_information,
)
from scvi_downstream.progress import track

from .leiden_search import cluster

_BELOW, _ABOVE = 3, 1
type Clusterings = Callable[[np.ndarray, np.ndarray], list[np.ndarray]]
"""From the positions of the cells drawn and how often each was, both ``(n_drawn,)``, to one or more ``(n_drawn,)``."""


def leiden_clusterings(
    graph: sparse.csr_matrix, resolutions: tuple[float, ...], position: int
) -> Clusterings:
    """Leiden of the cells drawn, where two cells are tied as often as their copies are.

    The search is done again at the resolution chosen for the sample, the three below and the one above. Resampled
    graphs are noisier than the sample's and fall into more communities, so that lower resolutions are chosen in them.
    These five give the spread of all ten; the chosen one alone gives up to three times as much.

    Parameters
    ----------
    graph
        ``(n_cells, n_cells)`` symmetric connectivities.
    resolutions, position
        All resolutions in ascending order, and which of them was chosen.

    References
    ----------
    Traag, Waltman & van Eck (2019), doi:10.1038/s41598-019-41695-z.
    """
    edges = sparse.triu(graph, 1).tocoo()
    tried = resolutions[max(0, position - _BELOW) : position + _ABOVE + 1]

    def clusterings(drawn: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
        import igraph

        place = np.full(graph.shape[0], -1)
        place[drawn] = np.arange(len(drawn))
        one, other = place[edges.row], place[edges.col]
        both = (one >= 0) & (other >= 0)
        one, other = one[both], other[both]
        among = igraph.Graph(n=len(drawn), edges=np.stack([one, other], axis=1))
        among.es["weight"] = (edges.data[both] * counts[one] * counts[other]).tolist()
        return [cluster(among, resolution) for resolution in tried]

    return clusterings


def kmeans_clusterings(latent: np.ndarray, n_clusters: int) -> Clusterings:
    """k-means of the cells drawn from one k-means++ start, as in :class:`scib_metrics.utils.KMeans`.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)``.
    n_clusters
        Number of clusters.

    References
    ----------
    Arthur & Vassilvitskii (2007), https://dl.acm.org/doi/10.5555/1283383.1283494.
    """

    def clusterings(drawn: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
        from sklearn.cluster import KMeans

        found = KMeans(n_clusters, n_init=1, random_state=0).fit(latent[drawn], sample_weight=counts)
        return [found.labels_.astype(np.int64)]

    return clusterings


def agreement_in_resamples(
    clusterings: Clusterings, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """NMI and ARI of the clustering with the highest NMI in each resample.

    Parameters
    ----------
    clusterings
        Of :func:`leiden_clusterings` or :func:`kmeans_clusterings`.
    labels
        ``(n_cells,)`` codes from 0.
    weights
        ``(n_draws, n_cells)`` whole numbers.

    Returns
    -------
    Twice ``(n_draws,)``.
    """
    agreement = np.empty((2, len(weights)))
    for k, counts in enumerate(track(weights, "Clustering resamples of the cells", len(weights))):
        drawn = np.flatnonzero(counts)
        own, often = labels[drawn], counts[drawn]
        tables = [contingency(own, clusters, often[None]) for clusters in clusterings(drawn, often)]
        similarity = [normalised_mutual_information(table)[0] for table in tables]
        best = int(np.argmax(similarity))
        agreement[:, k] = similarity[best], adjusted_rand_index(tables[best])[0]
    return agreement[0], agreement[1]
