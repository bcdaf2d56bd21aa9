"""Ward trees against scipy, with weights against repeated points."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.cluster import hierarchy
from sklearn.metrics import adjusted_rand_score

from scvi_downstream.pipelines.clustering import ward
from scvi_downstream.pipelines.clustering.ward import crown, node_sizes, subtrees

SCIPY = ["left", "right", "height", "size"]


@pytest.mark.parametrize(("n_points", "n_dims"), [(2, 1), (7, 3), (400, 10), (900, 2)])
def test_linkage_equals_scipy(n_points: int, n_dims: int) -> None:
    points = np.random.default_rng(0).normal(size=(n_points, n_dims)) + 100
    ours = ward.linkage(points, np.ones(n_points))
    np.testing.assert_allclose(ours[SCIPY], hierarchy.linkage(points, "ward"), rtol=1e-9)
    assert (ours["left_size"] + ours["right_size"] == ours["size"]).all()


@pytest.mark.parametrize("k", [1, 2, 5, 50])
def test_cut_equals_scipy(k: int) -> None:
    points = np.random.default_rng(1).normal(size=(200, 4))
    membership = ward.ward_tree(points).cut(k)
    expected = hierarchy.fcluster(hierarchy.linkage(points, "ward"), k, "maxclust")
    assert adjusted_rand_score(membership, expected) == 1
    assert (np.diff(np.bincount(membership)) <= 0).all()


def test_weights_stand_for_repeated_points() -> None:
    generator = np.random.default_rng(2)
    points, sizes = generator.normal(size=(60, 3)), generator.integers(1, 6, 60)
    weighted = ward.linkage(points, sizes)
    repeated = hierarchy.linkage(np.repeat(points, sizes, axis=0), "ward")
    np.testing.assert_allclose(weighted["height"], repeated[-59:, 2], rtol=1e-6)
    assert weighted["size"].iloc[-1] == sizes.sum()
    np.testing.assert_array_equal(node_sizes(weighted)[:60], sizes)


def test_grouped_tree_finds_planted_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ward, "MOST_LEAVES", 500)
    monkeypatch.setattr(ward, "MICRO_CLUSTERS", 100)
    generator = np.random.default_rng(3)
    planted = generator.integers(0, 4, 3000)
    tree = ward.ward_tree((6 * generator.normal(size=(4, 5)))[planted] + generator.normal(size=(3000, 5)))
    assert len(tree.linkage) == 99
    assert tree.linkage["size"].iloc[-1] == 3000
    assert adjusted_rand_score(planted, tree.cut(4)) > 0.95


def test_duplicates_merge_at_height_zero() -> None:
    linkage = ward.linkage(np.zeros((30, 2)), np.ones(30))
    assert (linkage["height"] == 0).all()
    assert linkage["size"].iloc[-1] == 30


def test_crown_is_a_valid_tree_of_all_cells() -> None:
    tree = ward.ward_tree(np.random.default_rng(4).normal(size=(150, 3)))
    top = crown(tree.linkage, 5, 20)
    assert hierarchy.is_valid_linkage(top.linkage)
    assert top.sizes.sum() == 150
    by_cluster = pd.Series(top.sizes).groupby(top.clusters[:20]).sum()
    np.testing.assert_array_equal(by_cluster, np.bincount(tree.cut(5)))
    assert (top.clusters[-4:] == -1).all()
    assert len(subtrees(tree.linkage, 5)) == 5
    heights = tree.linkage["height"].to_numpy()
    assert heights[-5] < top.cut_height < heights[-4]
