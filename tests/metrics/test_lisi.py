import numpy as np
import pytest

from scvi_downstream.metrics.lisi import ilisi, neighbor_weights
from scvi_downstream.neighbors import find_neighbors


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
    assert ilisi(*neighbors, batches) > 0.8
    far = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32) + 100 * batches[:, None]
    assert ilisi(*find_neighbors(far, 60, exact=True, seed=0), batches) == pytest.approx(0, abs=1e-6)
