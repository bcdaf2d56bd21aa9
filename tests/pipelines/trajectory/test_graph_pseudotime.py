"""Pseudotime along a principal graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from scvi_downstream.pipelines.trajectory.graph_pseudotime import (
    branches_of,
    distances_from,
    graph_table,
    order_along_graph,
    root_node,
)
from scvi_downstream.pipelines.trajectory.principal_graph import PrincipalGraph, learn_principal_graph

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
