import numpy as np
import pytest

from scvi_downstream.graphs.neighbors import find_neighbors
from scvi_downstream.scoring.mixing import (
    effective_groups,
    effective_groups_influence,
    median_batches,
    neighbor_weights,
)


@pytest.fixture(scope="module")
def neighbors():
    points = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    return find_neighbors(points, 60, exact=True, seed=0)


def test_weights_have_the_perplexity_asked_for(neighbors):
    weights = neighbor_weights(*neighbors)
    others = weights[:, 1:]
    entropy = -(others * np.log(np.maximum(others, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropy), 20, rtol=1e-4)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights[:, 0] == 0).all()


def test_separated_batches_score_0_and_mixed_ones_close_to_1(neighbors):
    batches = np.random.default_rng(1).integers(2, size=300)
    far = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32) + 100 * batches[:, None]
    mixed, apart = (
        median_batches(neighbor_weights(*found), found[0], batches)
        for found in (neighbors, find_neighbors(far, 60, exact=True, seed=0))
    )
    assert mixed > 0.8
    assert apart == pytest.approx(0, abs=1e-6)


def test_influence_is_the_derivative_by_how_often_a_neighbour_counts(neighbors):
    groups = np.random.default_rng(2).integers(3, size=300)
    indices, _ = neighbors
    weights = neighbor_weights(*neighbors)
    influence = effective_groups_influence(weights, indices, groups)
    np.testing.assert_allclose(influence.sum(axis=1), 0, atol=1e-12)
    for cell in (0, 150):
        step = 1e-6 * (indices == cell)
        more, less = (weights * (1 + side * step) for side in (1, -1))
        counted = [moved / moved.sum(axis=1, keepdims=True) for moved in (more, less)]
        rise = np.subtract(*(effective_groups(moved, indices, groups) for moved in counted)) / 2e-6
        np.testing.assert_allclose(rise, influence[:, [cell]].toarray()[:, 0], atol=1e-8)
