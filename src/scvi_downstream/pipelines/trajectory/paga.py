"""PAGA: how strongly clusters are connected over the neighbours graph."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.categories import as_categories
from scvi_downstream.models.quiet import quiet
from scvi_downstream.neighbors import NeighborsGraph

from .scanpy_graph import scanpy_graph


def paga_edges(neighbors: NeighborsGraph, clusters: pd.Series) -> pd.DataFrame:
    """Connectivities of all pairs of clusters that share an edge of the graph.

    Parameters
    ----------
    neighbors
        kNN graph of ``n_cells`` cells.
    clusters
        ``(n_cells,)`` clusters in the same order; cells without one are left out.

    Returns
    -------
    ``cluster_1``, ``cluster_2`` (each pair once, in the order of the categories), ``connectivity`` in (0, 1] (edges
    between the clusters as a share of those expected if they were drawn at random) and ``in_tree``: whether the edge
    belongs to the spanning tree of the strongest ones; strongest first.

    References
    ----------
    Wolf et al. (2019), doi:10.1186/s13059-019-1663-x.
    """
    groups = as_categories(clusters)
    names = groups.categories
    if len(names) < 2:
        return _table(names, np.array([], int), np.array([], int), np.array([]), np.array([], bool))
    import scanpy as sc

    graph = scanpy_graph(neighbors, ~groups.isna())
    graph.obs["cluster"] = groups[~groups.isna()]
    with quiet():
        sc.tl.paga(graph, groups="cluster")
    connectivities = graph.uns["paga"]["connectivities"].toarray()
    tree = graph.uns["paga"]["connectivities_tree"].toarray()
    first, second = np.triu_indices(len(names), 1)
    strength = np.maximum(connectivities, connectivities.T)[first, second]
    in_tree = (np.maximum(tree, tree.T) > 0)[first, second]
    kept = strength > 0
    return _table(names, first[kept], second[kept], strength[kept], in_tree[kept])


def _table(
    names: pd.Index, first: np.ndarray, second: np.ndarray, strength: np.ndarray, in_tree: np.ndarray
) -> pd.DataFrame:
    texts = names.astype(str).to_numpy(dtype=object)
    table = pd.DataFrame(
        {
            "cluster_1": texts[first],
            "cluster_2": texts[second],
            "connectivity": strength.astype(np.float64),
            "in_tree": in_tree.astype(bool),
        }
    )
    return table.sort_values("connectivity", ascending=False, kind="stable", ignore_index=True)


def cluster_positions(layout: pd.DataFrame, clusters: pd.Series) -> pd.DataFrame:
    """Medians of the clusters' cells on a layout such as UMAP, to draw PAGA's nodes at.

    Parameters
    ----------
    layout
        ``n_cells`` × coordinates.
    clusters
        Clusters of the same cells.

    Returns
    -------
    Cluster (index ``cluster``) × the layout's columns, and ``n_cells``.
    """
    groups = pd.Series(as_categories(clusters), index=clusters.index).reindex(layout.index)
    grouped = layout.groupby(groups, observed=True)
    table = grouped.median().assign(n_cells=grouped.size())
    table.index = pd.Index(table.index.astype(str), name="cluster")
    return table
