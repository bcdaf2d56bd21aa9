"""A tree through the cells."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from scvi_downstream.pipelines.trajectory.principal_graph import (
    MIN_CELLS,
    learn_principal_graph,
    nodes_for,
    project_onto_edges,
    prune,
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
