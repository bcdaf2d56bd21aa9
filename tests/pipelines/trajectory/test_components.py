from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.pipelines.trajectory.components import barely_connected, reach_from
from scvi_downstream.pipelines.trajectory.diffusion import paga_edges
from scvi_downstream.runtime.errors import InputError

from .conftest import Plant


def blocks(sizes: list[int], seed: int = 0) -> NeighborsGraph:
    """Cells in parts of given sizes, each part a ring."""
    parts = []
    for size in sizes:
        ring = sparse.coo_matrix(
            (np.ones(size), (np.arange(size), (np.arange(size) + 1) % size)), (size, size)
        )
        parts.append(ring + ring.T)
    joined = sparse.csr_matrix(sparse.block_diag(parts))
    order = np.random.default_rng(seed).permutation(sum(sizes))
    n_cells = len(order)
    return NeighborsGraph(
        cells=pd.Index([f"cell_{i}" for i in range(n_cells)]),
        indices=np.arange(n_cells, dtype=np.int32)[:, None],
        distances=np.zeros((n_cells, 1), dtype=np.float32),
        connectivities=joined[order][:, order],
        n_neighbors=1,
        exact=True,
    )


def names_of_parts(graph: NeighborsGraph) -> pd.Series:
    _, codes = sparse.csgraph.connected_components(graph.connectivities, directed=False)
    return pd.Series(pd.Categorical(codes.astype(str)), index=graph.cells)


@given(st.lists(st.integers(10, 40), min_size=1, max_size=5), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_what_is_reached_is_the_part_of_the_start(sizes: list[int], seed: int) -> None:
    graph = blocks(sizes, seed)
    clusters = names_of_parts(graph)
    reach = reach_from(graph, np.array([0]), clusters)
    assert np.array_equal(reach.reachable, (clusters == clusters.iloc[0]).to_numpy())
    assert sorted(np.bincount(reach.parts), reverse=True) == sorted(sizes, reverse=True)
    assert len(reach.sentences) == (len(sizes) > 1)


def test_connected_cells_need_no_sentence() -> None:
    graph = blocks([50])
    reach = reach_from(graph, np.array([3]), names_of_parts(graph))
    assert reach.reachable.all()
    assert reach.sentences == ()


def test_what_is_not_connected_is_named() -> None:
    graph = blocks([700, 300, 4, 5])
    clusters = names_of_parts(graph)
    largest = np.flatnonzero(clusters == clusters.value_counts().index[0])
    reach = reach_from(graph, largest[:20], clusters)
    second = clusters.value_counts().index[1]
    assert reach.sentences == (
        f"300 of 1,009 cells (cluster {second}) are not connected to the start: they have no pseudotime",
        "9 of 1,009 cells are outliers, in 2 small groups that are connected to no others: they have no pseudotime",
    )


def test_start_cells_elsewhere_are_left_out_and_said() -> None:
    graph = blocks([60, 40])
    clusters = names_of_parts(graph)
    in_small = np.flatnonzero(clusters == clusters.value_counts().index[1])
    in_large = np.flatnonzero(clusters == clusters.value_counts().index[0])
    reach = reach_from(graph, np.r_[in_small[:5], in_large[:2]], clusters)
    assert np.array_equal(np.flatnonzero(reach.reachable), in_small)
    assert "2 of 7 start cells" in reach.sentences[-1]


def test_a_start_among_outliers_or_none_is_refused() -> None:
    graph = blocks([800, 5])
    clusters = names_of_parts(graph)
    outlier = np.flatnonzero(clusters == clusters.value_counts().index[1])[:1]
    with pytest.raises(InputError, match="5 of 805 cells that are connected to no others"):
        reach_from(graph, outlier, clusters)
    with pytest.raises(InputError, match="no start cells"):
        reach_from(graph, np.array([], dtype=int), clusters)


def test_a_planted_island_is_found(planted: Plant) -> None:
    island = planted("disconnected")
    graph = neighbors_graph(
        island.clusters.index, island.latent, n_neighbors=15, n_search=15, exact_up_to=1000, seed=0
    )
    reach = reach_from(graph, np.array([island.root_cell]), island.clusters)
    assert np.array_equal(reach.reachable, island.branch == "trunk")
    assert reach.sentences[0].startswith("300 of 600 cells (clusters ")


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
