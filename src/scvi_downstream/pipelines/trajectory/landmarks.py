"""Clusters that lineages go through."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.communities import by_falling_size, communities, weighted_graph
from scvi_downstream.errors import InputError, closest
from scvi_downstream.neighbors import NeighborsGraph

RESOLUTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)


def chosen_clusters(clusters: pd.DataFrame, column: str) -> pd.Series:
    """One column of the clusters table.

    Raises
    ------
    InputError
        There is no such column.
    """
    if column not in clusters:
        raise InputError(
            f"trajectory.clustering '{column}' is not a clustering{closest(column, map(str, clusters.columns))}"
        )
    return clusters[column].rename("landmark")


def communities_like(neighbors: NeighborsGraph, n_clusters: int, seed: int) -> pd.Series:
    """Leiden communities of a graph, as nearly as many as wanted: the coarser of two that are equally near.

    Parameters
    ----------
    neighbors
        kNN graph of ``n_cells`` cells.
    n_clusters
        Number of communities that is wanted.
    seed
        Of Leiden.

    Returns
    -------
    ``(n_cells,)`` categories ``"0"`` (the largest), ``"1"``, …
    """
    graph = weighted_graph(neighbors.connectivities)
    nearest: np.ndarray | None = None
    for resolution in RESOLUTIONS:
        found = communities(graph, resolution, seed)
        if nearest is None or _miss(found, n_clusters) < _miss(nearest, n_clusters):
            nearest = found
        if len(np.unique(found)) >= n_clusters:
            break
    return pd.Series(
        by_falling_size(np.asarray(nearest)), index=neighbors.cells.rename("cell"), name="landmark"
    )


def _miss(membership: np.ndarray, wanted: int) -> int:
    return abs(len(np.unique(membership)) - wanted)
