"""Which cells a trajectory can reach: connected parts of the neighbours graph, and parts that hang by a thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scvi_downstream.graphs.neighbors import NeighborsGraph, by_falling_size, communities, weighted_graph
from scvi_downstream.runtime.errors import InputError, closest

FRAGMENT_SHARE = 0.01
"""A connected part with a smaller share of the cells is taken for outliers, not for a population."""
BARELY_CONNECTED = 0.05
"""PAGA connectivity: edges between two clusters as a share of those expected if cells were joined at random."""
MEMBERSHIP = 0.5
"""Share of a cluster's cells that lie in a part for the cluster to be named with it."""


@dataclass(frozen=True, eq=False)
class Reach:
    """What is connected to the start.

    Attributes
    ----------
    parts
        ``(n_cells,)`` connected part of each cell, 0 for the largest.
    reachable
        ``(n_cells,)`` whether a cell is in the start's part.
    sentences
        What is left out, in words; empty if nothing is.
    """

    parts: np.ndarray
    reachable: np.ndarray
    sentences: tuple[str, ...]


def reach_from(
    neighbors: NeighborsGraph,
    start_cells: np.ndarray,
    clusters: pd.Series,
    *,
    fragment_share: float = FRAGMENT_SHARE,
) -> Reach:
    """Cells that are connected to the start over the neighbours graph.

    The start's part is the one that holds most start cells.

    Parameters
    ----------
    neighbors
        kNN graph of ``n_cells`` cells.
    start_cells
        Positions of the start cells.
    clusters
        ``(n_cells,)`` clusters, in the same order, to name what is left out.
    fragment_share
        Share of the cells below which a connected part counts as outliers.

    Raises
    ------
    InputError
        There is no start cell, or the start lies in a fragment of outliers.
    """
    if not len(start_cells):
        raise InputError("there are no start cells; choose another trajectory start")
    _, codes = csgraph.connected_components(neighbors.connectivities, directed=False)
    sizes = np.bincount(codes)
    by_size = np.argsort(-sizes, kind="stable")
    parts, sizes = np.argsort(by_size)[codes], sizes[by_size]
    held = np.bincount(parts[start_cells], minlength=len(sizes))
    own = int(held.argmax())
    n_cells = len(parts)
    is_fragment = sizes < fragment_share * n_cells
    if is_fragment[own]:
        raise InputError(
            f"the trajectory start lies among {sizes[own]:,} of {n_cells:,} cells that are connected to no others; "
            "choose another trajectory start"
        )
    apart = ~is_fragment & (np.arange(len(sizes)) != own)
    sentences = []
    if apart.any():
        left_out = apart[parts]
        sentences.append(
            f"{left_out.sum():,} of {n_cells:,} cells{_named(clusters, left_out)} are not connected to the start: "
            "they have no pseudotime"
        )
    if is_fragment.any():
        strays = int(is_fragment[parts].sum())
        sentences.append(
            f"{strays:,} of {n_cells:,} cells are outliers, in {is_fragment.sum()} small groups that are connected to "
            "no others: they have no pseudotime"
        )
    elsewhere = len(start_cells) - int(held[own])
    if elsewhere:
        sentences.append(
            f"{elsewhere:,} of {len(start_cells):,} start cells are not connected to the other ones and are left out"
        )
    return Reach(parts, parts == own, tuple(sentences))


def _named(clusters: pd.Series, mask: np.ndarray) -> str:
    share = pd.Series(mask).groupby(clusters.to_numpy(), observed=True).mean()
    names = [str(name) for name in share.index[share > MEMBERSHIP]]
    if not names:
        return ""
    return f" (cluster{'s' if len(names) > 1 else ''} {', '.join(names)})"


def barely_connected(
    edges: pd.DataFrame, start_cluster: str, threshold: float = BARELY_CONNECTED
) -> list[str]:
    """Sentences on clusters to which only weak edges lead.

    What a kNN graph joins by a few edges, PAGA tells from what belongs together: a cluster is barely connected when
    every path from the start to it crosses an edge below ``threshold``. Clusters that are not connected at all are
    the business of :func:`reach_from`.

    Parameters
    ----------
    edges
        Table of :func:`.paga.paga_edges`.
    start_cluster
        The cluster that trajectories start in.
    threshold
        PAGA connectivity below which an edge is not believed.

    References
    ----------
    Wolf et al. (2019), doi:10.1186/s13059-019-1663-x.
    """
    linked = _linked_to(start_cluster, edges)
    believed = _linked_to(start_cluster, edges[edges["connectivity"] >= threshold])
    doubtful = linked - believed
    if not doubtful:
        return []
    crossing = edges[
        edges["cluster_1"].isin(believed) & edges["cluster_2"].isin(doubtful)
        | edges["cluster_2"].isin(believed) & edges["cluster_1"].isin(doubtful)
    ]
    ordered = [
        name for name in pd.unique(edges[["cluster_1", "cluster_2"]].to_numpy().ravel()) if name in doubtful
    ]
    several = len(ordered) > 1
    return [
        f"cluster{'s' if several else ''} {', '.join(ordered)} {'are' if several else 'is'} barely connected to the "
        f"start (PAGA connectivity {crossing['connectivity'].max():.3f} at most, where 1 is that of mixed cells): "
        "pseudotime there is not to be believed"
    ]


def _linked_to(cluster: str, edges: pd.DataFrame) -> set[str]:
    names = pd.Index(pd.unique(np.r_[[cluster], edges["cluster_1"], edges["cluster_2"]].astype(object)))
    pair = names.get_indexer(edges["cluster_1"]), names.get_indexer(edges["cluster_2"])
    graph = sparse.coo_matrix((np.ones(len(edges)), pair), shape=(len(names), len(names)))
    _, codes = csgraph.connected_components(graph, directed=False)
    return set(names[codes == codes[names.get_loc(cluster)]])


def group_neighbors(transitions: sparse.csr_matrix, n_groups: int, seed: int) -> np.ndarray:
    """Groups of neighbouring cells: each cell goes with the seed cell that is nearest over the graph.

    Parameters
    ----------
    transitions
        ``(n_cells, n_cells)`` weights of a connected graph.
    n_groups
        Number of seed cells, drawn at random.
    seed
        Of the draw.

    Returns
    -------
    ``(n_cells,)`` group of each cell.
    """
    n_cells = transitions.shape[0]
    seeds = np.sort(np.random.default_rng(seed).choice(n_cells, n_groups, replace=False))
    lengths = transitions.maximum(transitions.T).tocsr()
    lengths.data = 1 - np.log(np.clip(lengths.data, 1e-12, 1))
    *_, nearest = csgraph.dijkstra(
        lengths, directed=False, indices=seeds, min_only=True, return_predecessors=True
    )
    return np.searchsorted(seeds, nearest)


def lump(transitions: sparse.csr_matrix, groups: np.ndarray) -> sparse.csr_matrix:
    """The walk between groups, from a random cell of each."""
    n_cells, n_groups = len(groups), int(groups.max()) + 1
    membership = sparse.csr_matrix((np.ones(n_cells), (np.arange(n_cells), groups)), (n_cells, n_groups))
    sizes = np.bincount(groups, minlength=n_groups)
    return sparse.csr_matrix(sparse.diags(1 / sizes) @ (membership.T @ transitions @ membership))


def group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Means of the cells' values by group."""
    return np.bincount(groups, weights=values) / np.bincount(groups)


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
