"""Trees of clusters against scipy, planted trees, and clusters that are hard to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree

from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.pipelines.trajectory.lineages import (
    build_tree,
    choose_start_cluster,
    cluster_distances,
    communities_like,
    edge_confidence,
    take_landmarks,
)
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

if TYPE_CHECKING:
    from conftest import Plant


def _line(n_clusters: int, n: int = 40, seed: int = 0) -> tuple[np.ndarray, pd.Series]:
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_clusters), n)
    latent = rng.normal(0, 0.5, (len(codes), 3))
    latent[:, 0] += 3.0 * codes
    return latent, pd.Series(pd.Categorical([f"c{k}" for k in codes]))


def test_distances_are_those_of_the_definition_when_clusters_are_large() -> None:
    rng = np.random.default_rng(0)
    shapes = [np.diag([1.0, 4.0]), np.array([[2.0, 0.8], [0.8, 1.0]])]
    latent = np.concatenate([rng.multivariate_normal([5.0 * k, k], shapes[k], 4000) for k in range(2)])
    codes = np.repeat([0, 1], 4000)
    distances, centres = cluster_distances(latent, codes)
    gap = centres[0] - centres[1]
    expected = np.sqrt(gap @ np.linalg.solve(np.cov(latent[:4000].T) + np.cov(latent[4000:].T), gap))
    assert distances[0, 1] == pytest.approx(expected, rel=2e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n_clusters=st.integers(2, 12))
def test_tree_is_the_minimum_spanning_tree(seed: int, n_clusters: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(n_clusters), rng.integers(0, n_clusters, 60)])
    latent = rng.normal(size=(len(codes), 4)) + 3 * rng.normal(size=(n_clusters, 4))[codes]
    clusters = pd.Series(pd.Categorical.from_codes(codes, [f"c{k:02d}" for k in range(n_clusters)]))
    tree = build_tree(latent, clusters, "c00")
    reference = minimum_spanning_tree(tree.distances).tocoo()
    expected = {
        frozenset((tree.clusters[i], tree.clusters[j]))
        for i, j in zip(reference.row, reference.col, strict=True)
    }
    assert {frozenset(edge) for edge in tree.edges} == expected
    assert {name for path in tree.lineages for name in path} == set(tree.clusters)
    assert all(path[0] == "c00" for path in tree.lineages)


def test_ends_are_leaves() -> None:
    latent, clusters = _line(5)
    tree = build_tree(latent, clusters, "c0", ends=["c2"])
    assert sum("c2" in edge for edge in tree.edges) == 1
    assert any(path[-1] == "c2" for path in tree.lineages)


def test_clusters_of_one_cell_and_duplicate_cells_have_distances() -> None:
    latent, clusters = _line(3)
    latent = np.vstack([latent, [[-3.0, 0, 0]], np.tile([[9.0, 0, 0]], (5, 1))])
    clusters = pd.Series(pd.Categorical([*clusters, "one", *["same"] * 5]))
    tree = build_tree(latent, clusters, "one")
    assert np.isfinite(tree.distances).all()
    assert tree.lineages == (("one", "c0", "c1", "c2", "same"),)


def test_cells_on_a_line_have_distances() -> None:
    latent = np.outer(np.arange(60.0), [1.0, 2.0, 0.5])
    tree = build_tree(latent, pd.Series(pd.Categorical(np.repeat(["a", "b", "c"], 20))), "a")
    assert tree.lineages == (("a", "b", "c"),)


def test_lineages_do_not_depend_on_unit_or_rotation() -> None:
    latent, clusters = _line(4)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    assert (
        build_tree(latent, clusters, "c0").edges == build_tree(1e-3 * latent @ turned, clusters, "c0").edges
    )


def test_confidence_is_high_on_a_line_and_low_among_equal_distances() -> None:
    latent, clusters = _line(4)
    sure = edge_confidence(latent, clusters, build_tree(latent, clusters, "c0"), n_bootstraps=30)
    assert (sure["confidence"] == 1).all()
    assert (sure["alternative"] == "").all()
    rng = np.random.default_rng(0)
    noise, labels = (
        rng.normal(size=(300, 5)),
        pd.Series(pd.Categorical(rng.permutation(np.repeat(list("abcdef"), 50)))),
    )
    unsure = edge_confidence(noise, labels, build_tree(noise, labels, "a"), n_bootstraps=30)
    assert unsure["confidence"].mean() < 0.6
    assert (unsure.loc[unsure["confidence"] < 1, "alternative"] != "").all()


def test_start_cluster_is_where_start_cells_are_in_excess() -> None:
    clusters = pd.Series(pd.Categorical(["big"] * 90 + ["small"] * 10))
    assert choose_start_cluster(clusters, np.array([0, 1, 2, 3, 4, 95, 96, 97, 98])) == "small"
    with pytest.raises(InputError, match="no start cells"):
        choose_start_cluster(clusters, np.array([], dtype=int))


@pytest.mark.parametrize(
    ("start", "ends", "message"),
    [
        ("c9", [], "start 'c9' is not a cluster; the closest is"),
        ("c0", ["cc2"], "ends 'cc2' is not a cluster; the closest is 'c2'"),
        ("c0", ["c0"], "both the start and one of the ends"),
    ],
)
def test_names_are_checked(start: str, ends: list[str], message: str) -> None:
    latent, clusters = _line(3)
    with pytest.raises(InputError, match=message):
        build_tree(latent, clusters, start, ends=ends)


def test_one_cluster_and_cells_without_one_are_refused() -> None:
    latent, clusters = _line(1)
    with pytest.raises(InputError, match="at least 2 clusters and there is 1"):
        build_tree(latent, clusters, "c0")
    with pytest.raises(InputError, match="40 cells have no cluster"):
        build_tree(latent, clusters.where(clusters != "c0"), "c0")


@pytest.mark.parametrize(("kind", "n_leaves"), [("linear", 1), ("bifurcating", 2), ("three_way", 3)])
def test_planted_trees_have_their_leaves(planted: Plant, kind: str, n_leaves: int) -> None:
    for seed in range(3):
        cells = planted(kind, 600, seed)  # type: ignore[arg-type]
        tree = build_tree(cells.latent, cells.clusters, str(cells.clusters.iloc[cells.root_cell]))
        assert len(tree.lineages) == n_leaves


def test_about_as_many_communities_as_wanted(planted: Plant) -> None:
    cells = planted("three_way")
    graph = neighbors_graph(
        cells.clusters.index, cells.latent, n_neighbors=15, n_search=15, exact_up_to=10_000, seed=0
    )
    for wanted in (3, 8):
        found = communities_like(graph, wanted, 0)
        assert abs(found.nunique() - wanted) <= 2
        assert found.index.name == "cell"
        assert found.value_counts().index[0] == "0"


def test_a_clustering_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"'leidn'.*closest is 'leiden'"):
        take_landmarks(pd.DataFrame({"leiden": ["0"]}), defaults_of(TrajectoryOptions, clustering="leidn"))
