from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.pipelines.trajectory.diffusion import (
    barely_connected,
    connect_clusters,
    diffusion_coordinates,
    diffusion_pseudotime,
    root_dependence,
    scanpy_graph,
)
from scvi_downstream.pipelines.trajectory.start import reach_from, root_cell
from scvi_downstream.runtime.errors import InputError

from .conftest import Kind, Plant, Planted


def paga_edges(neighbors: NeighborsGraph, clusters: pd.Series) -> pd.DataFrame:
    return connect_clusters(neighbors, clusters.to_frame("landmark"))


def graph_of(cells: Planted) -> NeighborsGraph:
    return neighbors_graph(
        cells.clusters.index, cells.latent, n_neighbors=15, n_search=30, exact_up_to=1000, seed=0
    )


def everything(graph: NeighborsGraph) -> np.ndarray:
    return np.ones(len(graph.cells), dtype=bool)


def test_pseudotime_is_that_of_scanpy(planted: Plant) -> None:
    import scanpy as sc

    tree = planted("bifurcating")
    graph = graph_of(tree)
    reference = scanpy_graph(graph)
    sc.tl.diffmap(reference, n_comps=10)
    reference.uns["iroot"] = tree.root_cell
    sc.tl.dpt(reference, n_dcs=10)
    coordinates = diffusion_coordinates(graph, everything(graph), n_components=10)
    found = diffusion_pseudotime(coordinates, tree.root_cell)["dpt_pseudotime"]
    assert coordinates.shape == (600, 9)
    np.testing.assert_allclose(found, reference.obs["dpt_pseudotime"], rtol=1e-4, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["linear", "bifurcating", "three_way"])
def test_planted_time_is_recovered_from_a_start_cluster(kind: Kind, planted: Plant) -> None:
    for seed in range(3):
        tree = planted(kind, seed=seed)
        graph = graph_of(tree)
        starts = np.flatnonzero(tree.clusters == tree.clusters.iloc[tree.root_cell])
        coordinates = diffusion_coordinates(graph, everything(graph))
        root = root_cell(starts, coordinates.to_numpy(), graph)
        pseudotime = diffusion_pseudotime(coordinates, root)["dpt_pseudotime"]
        assert np.mean(tree.time < tree.time[root]) < 0.06
        assert spearmanr(pseudotime, tree.time).statistic > 0.9
        assert pseudotime.iloc[root] == 0
        assert pseudotime.max() == 1


def test_cells_that_cannot_be_reached_have_no_pseudotime(planted: Plant) -> None:
    island = planted("disconnected")
    graph = graph_of(island)
    reach = reach_from(graph, np.array([island.root_cell]), island.clusters)
    coordinates = diffusion_coordinates(graph, reach.reachable)
    pseudotime = diffusion_pseudotime(coordinates, island.root_cell)["dpt_pseudotime"]
    assert np.array_equal(pseudotime.isna(), island.branch == "island")
    trunk = island.branch == "trunk"
    assert spearmanr(pseudotime[trunk], island.time[trunk]).statistic > 0.9
    with pytest.raises(InputError, match="not among the connected cells"):
        diffusion_pseudotime(coordinates, int(np.flatnonzero(~trunk)[0]))


def test_the_same_seed_gives_the_same_bits(planted: Plant) -> None:
    graph = graph_of(planted("linear"))
    one, two = (diffusion_coordinates(graph, everything(graph), seed=3) for _ in range(2))
    assert np.array_equal(one, two)


def test_a_few_cells_are_refused(planted: Plant) -> None:
    graph = graph_of(planted("linear"))
    few = np.zeros(600, dtype=bool)
    few[:6] = True
    with pytest.raises(InputError, match="only 6 cells"):
        diffusion_coordinates(graph, few)


def test_the_order_hardly_depends_on_the_root_within_the_tip_of_a_line(planted: Plant) -> None:
    line = planted("linear")
    graph = graph_of(line)
    coordinates = diffusion_coordinates(graph, everything(graph))
    tip = np.flatnonzero(line.time < 0.05)
    found = root_dependence(coordinates, line.root_cell, tip)
    assert found["n_other_roots"] == 10
    assert found["lowest"] > 0.9
    both_ends = np.r_[line.root_cell, line.time.argmax()]
    assert root_dependence(coordinates, line.root_cell, both_ends)["lowest"] < -0.9
    assert np.isnan(root_dependence(coordinates, line.root_cell, np.array([line.root_cell]))["lowest"])


@pytest.mark.thorough
def test_edges_are_those_of_scanpy_on_its_own_neighbors(planted: Plant) -> None:
    import scanpy as sc
    from anndata import AnnData

    tree = planted("bifurcating")
    reference = AnnData(np.asarray(tree.latent, dtype=np.float32))
    reference.obs["cluster"] = tree.clusters.to_numpy()
    sc.pp.neighbors(reference, n_neighbors=15, use_rep="X", transformer="sklearn")
    sc.tl.paga(reference, groups="cluster")
    expected = reference.uns["paga"]["connectivities"].toarray()
    names = tree.clusters.cat.categories
    found = np.zeros_like(expected)
    for edge in paga_edges(graph_of(tree), tree.clusters).itertuples():
        i, j = names.get_loc(edge.cluster_1), names.get_loc(edge.cluster_2)
        found[i, j] = found[j, i] = edge.connectivity
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_tree_spans_connected_clusters_and_no_more(planted: Plant) -> None:
    tree = planted("three_way")
    edges = paga_edges(graph_of(tree), tree.clusters)
    assert edges["in_tree"].sum() == tree.clusters.nunique() - 1
    assert edges["connectivity"].is_monotonic_decreasing
    assert edges["connectivity"].between(0, 1, inclusive="right").all()


def test_clusters_of_an_island_share_no_edge(planted: Plant) -> None:
    island = planted("disconnected")
    of_cluster = pd.Series(island.branch).groupby(island.clusters.to_numpy(), observed=True).first()
    edges = paga_edges(graph_of(island), island.clusters)
    assert (of_cluster[edges["cluster_1"]].to_numpy() == of_cluster[edges["cluster_2"]].to_numpy()).all()
    assert edges["in_tree"].sum() == island.clusters.nunique() - 2


def test_one_cluster_has_no_edges(planted: Plant) -> None:
    line = planted("linear")
    one = pd.Series(pd.Categorical(["all"] * 600), index=line.clusters.index)
    edges = paga_edges(graph_of(line), one)
    assert edges.empty
    assert edges.columns.tolist() == ["cluster_1", "cluster_2", "connectivity", "in_tree"]


def bridged(n_bridge: int) -> tuple[NeighborsGraph, pd.Series]:
    """Two blobs and a few cells between them."""
    rng = np.random.default_rng(0)
    along = np.linspace(0, 12, n_bridge + 2)[1:-1]
    bridge = np.column_stack([along, np.zeros((n_bridge, 2))])
    points = np.vstack([rng.normal(0, 1, (200, 3)), rng.normal([12, 0, 0], 1, (200, 3)), bridge])
    names = np.r_[np.repeat(["left", "right"], 200), np.where(along < 6, "left", "right")]
    cells = pd.Index([f"cell_{i}" for i in range(len(points))])
    graph = neighbors_graph(cells, points, n_neighbors=15, n_search=15, exact_up_to=1000, seed=0)
    return graph, pd.Series(pd.Categorical(names), index=cells)


def test_a_thin_bridge_is_barely_a_connection() -> None:
    graph, clusters = bridged(12)
    assert reach_from(graph, np.array([0]), clusters).reachable.all()
    (sentence,) = barely_connected(paga_edges(graph, clusters), "left")
    assert sentence.startswith("cluster right is barely connected to the start (PAGA connectivity 0.0")


@pytest.mark.parametrize("kind", ["linear", "bifurcating", "three_way"])
def test_planted_trees_are_well_connected(kind: str, planted: Plant) -> None:
    for seed in range(3):
        tree = planted(kind, seed=seed)  # type: ignore[arg-type]
        graph = neighbors_graph(
            tree.clusters.index, tree.latent, n_neighbors=15, n_search=15, exact_up_to=1000, seed=0
        )
        start = str(tree.clusters.iloc[tree.root_cell])
        assert barely_connected(paga_edges(graph, tree.clusters), start) == []


def test_a_strong_detour_makes_a_weak_edge_harmless() -> None:
    edges = pd.DataFrame(
        [("a", "b", 0.5, True), ("b", "c", 0.4, True), ("a", "c", 0.01, False), ("c", "d", 0.02, True)],
        columns=["cluster_1", "cluster_2", "connectivity", "in_tree"],
    )
    (sentence,) = barely_connected(edges, "a")
    assert sentence.startswith("cluster d is barely connected")
    assert "0.020" in sentence
    assert len(barely_connected(edges, "d")) == 1
    assert "a, b, c" in barely_connected(edges, "d")[0]
