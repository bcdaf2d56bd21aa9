"""A tree through the cells, its nodes and tips, and pseudotime along it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from scvi_downstream.graphs.neighbors import find_neighbors
from scvi_downstream.pipelines.trajectory.principal_curves import project_onto_edges
from scvi_downstream.pipelines.trajectory.principal_graph import (
    MIN_CELLS,
    PrincipalGraph,
    _spanning_edges,
    branches_of,
    distances_from,
    extend_tips,
    fit_tree,
    graph_table,
    learn_principal_graph,
    nodes_for,
    order_along_graph,
    place_nodes,
    prune,
    root_node,
    torn_share,
)
from scvi_downstream.runtime.errors import InputError

TIPS = {"linear": 2, "bifurcating": 3, "three_way": 4}


def is_tree(nodes: np.ndarray, edges: np.ndarray) -> bool:
    links = csr_matrix((np.ones(len(edges)), edges.T), shape=(len(nodes), len(nodes)))
    return len(edges) == len(nodes) - 1 and connected_components(links, directed=False)[0] == 1


def test_number_of_nodes_is_that_of_monocle() -> None:
    # cal_ncenter of monocle 2.26 in R
    assert [nodes_for(n) for n in (600, 1805, 10_000, 50_000)] == [116, 124, 133, 140]
    assert nodes_for(90) == 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", list(TIPS))
def test_planted_tips(planted: Callable[..., Any], kind: str, seed: int) -> None:
    cells = planted(kind, seed=seed)
    graph = learn_principal_graph(cells.latent, seed=seed)
    assert is_tree(graph.nodes, graph.edges)
    assert (graph.degrees == 1).sum() == TIPS[kind]
    assert np.maximum(graph.degrees - 2, 0).sum() == TIPS[kind] - 2
    # Every true branch has a tip of its own, or the root has.
    tips = graph.nodes[graph.degrees == 1]
    nearest = np.linalg.norm(tips[:, None] - cells.latent, axis=2).argmin(axis=1)
    assert set(cells.branch[nearest]) == set(cells.branch)


def test_few_cells_lie_beyond_the_tips(planted: Callable[..., Any]) -> None:
    cells = planted("bifurcating")
    graph = learn_principal_graph(cells.latent)
    edge, along = project_onto_edges(graph.nodes, graph.edges, cells.latent)
    ends = np.where(along <= 0, graph.edges[edge, 0], np.where(along >= 1, graph.edges[edge, 1], -1))
    assert np.isin(ends, np.flatnonzero(graph.degrees == 1)).mean() < 0.03


@pytest.mark.thorough
def test_same_seed_same_bits_and_no_units(planted: Callable[..., Any]) -> None:
    latent = planted("bifurcating").latent
    once, again = learn_principal_graph(latent, seed=3), learn_principal_graph(latent, seed=3)
    np.testing.assert_array_equal(once.nodes, again.nodes)
    np.testing.assert_array_equal(once.edges, again.edges)
    scaled = learn_principal_graph(latent * 1024, seed=3)  # a power of two: exact
    np.testing.assert_allclose(scaled.nodes, once.nodes * 1024, rtol=1e-6)


def test_nothing_is_printed(planted: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    learn_principal_graph(planted("linear").latent)
    assert capfd.readouterr().out == ""


def test_large_data_are_sampled(planted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from scvi_downstream.pipelines.trajectory import principal_graph

    monkeypatch.setattr(principal_graph, "MOST_CELLS", 300)
    graph = learn_principal_graph(planted("bifurcating").latent)
    assert graph.n_learnt_on == 300
    assert (graph.degrees == 1).sum() == 3


def test_many_cells_in_few_places_still_make_a_tree() -> None:
    rng = np.random.default_rng(0)
    places = np.column_stack([np.linspace(0, 10, 40), np.zeros((40, 2))])
    latent = np.vstack([places[rng.integers(0, 40, 150)], places[rng.integers(0, 40, 450)]])
    latent[150:] += rng.normal(0, 0.2, (450, 3))
    graph = learn_principal_graph(latent, n_nodes=120)
    assert is_tree(graph.nodes, graph.edges)


def test_data_that_have_no_graph() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=f"at least {MIN_CELLS} cells"):
        learn_principal_graph(rng.normal(size=(10, 3)))
    with pytest.raises(InputError, match="NaN"):
        learn_principal_graph(np.full((50, 3), np.nan))
    with pytest.raises(InputError, match="1 places"):
        learn_principal_graph(np.ones((50, 3)))


def star(arms: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Node 0 with arms of so many nodes."""
    edges, first = [], 1
    for length in arms:
        path = [0, *range(first, first + length)]
        edges += list(pairwise(path))
        first += length
    return np.arange(3.0 * first).reshape(first, 3), np.array(edges)


def test_short_branches_are_taken_off_the_shortest_first() -> None:
    nodes, edges = prune(*star([20, 20, 4]), 5)
    assert len(nodes) == 41
    assert np.bincount(edges.ravel()).max() == 2
    # Once one of three short arms is gone, the other two are one path.
    nodes, _ = prune(*star([3, 4, 4]), 10)
    assert len(nodes) == 9


@given(seed=st.integers(0, 500), n_nodes=st.integers(2, 60), shortest=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_what_is_left_of_any_tree_is_a_tree(seed: int, n_nodes: int, shortest: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.column_stack([np.arange(1, n_nodes), [rng.integers(0, i) for i in range(1, n_nodes)]])
    nodes, kept = prune(rng.normal(size=(n_nodes, 2)), edges, shortest)
    assert is_tree(nodes, kept)
    again, _ = prune(nodes, kept, shortest)
    assert len(again) == len(nodes)


CHAIN = np.column_stack([np.arange(9), np.arange(1, 10)])


def on_a_line(n_cells: int = 500, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """``(n_cells, 3)`` along the first axis from 0 to 10, and how far each is."""
    rng = np.random.default_rng(0)
    time = rng.uniform(0, 10, n_cells)
    cells = rng.normal(0, noise, (n_cells, 3))
    cells[:, 0] += time
    return cells, time


def knot() -> np.ndarray:
    """Ten nodes, all close to the middle of the line."""
    nodes = np.zeros((10, 3))
    nodes[:, 0] = np.linspace(4.5, 5.5, 10)
    return nodes


def test_a_knot_spreads_along_the_cells() -> None:
    cells, _ = on_a_line()
    placed = place_nodes(knot(), CHAIN, cells, scale=0.2, pull=5)
    assert (np.diff(placed[:, 0]) > 0).all()
    assert np.ptp(placed[:, 0]) > 7
    assert np.abs(placed[:, 1:]).max() < 0.3


def test_without_pull_and_with_a_tiny_scale_nodes_are_means_of_their_own_cells() -> None:
    cells, _ = on_a_line()
    nodes = knot() * [1.8, 1, 1] - [4, 0, 0]
    placed = place_nodes(nodes, CHAIN, cells, scale=1e-3, pull=1e-9)
    nearest = np.linalg.norm(cells[:, None] - placed, axis=2).argmin(axis=1)
    means = np.array([cells[nearest == node].mean(axis=0) for node in range(10)])
    np.testing.assert_allclose(placed, means, atol=0.02)  # Lloyd's fixed point


@pytest.mark.parametrize("n_nodes", [2, 3, 50, 200])
def test_the_spanning_tree_is_scipys(n_nodes: int) -> None:
    nodes = np.random.default_rng(n_nodes).normal(size=(n_nodes, 5))
    expected = minimum_spanning_tree(csr_matrix(cdist(nodes, nodes))).tocoo()
    pairs = np.sort(np.column_stack([expected.row, expected.col]), axis=1)
    assert sorted(map(tuple, pairs.tolist())) == [tuple(edge) for edge in _spanning_edges(nodes).tolist()]


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32 - 1),
    n_cells=st.integers(40, 200),
    scale=st.floats(0.1, 1),
    pull=st.floats(0.1, 10),
)
@settings(deadline=None, max_examples=20)
def test_the_tree_is_simpleppts(seed: int, n_cells: int, scale: float, pull: float) -> None:
    import simpleppt

    simpleppt.settings.verbosity = 0
    random = np.random.default_rng(seed)
    branch = 6 * random.uniform(size=(n_cells, 1)) * np.eye(3, 5)[random.integers(0, 3, n_cells)]
    cells = branch + 0.4 * random.normal(size=(n_cells, 5))
    start = cells[random.choice(n_cells, n_cells // 4, replace=False)]
    nodes, edges = fit_tree(cells, start, scale=scale, pull=pull)
    reference = simpleppt.ppt(cells, init=start, sigma=scale, lam=pull, nsteps=50, progress=False)
    expected = np.unique(reference.F.T, axis=0)
    np.testing.assert_allclose(nodes, expected, rtol=1e-6, atol=1e-7)
    assert is_tree(nodes, edges)
    lengths = np.linalg.norm(nodes[edges[:, 0]] - nodes[edges[:, 1]], axis=1)
    assert np.linalg.norm(expected[:, None] - expected, axis=2)[tuple(edges.T)].sum() == pytest.approx(
        lengths.sum()
    )


def test_cells_beyond_tips_come_into_order() -> None:
    cells, time = on_a_line()
    before = project_onto_edges(knot(), CHAIN, cells)
    nodes, edges = extend_tips(knot(), CHAIN, cells)
    assert nodes.shape == (12, 3)
    np.testing.assert_array_equal(edges[-2:], [[0, 10], [9, 11]])
    assert sorted(nodes[-2:, 0].round()) == [0, 10]
    edge, along = project_onto_edges(nodes, edges, cells)
    at = nodes[edges[edge, 0], 0] * (1 - along) + nodes[edges[edge, 1], 0] * along
    assert np.corrcoef(at, time)[0, 1] > 0.98
    clipped = [np.isin(place, (0, 1)).mean() for place in (before[1], along)]
    assert clipped[0] > 0.8
    assert clipped[1] < 0.1


def test_tips_without_cells_beyond_them_stay() -> None:
    nodes = np.zeros((10, 3))
    nodes[:, 0] = np.linspace(-50, 60, 10)
    assert extend_tips(nodes, CHAIN, on_a_line()[0])[0] is nodes


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_placement_does_not_depend_on_units(factor: float) -> None:
    cells, _ = on_a_line()
    once = extend_tips(place_nodes(knot(), CHAIN, cells, scale=0.2, pull=5), CHAIN, cells)[0]
    scaled = place_nodes(knot() * factor, CHAIN, cells * factor, scale=0.2 * factor, pull=5)
    np.testing.assert_allclose(extend_tips(scaled, CHAIN, cells * factor)[0], once * factor, rtol=1e-6)


SEEDS = (0, 1, 2, 3)


def fork() -> PrincipalGraph:
    """A stem along x from 0 to 4, whose ends at (4, 3) and (4, -3) are one node apart each."""
    nodes = np.array([[0.0, 0], [2, 0], [4, 0], [4, 3], [4, -3]])
    return PrincipalGraph(nodes, np.array([[1, 0], [1, 2], [3, 2], [2, 4]]), 0, 0)


def test_distance_is_along_the_graph_whatever_the_direction_of_edges() -> None:
    points = np.array([[0.0, 0], [1, 0.2], [3, -0.1], [4, 1], [4.2, 3], [4, -2.5]])
    order = order_along_graph(fork(), points, np.array([0]))
    assert order.root == 0
    np.testing.assert_allclose(order.pseudotime, [0, 1, 3, 5, 7, 6.5], atol=1e-12)
    np.testing.assert_allclose(order.node_pseudotime, [0, 2, 4, 7, 7])
    assert order.branch[0] == order.branch[1] == order.branch[2] == 0
    assert len(set(order.branch[[2, 3, 5]])) == 3


def test_branches_are_numbered_from_the_root_and_only_where_cells_are() -> None:
    graph = fork()
    np.testing.assert_array_equal(branches_of(graph, distances_from(graph, 0))[:2], [0, 0])
    assert branches_of(graph, distances_from(graph, 3))[2] == 0
    order = order_along_graph(graph, np.array([[0.0, 0], [4.0, -2.5]]), np.array([0]))
    assert order.branch.tolist() == [0, 1]


def chain(n_nodes: int) -> PrincipalGraph:
    nodes = np.column_stack([np.arange(n_nodes, dtype=float), np.zeros(n_nodes)])
    return PrincipalGraph(nodes, np.column_stack([np.arange(n_nodes - 1), np.arange(1, n_nodes)]), 0, 0)


def test_one_start_cell_among_others_is_not_the_root() -> None:
    nearest = np.repeat(np.arange(50), 20)
    starts = np.r_[np.arange(12), 600]  # twelve at the tip, one far away
    assert root_node(chain(50), nearest, starts) == 0


def test_a_start_next_to_a_tip_is_the_tip_and_one_in_the_middle_is_not() -> None:
    nearest = np.repeat(np.arange(50), 20)
    assert root_node(chain(50), nearest, np.arange(60, 80)) == 0
    assert root_node(chain(50), nearest, np.arange(500, 520)) in range(24, 27)
    assert root_node(chain(50), nearest, np.arange(0, 300)) == 0  # fifteen nodes of start cells up to the tip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "bifurcating", "three_way"])
def test_planted_time(planted: Callable[..., Any], kind: str) -> None:
    found = []
    for seed in SEEDS:
        cells = planted(kind, seed=seed)
        graph = learn_principal_graph(cells.latent, seed=seed)
        order = order_along_graph(graph, cells.latent, np.argsort(cells.time)[:10])
        found.append(spearmanr(order.pseudotime, cells.time)[0])
        assert graph.degrees[order.root] == 1
        assert order.pseudotime.min() == 0
        assert np.unique(order.pseudotime, return_counts=True)[1].max() < 0.05 * len(cells.time)
    assert min(found) >= 0.93


@pytest.mark.thorough
def test_planted_branches(planted: Callable[..., Any]) -> None:
    from sklearn.metrics import adjusted_rand_score

    cells = planted("bifurcating")
    order = order_along_graph(learn_principal_graph(cells.latent), cells.latent, np.argsort(cells.time)[:10])
    assert spearmanr(order.pseudotime, cells.time)[0] > 0.95
    assert adjusted_rand_score(cells.branch, order.branch) > 0.75
    assert set(cells.branch[order.branch == 0]) >= {"trunk"}


@pytest.mark.slow
def test_time_that_is_not_in_the_cells_is_not_found() -> None:
    rng = np.random.default_rng(0)
    found = []
    for seed in range(6):
        latent, time = rng.normal(size=(300, 8)), rng.permutation(300)
        order = order_along_graph(learn_principal_graph(latent, seed=seed), latent, np.argsort(time)[:10])
        # The start cells set the root, so they are not judged.
        judged = time >= 10
        found.append(spearmanr(order.pseudotime[judged], time[judged])[0])
    assert abs(np.mean(found)) < 0.1


def test_table_has_every_cell_and_nan_where_the_start_does_not_reach() -> None:
    order = order_along_graph(fork(), np.array([[0.0, 0], [4.0, 2.5]]), np.array([0]))
    table = graph_table(order, np.array([True, False, True]), pd.Index(["a", "b", "c"]))
    assert table.index.name == "cell"
    np.testing.assert_allclose(table["graph_pseudotime"], [0, np.nan, 6.5])
    assert table["graph_branch"].tolist()[::2] == ["branch_1", "branch_2"]
    assert table["graph_branch"].isna().tolist() == [False, True, False]


@pytest.mark.slow
def test_worm_time(real_data: Path, reference_components: Callable[[Path], np.ndarray]) -> None:
    import anndata

    file = real_data / "worm_embryo.h5ad"
    latent = reference_components(file)
    time = anndata.read_h5ad(file, backed="r").obs["embryo_time"].to_numpy(float)
    starts = np.flatnonzero(time <= np.quantile(time, 0.03))
    found = [
        spearmanr(order_along_graph(learn_principal_graph(latent, seed=s), latent, starts).pseudotime, time)[
            0
        ]
        for s in (0, 1)
    ]
    assert min(found) > 0.7


def horseshoe() -> PrincipalGraph:
    """Eleven nodes along three sides of a flat box, its two ends close to each other."""
    nodes = np.array([[x, 0.0] for x in range(5)] + [[5, 0.25]] + [[x, 0.5] for x in range(4, -1, -1)])
    return PrincipalGraph(nodes, np.column_stack([np.arange(10), np.arange(1, 11)]), 0, 0)


def test_pairs_across_a_horseshoe_are_torn_and_pairs_along_it_are_not() -> None:
    latent = np.array([[0.0, 0], [0, 0.5], [4, 0], [4, 0.1]])
    indices = np.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    everyone = np.ones(4, dtype=bool)
    assert torn_share(horseshoe(), latent, indices, everyone) == 0.5
    assert torn_share(horseshoe(), latent, indices, np.array([True, False, True, True])) == 0
    assert torn_share(horseshoe(), latent, indices, ~everyone) == 0


@pytest.mark.slow
def test_trees_are_kept_and_noise_is_torn(planted: Callable[..., Any]) -> None:
    def torn(latent: np.ndarray) -> float:
        indices, _ = find_neighbors(latent, 15, exact=True, seed=0)
        return torn_share(learn_principal_graph(latent), latent, indices, np.ones(len(latent), dtype=bool))

    trees = [torn(planted(kind).latent) for kind in ("linear", "bifurcating", "three_way")]
    noise = torn(np.random.default_rng(0).normal(size=(600, 10)))
    assert max(trees) < 0.06 < torn(planted("cycle").latent)
    assert noise > 0.2
