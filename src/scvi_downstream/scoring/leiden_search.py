"""The Leiden clustering that agrees best with known labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scvi_downstream.metrics.agreement import contingency, normalised_mutual_information

if TYPE_CHECKING:
    import igraph

_SEED = 42


@dataclass(frozen=True)
class Leiden:
    """Clusters ``(n_cells,)``, codes from 0, and the position of their resolution."""

    clusters: np.ndarray
    position: int


def best_leiden(graph: sparse.csr_matrix, labels: np.ndarray, resolutions: tuple[float, ...]) -> Leiden:
    """Clusters at the resolution with the highest NMI, as :func:`scib_metrics.nmi_ari_cluster_labels_leiden`.

    Parameters
    ----------
    graph
        ``(n_cells, n_cells)`` symmetric connectivities.
    labels
        ``(n_cells,)`` codes from 0.
    resolutions
        At least one; of equal ones the first counts.

    References
    ----------
    Traag, Waltman & van Eck (2019), doi:10.1038/s41598-019-41695-z; Luecken et al. (2022),
    doi:10.1038/s41592-021-01336-8.
    """
    import igraph

    undirected = igraph.Graph.Weighted_Adjacency(graph, mode="directed")
    undirected.to_undirected(mode="each")
    everyone = np.ones((1, len(labels)))
    best, highest = Leiden(np.zeros(len(labels), dtype=np.int64), 0), -np.inf
    for position, resolution in enumerate(resolutions):
        clusters = cluster(undirected, resolution)
        agreement = normalised_mutual_information(contingency(labels, clusters, everyone))[0]
        if agreement > highest:
            best, highest = Leiden(clusters, position), agreement
    return best


def cluster(graph: igraph.Graph, resolution: float) -> np.ndarray:
    """``(n_cells,)`` codes of the Leiden communities of an undirected graph with edge attribute ``weight``."""
    import random

    import igraph

    igraph.set_random_number_generator(random.Random(_SEED))  # generator and seed of scib-metrics
    found = graph.community_leiden(objective_function="modularity", weights="weight", resolution=resolution)
    return np.asarray(found.membership)
