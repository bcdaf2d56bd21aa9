from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from scvi_downstream.errors import InputError
from scvi_downstream.pipelines.trajectory.edge_projection import project_onto_edges
from scvi_downstream.pipelines.trajectory.graph_pseudotime import branches_of, order_along_graph, root_node
from scvi_downstream.pipelines.trajectory.principal_graph import (
    PrincipalGraph,
    learn_principal_graph,
    nodes_for,
    prune,
)


def y_shape() -> PrincipalGraph:
    """Ten nodes up a stem, five along each of two arms."""
    stem = np.column_stack([np.zeros(10), np.arange(10.0)])
    left = np.column_stack([-np.arange(1.0, 6), 9 + np.arange(1.0, 6)])
    right = left * [-1, 1]
    edges = [(i, i + 1) for i in range(9)] + [(9, 10), (9, 15)]
    edges += [(i, i + 1) for i in (*range(10, 14), *range(15, 19))]
    return PrincipalGraph(np.vstack([stem, left, right]), np.array(edges), 0, 100)


@pytest.mark.parametrize(("kind", "tips"), [("linear", 2), ("bifurcating", 3), ("three_way", 4)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_trees_are_found_and_cells_ordered(planted, kind, tips, seed) -> None:
    cells = planted(kind, seed=seed)
    graph = learn_principal_graph(cells.latent, seed=seed)
    order = order_along_graph(graph, cells.latent, np.argsort(cells.time)[:10])
    assert (graph.degrees == 1).sum() == tips
    assert spearmanr(order.pseudotime, cells.time).statistic > 0.9
    # each planted branch has the most of its cells on one branch of the graph, another one for each
    main = {
        name: np.bincount(order.branch[cells.branch == name]).argmax() for name in np.unique(cells.branch)
    }
    assert len(set(main.values())) == len(main)


def test_the_result_does_not_depend_on_units(planted) -> None:
    cells = planted("bifurcating")
    starts = np.argsort(cells.time)[:10]
    plain = order_along_graph(learn_principal_graph(cells.latent), cells.latent, starts)
    scaled = order_along_graph(learn_principal_graph(cells.latent * 1000), cells.latent * 1000, starts)
    assert spearmanr(plain.pseudotime, scaled.pseudotime).statistic > 0.999


def test_same_seed_same_graph(planted) -> None:
    latent = planted("linear").latent
    first, second = learn_principal_graph(latent, seed=3), learn_principal_graph(latent, seed=3)
    np.testing.assert_array_equal(first.nodes, second.nodes)
    np.testing.assert_array_equal(first.edges, second.edges)


def test_the_graph_is_a_tree(planted) -> None:
    graph = learn_principal_graph(planted("three_way").latent)
    adjacency = np.zeros((len(graph.nodes), len(graph.nodes)))
    adjacency[tuple(graph.edges.T)] = 1
    assert len(graph.edges) == len(graph.nodes) - 1
    assert connected_components(adjacency, directed=False)[0] == 1


def test_short_branches_are_pruned_and_the_rest_stays_a_tree() -> None:
    graph = y_shape()
    nodes, edges = prune(graph.nodes, graph.edges, 6)
    assert len(nodes) == 15  # one arm went; then there is no branch point that would make the other one short
    assert len(edges) == len(nodes) - 1
    adjacency = np.zeros((len(nodes), len(nodes)))
    adjacency[tuple(edges.T)] = 1
    assert connected_components(adjacency, directed=False)[0] == 1
    kept, _ = prune(graph.nodes, graph.edges, 5)
    assert len(kept) == 20


def test_cells_are_projected_onto_the_nearest_edge() -> None:
    graph = y_shape()
    edge, along = project_onto_edges(
        graph.nodes, graph.edges, np.array([[0.2, 3.25], [0.0, -4.0], [-2.5, 11.5]])
    )
    assert graph.edges[edge].tolist() == [[3, 4], [0, 1], [11, 12]]
    assert along == pytest.approx([0.25, 0.0, 0.5])


def test_pseudotime_is_the_way_along_the_tree() -> None:
    graph = y_shape()
    points = np.vstack([np.repeat(graph.nodes[:1], 8, axis=0), [[0, 5.0]], [[-5, 14.0]]])
    order = order_along_graph(graph, points, np.arange(8))
    assert order.root == 0
    assert order.pseudotime[-2:] == pytest.approx([5, 9 + 5 * np.sqrt(2)])
    assert len(np.unique(branches_of(graph, order.node_pseudotime))) == 3


def test_the_root_is_where_starts_are_frequent_not_where_cells_are_many() -> None:
    graph = y_shape()
    nearest = np.r_[np.full(10, 0), np.full(500, 5)]
    starts = np.r_[np.arange(8), np.arange(10, 30)]  # 8 of the 10 cells at the tip, 20 of 500 half-way
    assert root_node(graph, nearest, starts) in {0, 1}


def test_more_cells_than_are_learnt_on_are_all_ordered(planted, monkeypatch) -> None:
    monkeypatch.setattr("scvi_downstream.pipelines.trajectory.principal_graph.MOST_CELLS", 300)
    cells = planted("bifurcating")
    graph = learn_principal_graph(cells.latent)
    order = order_along_graph(graph, cells.latent, np.argsort(cells.time)[:10])
    assert graph.n_learnt_on == 300
    assert spearmanr(order.pseudotime, cells.time).statistic > 0.9


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(InputError, match="at least 30 cells"):
        learn_principal_graph(np.zeros((29, 2)))
    with pytest.raises(InputError, match="NaN"):
        learn_principal_graph(np.full((100, 2), np.nan))


def test_number_of_nodes_grows_slowly() -> None:
    assert nodes_for(90) == 30
    assert nodes_for(1000) < nodes_for(100_000) < 150
