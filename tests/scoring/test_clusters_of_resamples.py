"""Clusters are found anew in each resample of the cells."""

import numpy as np
import pytest

from scvi_downstream.graphs.neighbors import find_neighbors, fuzzy_union, weighted_graph
from scvi_downstream.scoring.clusterings import (
    Clusterings,
    adjusted_rand_index,
    agreement_in_resamples,
    best_leiden,
    contingency,
    kmeans_clusterings,
    leiden_clusterings,
)

RESOLUTIONS = (0.2, 0.6, 1.0, 1.4)


def blobs(distance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(3, size=240))
    points = rng.normal(size=(240, 4)) + distance * np.eye(4)[labels]
    return points.astype(np.float32), labels


def resamples(n_draws: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(240, np.full(240, 1 / 240), n_draws).astype(float)


def by_leiden(points: np.ndarray, labels: np.ndarray) -> tuple[Clusterings, np.ndarray]:
    graph = weighted_graph(fuzzy_union(*find_neighbors(points, 15, exact=True, seed=0)))
    clusters, position = best_leiden(graph, labels, RESOLUTIONS)
    return leiden_clusterings(graph, RESOLUTIONS, position), clusters


@pytest.mark.thorough
def test_separate_labels_are_found_in_every_resample_and_random_ones_in_none() -> None:
    points, labels = blobs(12)
    random = np.random.default_rng(1).permutation(labels)
    for clusterings in (by_leiden(points, labels)[0], kmeans_clusterings(points, 3)):
        for scores in agreement_in_resamples(clusterings, labels, resamples(5)):
            np.testing.assert_allclose(scores, 1)
        nmi, ari = agreement_in_resamples(clusterings, random, resamples(5))
        assert nmi.max() < 0.1
        assert abs(ari).max() < 0.1


@pytest.mark.parametrize("distance", [3.0, 4.0])
def test_clusters_found_anew_vary_more_than_the_sample_s_own(distance: float) -> None:
    points, labels = blobs(distance)
    clusterings, clusters = by_leiden(points, labels)
    weights = resamples(40)
    held_fixed = adjusted_rand_index(contingency(labels, clusters, weights))
    anew = agreement_in_resamples(clusterings, labels, weights)[1]
    assert anew.std() > held_fixed.std()
    assert anew.mean() == pytest.approx(held_fixed.mean(), abs=0.2)


def test_cells_drawn_once_each_are_clustered_as_the_sample() -> None:
    points, labels = blobs(12)
    clusterings, clusters = by_leiden(points, labels)
    found = clusterings(np.ones(240))
    assert any(adjusted_rand_index(contingency(clusters, one, np.ones((1, 240))))[0] == 1 for one in found)


def test_weight_counts_as_copies_do() -> None:
    """A cell drawn twice is tied to each neighbour twice, a cell not drawn to none."""
    points, labels = blobs(12)
    clusterings, _ = by_leiden(points, labels)
    for counts in (np.where(labels < 2, copies, 0.0) for copies in (1, 3)):
        (first, *_) = clusterings(counts)
        assert len(np.unique(first[counts > 0])) == 2


def test_a_draw_depends_on_its_own_weights_alone() -> None:
    points, labels = blobs(3)
    weights = resamples(5)
    for clusterings in (by_leiden(points, labels)[0], kmeans_clusterings(points, 3)):
        together = np.array(agreement_in_resamples(clusterings, labels, weights))
        alone = np.array(agreement_in_resamples(clusterings, labels, weights[3:4]))
        np.testing.assert_array_equal(together[:, 3:4], alone)
