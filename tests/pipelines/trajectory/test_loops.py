"""Rings are found in circles, and in nothing else; homology is the judge."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.graphs.neighbors import find_neighbors
from scvi_downstream.pipelines.trajectory.lineages import build_tree
from scvi_downstream.pipelines.trajectory.loops import describe_loops, find_loops, open_rings
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from conftest import Plant


def _loops(latent: np.ndarray, clusters: pd.Series) -> pd.DataFrame:
    indices, distances = find_neighbors(latent, 15, exact=True, seed=0)
    tree = build_tree(latent, clusters, str(clusters.iloc[0]))
    return find_loops(indices, distances, clusters, tree.edges)


def _clustered(latent: np.ndarray, n_clusters: int) -> pd.Series:
    from sklearn.cluster import KMeans

    codes = KMeans(n_clusters, n_init=1, random_state=0).fit_predict(latent)
    return pd.Series(pd.Categorical(codes.astype(str)))


def _grid(lengths: dict[tuple[int, int], float], n: int) -> np.ndarray:
    matrix = np.full((n, n), np.inf)
    for (a, b), length in lengths.items():
        matrix[a, b] = matrix[b, a] = length
    return matrix


def _persistent_ring(points: np.ndarray) -> float:
    """Death over birth of the most persistent ring of the Vietoris-Rips filtration; 1 without any."""
    n = len(points)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    edges = sorted(combinations(range(n), 2), key=lambda e: distance[e])
    number = {edge: k for k, edge in enumerate(edges)}
    triangles = sorted(
        (max(number[a, b], number[a, c], number[b, c]), number[a, b], number[a, c], number[b, c])
        for a, b, c in combinations(range(n), 3)
    )
    reduced: dict[int, int] = {}
    ratios = [1.0]
    for last, *sides in triangles:
        column = sum(1 << side for side in sides)
        while column and column.bit_length() in reduced:
            column ^= reduced[column.bit_length()]
        if column:
            born = column.bit_length() - 1
            reduced[born + 1] = column
            ratios.append(distance[edges[last]] / distance[edges[born]])
    return max(ratios)


def test_circle_is_flagged(planted: Plant) -> None:
    cells = planted("cycle")
    loops = _loops(cells.latent, cells.clusters)
    assert loops["is_loop"].sum() == 1
    best = loops.iloc[0]
    assert best["edges"] > 10 * best["expected"]
    assert best["p_adjusted"] < 1e-6


@pytest.mark.parametrize("kind", ["linear", "bifurcating", "three_way", "disconnected"])
def test_tree_is_not_flagged(planted: Plant, kind: str) -> None:
    cells = planted(kind)  # type: ignore[arg-type]
    assert not _loops(cells.latent, cells.clusters)["is_loop"].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "share"),
    [("cycle", 1), ("linear", 0), ("bifurcating", 0), ("three_way", 0), ("disconnected", 0)],
)
def test_share_that_is_flagged_over_seeds(planted: Plant, kind: str, share: int) -> None:
    flagged = [
        _loops(cells.latent, cells.clusters)["is_loop"].any()
        for cells in (planted(kind, 600, seed) for seed in range(20))  # type: ignore[arg-type]
    ]
    assert np.mean(flagged) == share


@pytest.mark.slow
@pytest.mark.parametrize("n_clusters", [7, 15, 25])
def test_sheets_and_balls_are_not_flagged(n_clusters: int) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        for latent in (rng.random((800, 2)), rng.normal(size=(800, 3)), rng.normal(size=(800, 10))):
            assert not _loops(latent, _clustered(latent, n_clusters))["is_loop"].any()


@pytest.mark.parametrize("n_clusters", [4, 6, 10, 15])
def test_circle_is_flagged_however_fine_the_clusters(planted: Plant, n_clusters: int) -> None:
    latent = planted("cycle", 1000).latent
    assert _loops(latent, _clustered(latent, n_clusters))["is_loop"].any()


def test_touching_clusters_are_those_where_the_tree_is_cut(planted: Plant) -> None:
    cells = planted("cycle")
    loops = _loops(cells.latent, cells.clusters)
    centre = {
        name: np.angle(np.exp(2j * np.pi * cells.time[cells.clusters == name]).mean())
        for name in set(cells.clusters)
    }
    ring = loops.iloc[0]["ring"].split(" – ")
    around = sorted(ring, key=lambda name: centre[name])
    turned = around[around.index(ring[0]) :] + around[: around.index(ring[0])]
    assert ring in (turned, [turned[0], *turned[:0:-1]])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "has_ring"), [("cycle", True), ("linear", False), ("three_way", False)])
def test_persistent_homology_agrees(planted: Plant, kind: str, has_ring: bool) -> None:
    from sklearn.cluster import KMeans

    cells = planted(kind)  # type: ignore[arg-type]
    landmarks = KMeans(40, n_init=1, random_state=0).fit(cells.latent).cluster_centers_
    assert (_persistent_ring(landmarks) > 1.5) == has_ring
    assert _loops(cells.latent, cells.clusters)["is_loop"].any() == has_ring


def test_rings_of_graphs() -> None:
    square = {(0, 1): 1.0, (1, 2): 1.0, (2, 3): 1.0, (0, 3): 1.0}
    assert open_rings(_grid(square, 4), np.isfinite(_grid(square, 4))) == [(0, 1, 2, 3)]
    filled = _grid(square | {(0, 2): 1.4}, 4)
    assert open_rings(filled, np.isfinite(filled)) == []
    chord = np.isfinite(filled)
    assert open_rings(_grid(square, 4), chord) == []


def test_two_rings_are_told_apart() -> None:
    edges = {(k, (k + 1) % 4): 1.0 for k in range(4)} | {(3, 4): 1.0, (4, 5): 1.0, (5, 6): 1.0, (3, 6): 1.0}
    lengths = _grid(edges, 7)
    assert open_rings(lengths, np.isfinite(lengths)) == [(0, 1, 2, 3), (3, 4, 5, 6)]


def test_sentence_names_the_clusters(planted: Plant) -> None:
    cells = planted("cycle")
    loops = _loops(cells.latent, cells.clusters)
    (sentence,) = describe_loops(loops)
    assert loops.iloc[0]["ring"] in sentence
    assert describe_loops(loops.iloc[:0]) == []


def test_edges_of_unknown_clusters_are_refused(planted: Plant) -> None:
    cells = planted("linear")
    indices, distances = find_neighbors(cells.latent, 15, exact=True, seed=0)
    with pytest.raises(InputError, match="cluster 'z', which has no cells"):
        find_loops(indices, distances, cells.clusters, [("0", "z")])
