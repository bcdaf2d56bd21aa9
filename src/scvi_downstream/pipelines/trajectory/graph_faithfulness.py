"""Whether a principal graph keeps together what is together."""

from __future__ import annotations

import numpy as np

from .edge_projection import project_onto_edges
from .graph_pseudotime import distances_from
from .principal_graph import PrincipalGraph

MOST_TORN = 0.06
"""Share from which a tree is not a faithful picture: more than planted trees give."""
FAR = 0.1
"""Share of the graph's longest way beyond which two neighbours are torn apart."""


def torn_share(
    graph: PrincipalGraph, latent: np.ndarray, indices: np.ndarray, reachable: np.ndarray
) -> float:
    """Share of neighbouring cells that the graph puts far from each other.

    A tree must cut a cycle, and a path that visits one population after another leaves the way that cells take: then
    neighbours lie on distant parts of the graph. Planted trees give up to 0.05, a planted cycle 0.06 to 0.08, cells
    without any structure 0.35.

    Parameters
    ----------
    graph
        Learnt on the reachable cells.
    latent
        ``(n_cells, n_dims)``.
    indices
        ``(n_cells, k)`` nearest neighbours of each cell, itself first.
    reachable
        ``(n_cells,)`` mask; pairs of these are counted.
    """
    edge, along = project_onto_edges(graph.nodes, graph.edges, latent)
    nearest = np.where(along < 0.5, graph.edges[edge, 0], graph.edges[edge, 1])
    ways = np.array([distances_from(graph, node) for node in range(len(graph.nodes))])
    counted = reachable[:, None] & reachable[indices[:, 1:]]
    if not counted.any():
        return 0.0
    apart = ways[nearest[:, None], nearest[indices[:, 1:]]]
    return float((apart[counted] > FAR * ways.max()).mean())
