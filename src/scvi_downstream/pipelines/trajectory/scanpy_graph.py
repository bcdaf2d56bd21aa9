"""The shared neighbours graph as scanpy and CellRank expect it, without searching again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.neighbors import NeighborsGraph, nearest_distances

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
