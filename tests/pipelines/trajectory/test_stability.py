from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scvi_downstream.pipelines.trajectory.stability import Ordering, ordering_stability
from scvi_downstream.runtime.errors import InputError


def _tree(latent: np.ndarray, root: int, n_clusters: int = 8) -> Ordering:
    """Distance from the root along the minimum spanning tree of k-means clusters, as trajectories are learnt."""
    from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
    from sklearn.cluster import KMeans

    def order(cells: np.ndarray) -> np.ndarray:
        points = latent[cells]
        found = KMeans(n_clusters, n_init=2, random_state=0).fit(points)
        centres = found.cluster_centers_
        tree = minimum_spanning_tree(np.linalg.norm(centres[:, None] - centres[None], axis=2))
        start = found.predict(latent[[root]])[0]
        reach, before = dijkstra(tree, directed=False, indices=start, return_predecessors=True)
        before[start] = int(np.argsort(reach)[1])
        sign = np.where(np.arange(n_clusters) == start, -1, 1)
        edges = centres - centres[before]
        along = ((points - centres[found.labels_]) * edges[found.labels_]).sum(axis=1)
        length = np.linalg.norm(edges, axis=1)[found.labels_]
        return reach[found.labels_] + sign[found.labels_] * along / length

    return order


def _graph(latent: np.ndarray, root: int) -> Ordering:
    """Distance along the neighbours graph from the cell nearest to the root."""
    from scipy.sparse.csgraph import dijkstra
    from sklearn.neighbors import kneighbors_graph

    def order(cells: np.ndarray) -> np.ndarray:
        points = latent[cells]
        start = int(np.argmin(np.linalg.norm(points - latent[root], axis=1)))
        distances = dijkstra(kneighbors_graph(points, 15, mode="distance"), directed=False, indices=start)
        return np.where(np.isfinite(distances), distances, np.nan)

    return order


@pytest.mark.parametrize("make", [_tree, _graph])
@pytest.mark.parametrize("kind", ["linear", "bifurcating"])
def test_planted_trajectories_are_stable(
    planted: Callable[..., Any], kind: str, make: Callable[..., Ordering]
) -> None:
    cells = planted(kind)
    order = make(cells.latent, cells.root_cell)
    found = ordering_stability(order, order(np.arange(600)), cells.latent, replicates=3)
    assert found.summary["verdict"] == "stable"
    assert found.summary["low"] > 0.9
    assert found.summary["median_rank_sd"] < 0.06
    assert found.summary["n_failed"] == 0
    assert (found.replicates["failure"] == "").all()
    assert (found.cells["n_orderings"] == 3).all()
    np.testing.assert_allclose(found.cells["rank"], found.cells["rank_mean"], atol=0.3)


@pytest.mark.parametrize("make", [_tree, _graph])
def test_noise_is_unstable_and_overlap_would_flatter_it(make: Callable[..., Ordering]) -> None:
    noise = np.random.default_rng(0).normal(size=(600, 10))
    order = make(noise, 0)
    found = ordering_stability(order, order(np.arange(600)), noise, replicates=5)
    assert found.summary["verdict"] == "unstable"
    assert found.summary["spearman"] < 0.6
    assert found.summary["with_full"] > found.summary["spearman"]
    assert found.summary["median_rank_sd"] > 0.1


def test_random_orders_agree_with_nothing() -> None:
    random = np.random.default_rng(0)
    latent = random.normal(size=(400, 2))
    found = ordering_stability(lambda cells: random.random(len(cells)), random.random(400), latent)
    assert abs(found.summary["spearman"]) < 0.15
    assert found.summary["verdict"] == "unstable"
    # ranks are uniform, of standard deviation 0.29, each cell's estimated from five
    assert found.cells["rank_sd"].mean() == pytest.approx(0.29, abs=0.03)


def test_an_exact_order_is_carried_exactly() -> None:
    line = np.sort(np.random.default_rng(0).random(500))[:, None]
    seen: list[np.ndarray] = []

    def order(cells: np.ndarray) -> np.ndarray:
        seen.append(cells)
        return line[cells, 0]

    found = ordering_stability(order, line[:, 0], line, replicates=4, seed=3)
    assert found.summary["spearman"] > 0.99
    assert found.summary["with_full"] == pytest.approx(1)
    assert found.cells["rank"].tolist() == pytest.approx(np.linspace(0, 1, 500).tolist())
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert sorted([*first, *second]) == list(range(500))
        assert (np.diff(first) > 0).all()
    again = ordering_stability(order, line[:, 0], line, replicates=4, seed=3)
    assert again.replicates.equals(found.replicates)
    other = ordering_stability(order, line[:, 0], line, replicates=4, seed=4)
    assert not other.replicates.equals(found.replicates)


def test_failures_are_counted() -> None:
    line = np.linspace(0, 1, 100)[:, None]
    calls = iter(range(100))

    def order(cells: np.ndarray) -> np.ndarray:
        if next(calls) == 2:
            raise InputError("one cluster only")
        return line[cells, 0]

    found = ordering_stability(order, line[:, 0], line, replicates=3)
    assert found.summary["n_failed"] == 1
    assert found.summary["n_replicates"] == 3
    assert found.replicates["failure"].tolist() == ["", "one cluster only", ""]
    assert found.summary["verdict"] == "uncertain"
    assert (found.cells["n_orderings"] == 2).all()

    def never(cells: np.ndarray) -> np.ndarray:
        raise np.linalg.LinAlgError("singular")

    nothing = ordering_stability(never, line[:, 0], line, replicates=2)
    assert nothing.summary["verdict"] == "failed"
    assert nothing.summary["spearman"] is None
    assert nothing.cells["rank_sd"].isna().all()


def test_cells_without_a_place_are_left_out_and_said() -> None:
    line = np.linspace(0, 1, 200)[:, None]

    def order(cells: np.ndarray) -> np.ndarray:
        return np.where(line[cells, 0] < 0.5, line[cells, 0], np.nan)

    found = ordering_stability(order, order(np.arange(200)), line, replicates=2)
    assert found.replicates["ordered"].tolist() == pytest.approx([0.5, 0.5])
    assert found.cells["rank_sd"].isna().sum() == 100
    assert (found.cells.loc[150:, "n_orderings"] == 0).all()


def test_a_constant_order_has_failed() -> None:
    line = np.linspace(0, 1, 100)[:, None]
    found = ordering_stability(lambda cells: np.zeros(len(cells)), line[:, 0], line, replicates=2)
    assert found.summary["verdict"] == "failed"
    assert "no order" in found.replicates["failure"][0]


def test_few_cells_are_refused() -> None:
    with pytest.raises(InputError, match="30 cells are too few"):
        ordering_stability(lambda cells: cells.astype(float), np.arange(30.0), np.zeros((30, 2)))
