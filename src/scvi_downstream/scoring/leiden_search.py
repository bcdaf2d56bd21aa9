"""The Leiden clustering that agrees best with known labels."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scvi_downstream.metrics.agreement import contingency, normalised_mutual_information

_SEED = 42


def best_leiden(graph: sparse.csr_matrix, labels: np.ndarray, resolutions: tuple[float, ...]) -> np.ndarray:
    """Clusters at the resolution with the highest NMI, as :func:`scib_metrics.nmi_ari_cluster_labels_leiden`.

    Parameters
    ----------
    graph
        ``(n_cells, n_cells)`` symmetric connectivities.
    labels
        ``(n_cells,)`` codes from 0.
    resolutions
        At least one; of equal ones the first counts.

    Returns
    -------
    ``(n_cells,)`` codes.

    References
    ----------
    Traag, Waltman & van Eck (2019), doi:10.1038/s41598-019-41695-z; Luecken et al. (2022),
    doi:10.1038/s41592-021-01336-8.
    """
    import random

    import igraph

    undirected = igraph.Graph.Weighted_Adjacency(graph, mode="directed")
    undirected.to_undirected(mode="each")
    everyone = np.ones((1, len(labels)))
    best, highest = np.zeros(len(labels), dtype=np.int64), -np.inf
    for resolution in resolutions:
        igraph.set_random_number_generator(random.Random(_SEED))  # generator and seed of scib-metrics
        found = undirected.community_leiden(
            objective_function="modularity", weights="weight", resolution=resolution
        )
        clusters = np.asarray(found.membership)
        agreement = normalised_mutual_information(contingency(labels, clusters, everyone))[0]
        if agreement > highest:
            best, highest = clusters, agreement
    return best
