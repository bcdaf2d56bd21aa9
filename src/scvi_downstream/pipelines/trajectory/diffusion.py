"""Diffusion pseudotime: how far a random walk on the neighbours graph is from the root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.obs import as_categories
from scvi_downstream.graphs.neighbors import NeighborsGraph, nearest_distances
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet

if TYPE_CHECKING:
    from anndata import AnnData


def scanpy_graph(neighbors: NeighborsGraph, cells: np.ndarray | None = None) -> AnnData:
    """Cells without genes, and the graph among them in ``obsp``.

    Parameters
    ----------
    neighbors
        kNN graph of ``n_cells`` cells.
    cells
        ``(n_cells,)`` mask of the cells to keep; all of them when left out.

    Returns
    -------
    ``n_kept`` × 0, with ``connectivities`` and ``distances`` (each cell's ``n_neighbors - 1`` nearest other cells) in
    float64: scanpy computes in the type that it is given.
    """
    from anndata import AnnData

    n_cells = len(neighbors.cells)
    distances = nearest_distances(neighbors).astype(np.float64)
    connectivities = sparse.csr_matrix(neighbors.connectivities, dtype=np.float64, copy=True)
    kept = np.arange(n_cells) if cells is None else np.flatnonzero(cells)
    graph = AnnData(
        X=sparse.csr_matrix((len(kept), 0), dtype=np.float32),
        obs=pd.DataFrame(index=neighbors.cells[kept].astype(str)),
    )
    graph.obsp["connectivities"] = connectivities[kept][:, kept]
    graph.obsp["distances"] = distances[kept][:, kept]
    graph.uns["neighbors"] = {
        "connectivities_key": "connectivities",
        "distances_key": "distances",
        "params": {"n_neighbors": neighbors.n_neighbors, "method": "umap", "metric": "euclidean"},
    }
    return graph


MIN_CELLS = 10
N_OTHER_ROOTS = 10


def diffusion_coordinates(
    neighbors: NeighborsGraph, reachable: np.ndarray, *, n_components: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Coordinates in which Euclidean distance is diffusion pseudotime.

    Eigenvectors of scanpy's density-normalised random walk, each times ``λ / (1 - λ)``: the sum over walks of every
    length. scanpy's own pseudotime leaves out whatever has an eigenvalue of 0.9994 or more, as what tells components
    apart; within one component only the constant vector is without meaning, and on long trajectories of many cells
    the first component that matters is above that.

    Parameters
    ----------
    neighbors
        kNN graph of ``n_cells`` cells.
    reachable
        ``(n_cells,)`` mask of one connected part of the graph.
    n_components
        Number of eigenvectors, the constant one included, as scanpy counts ``n_dcs``.
    seed
        Of the eigensolver's first vector.

    Returns
    -------
    Cells (index ``cell``, all of them) × ``DC1`` … (``n_components - 1``); NaN where not ``reachable``.

    Raises
    ------
    InputError
        Fewer than 10 cells are reachable.

    References
    ----------
    Haghverdi et al. (2016), doi:10.1038/nmeth.3971; the sum over all walks: Wolf et al. (2019),
    doi:10.1186/s13059-019-1663-x.
    """
    import scanpy as sc

    n_reachable = int(reachable.sum())
    if n_reachable < MIN_CELLS:
        raise InputError(
            f"only {n_reachable} cells are connected to the trajectory start, and diffusion pseudotime needs "
            f"{MIN_CELLS}; choose another start"
        )
    graph = scanpy_graph(neighbors, reachable)
    with quiet():
        sc.tl.diffmap(graph, n_comps=max(min(n_components, n_reachable - 2), 3), random_state=seed)
    eigenvalues = np.asarray(graph.uns["diffmap_evals"], dtype=np.float64)[1:]
    vectors = np.asarray(graph.obsm["X_diffmap"], dtype=np.float64)[:, 1:]
    # An eigenvalue of 1 to float32's precision would be an infinite distance.
    weights = eigenvalues / np.maximum(1 - eigenvalues, np.finfo(np.float32).eps)
    coordinates = np.full((len(reachable), len(eigenvalues)), np.nan)
    coordinates[reachable] = vectors * weights
    columns = [f"DC{i + 1}" for i in range(len(eigenvalues))]
    return pd.DataFrame(coordinates, index=pd.Index(neighbors.cells, name="cell"), columns=columns)


def diffusion_pseudotime(coordinates: pd.DataFrame, root: int) -> pd.DataFrame:
    """Distance from the root in diffusion coordinates, the farthest cell at 1.

    Parameters
    ----------
    coordinates
        Of :func:`diffusion_coordinates`.
    root
        Position of the root cell.

    Returns
    -------
    ``dpt_pseudotime`` in [0, 1] by cell; NaN for cells that cannot be reached.

    Raises
    ------
    InputError
        The root has no coordinates.

    References
    ----------
    Haghverdi et al. (2016), doi:10.1038/nmeth.3971.
    """
    points = coordinates.to_numpy()
    if not np.isfinite(points[root]).all():
        raise InputError(
            f"the root cell '{coordinates.index[root]}' is not among the connected cells; choose another start"
        )
    distance = np.linalg.norm(points - points[root], axis=1)
    return pd.DataFrame({"dpt_pseudotime": distance / np.nanmax(distance)}, index=coordinates.index)


def root_dependence(coordinates: pd.DataFrame, root: int, start_cells: np.ndarray) -> dict[str, float]:
    """How much the order of the cells depends on which of the start cells is the root.

    Parameters
    ----------
    coordinates
        Of :func:`diffusion_coordinates`.
    root
        Position of the root cell.
    start_cells
        Positions of the start cells; at most 10, evenly spread, take the root's place in turn.

    Returns
    -------
    ``n_other_roots``, and the ``lowest`` and ``median`` Spearman correlation of their order with the root's; NaN
    without another start cell.
    """
    from scipy.stats import spearmanr

    points = coordinates.to_numpy()
    finite = np.isfinite(points).all(axis=1)
    others = np.array([cell for cell in start_cells if finite[cell] and cell != root], dtype=np.int64)
    if not len(others):
        return {"n_other_roots": 0, "lowest": np.nan, "median": np.nan}
    others = others[np.linspace(0, len(others) - 1, min(len(others), N_OTHER_ROOTS)).astype(np.int64)]
    inside = points[finite]
    own = np.linalg.norm(inside - points[root], axis=1)
    rho = [spearmanr(own, np.linalg.norm(inside - points[other], axis=1)).statistic for other in others]
    return {"n_other_roots": len(others), "lowest": float(np.min(rho)), "median": float(np.median(rho))}


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
