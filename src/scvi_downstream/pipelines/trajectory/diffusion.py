"""What scanpy makes of the neighbours graph: diffusion pseudotime from the start, and PAGA's edges of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from scvi_downstream.cells.obs import as_categories
from scvi_downstream.graphs.neighbors import NeighborsGraph, nearest_distances
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.start import Reach, reach_of_start, root_cell
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet

if TYPE_CHECKING:
    from anndata import AnnData

MIN_CELLS = 10  # That must be connected to the start: among fewer no eigenvector tells an order from noise.
# Start cells that take the root's place in turn: enough for the lowest correlation to be seen.
N_OTHER_ROOTS = 10
# PAGA connectivity: edges between two clusters as a share of those expected if cells were joined at random.
BARELY_CONNECTED = 0.05


def order_by_diffusion(
    neighbors: NeighborsGraph,
    landmarks: pd.DataFrame,
    trajectory_start: dict[str, Any],
    options: TrajectoryOptions,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Diffusion pseudotime from the outermost start cell.

    Returns
    -------
    ``dpt_pseudotime`` by cell, NaN where the start does not reach; the root, how the order depends on it, and sentences
    on cells that cannot be reached.
    """
    reach = reach_of_start(neighbors, landmarks, trajectory_start)
    pseudotime, coordinates, root = order_from_outermost(neighbors, reach, options, seed)
    facts = {
        "root": str(neighbors.cells[root]),
        "root_dependence": root_dependence(coordinates, root, reach.starts),
        "n_reachable": int(reach.reachable.sum()),
        "sentences": reach.sentences,
    }
    return pseudotime, facts


def order_from_outermost(
    neighbors: NeighborsGraph, reach: Reach, options: TrajectoryOptions, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Diffusion pseudotime by cell, the coordinates in which it is a distance, and the position of the root."""
    n_components = options.diffusion_components
    coordinates = diffusion_coordinates(neighbors, reach.reachable, n_components=n_components, seed=seed)
    root = root_cell(reach.starts, coordinates.to_numpy(), neighbors)
    return diffusion_pseudotime(coordinates, root), coordinates, root


def diffusion_coordinates(
    neighbors: NeighborsGraph, reachable: np.ndarray, *, n_components: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Coordinates in which Euclidean distance is diffusion pseudotime.

    Eigenvectors of scanpy's density-normalised random walk, each times ``λ / (1 - λ)``: the sum over walks of
    every length. scanpy's own pseudotime leaves out whatever has an eigenvalue of 0.9994 or more, as what tells
    components apart; within one component only the constant vector is without meaning, and on long trajectories of
    many cells the first component that matters is above that. ``reachable`` is a mask of one connected part of the
    graph, ``n_components`` counts the constant vector as scanpy's ``n_dcs`` does.

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
    """``dpt_pseudotime`` by cell: distance from the root in diffusion coordinates, the farthest cell at 1.

    NaN for cells that cannot be reached. ``root`` is a position (Haghverdi et al. 2016, doi:10.1038/nmeth.3971).

    Raises
    ------
    InputError
        The root has no coordinates.
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

    At most 10 start cells, evenly spread, take the root's place in turn. ``n_other_roots``, and the ``lowest`` and
    ``median`` Spearman correlation of their order with the root's; NaN without another start cell.
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


def scanpy_graph(neighbors: NeighborsGraph, cells: np.ndarray | None = None) -> AnnData:
    """Cells without genes, and the graph among them in ``obsp``: those of the mask ``cells``, or all.

    ``connectivities`` and ``distances`` (each cell's ``n_neighbors - 1`` nearest other cells) are in float64:
    scanpy computes in the type that it is given.
    """
    from anndata import AnnData

    n_cells = len(neighbors.cells)
    distances = nearest_distances(neighbors).astype(np.float64)
    connectivities = sparse.csr_matrix(neighbors.connectivities, dtype=np.float64, copy=True)
    kept = np.arange(n_cells) if cells is None else np.flatnonzero(cells)
    obs = pd.DataFrame(index=neighbors.cells[kept].astype(str))
    graph = AnnData(sparse.csr_matrix((len(kept), 0), dtype=np.float32), obs)
    graph.obsp["connectivities"] = connectivities[kept][:, kept]
    graph.obsp["distances"] = distances[kept][:, kept]
    graph.uns["neighbors"] = {
        "connectivities_key": "connectivities",
        "distances_key": "distances",
        "params": {"n_neighbors": neighbors.n_neighbors, "method": "umap", "metric": "euclidean"},
    }
    return graph


def connect_clusters(neighbors: NeighborsGraph, landmarks: pd.DataFrame) -> pd.DataFrame:
    """PAGA's connectivities of all pairs of clusters that share an edge of the graph.

    ``landmark`` holds the clusters of the cells of the graph, in the same order; cells without one are left out.

    Returns
    -------
    ``cluster_1``, ``cluster_2`` (each pair once, in the order of the categories), ``connectivity`` in (0, 1] (edges
    between the clusters as a share of those expected if they were drawn at random) and ``in_tree``: whether the edge
    belongs to the spanning tree of the strongest ones; strongest first.

    References
    ----------
    Wolf et al. (2019), doi:10.1186/s13059-019-1663-x.
    """
    groups = as_categories(landmarks["landmark"])
    names = groups.categories.astype(str).to_numpy(dtype=object)
    strength = tree = np.zeros((len(names), len(names)))
    if len(names) > 1:
        import scanpy as sc

        graph = scanpy_graph(neighbors, ~groups.isna())
        graph.obs["cluster"] = groups[~groups.isna()]
        with quiet():
            sc.tl.paga(graph, groups="cluster")
        strength = graph.uns["paga"]["connectivities"].toarray()
        tree = graph.uns["paga"]["connectivities_tree"].toarray()
    first, second = np.triu_indices(len(names), 1)
    table = pd.DataFrame(
        {
            "cluster_1": names[first],
            "cluster_2": names[second],
            "connectivity": np.maximum(strength, strength.T)[first, second],
            "in_tree": np.maximum(tree, tree.T)[first, second] > 0,
        }
    )
    connected = table[table["connectivity"] > 0]
    return connected.sort_values("connectivity", ascending=False, kind="stable", ignore_index=True)


def barely_connected(edges: pd.DataFrame, start_cluster: str) -> list[str]:
    """Sentences on clusters to which only weak edges of :func:`connect_clusters` lead from the start.

    What a kNN graph joins by a few edges, PAGA tells from what belongs together (Wolf et al. 2019,
    doi:10.1186/s13059-019-1663-x): a cluster is barely connected when every path from the start to it crosses an
    edge below 0.05. Clusters that are not connected at all are the business of :func:`.start.reach_from`.
    """
    linked = _clusters_linked_to(start_cluster, edges)
    believed = _clusters_linked_to(start_cluster, edges[edges["connectivity"] >= BARELY_CONNECTED])
    doubtful = linked - believed
    if not doubtful:
        return []
    crossing = edges[
        edges["cluster_1"].isin(believed) & edges["cluster_2"].isin(doubtful)
        | edges["cluster_2"].isin(believed) & edges["cluster_1"].isin(doubtful)
    ]
    named = pd.unique(edges[["cluster_1", "cluster_2"]].to_numpy().ravel())
    ordered = [name for name in named if name in doubtful]
    several = len(ordered) > 1
    return [
        f"cluster{'s' if several else ''} {', '.join(ordered)} {'are' if several else 'is'} barely connected to the "
        f"start (PAGA connectivity {crossing['connectivity'].max():.3f} at most, where 1 is that of mixed cells): "
        "pseudotime there is not to be believed"
    ]


def _clusters_linked_to(cluster: str, edges: pd.DataFrame) -> set[str]:
    names = pd.Index(pd.unique(np.r_[[cluster], edges["cluster_1"], edges["cluster_2"]].astype(object)))
    pair = names.get_indexer(edges["cluster_1"]), names.get_indexer(edges["cluster_2"])
    graph = sparse.coo_matrix((np.ones(len(edges)), pair), shape=(len(names), len(names)))
    _, codes = csgraph.connected_components(graph, directed=False)
    return set(names[codes == codes[names.get_loc(cluster)]])
