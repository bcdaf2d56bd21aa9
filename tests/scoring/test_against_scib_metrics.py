"""Metrics of batch mixing equal scib-metrics on the same embedding."""

import numpy as np
import pytest

from scvi_downstream.graphs.neighbors import find_neighbors, fuzzy_union
from scvi_downstream.scoring.kbet import acceptance_rate
from scvi_downstream.scoring.mixing import (
    explained_by_batch,
    graph_connectivity,
    median_batches,
    neighbor_weights,
)
from scvi_downstream.scoring.silhouette import batch_asw


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_same_numbers_on_the_same_embedding():
    import scib_metrics
    from scib_metrics.nearest_neighbors import NeighborsResults
    from scib_metrics.utils import principal_component_regression

    rng = np.random.default_rng(0)
    # labels of one size, since scib-metrics compiles for each size
    labels, batches = np.arange(300) % 2, rng.integers(4, size=300)
    latent = rng.normal(size=(300, 6)).astype(np.float32)
    latent[:, :2] += 4 * np.eye(2)[labels]
    latent[:, 4] += batches * 0.7
    indices, distances = find_neighbors(latent, 90, exact=True, seed=0)
    wide = NeighborsResults(indices=indices, distances=distances)
    near = NeighborsResults(indices=indices[:, :50], distances=distances[:, :50])

    lisi = median_batches(neighbor_weights(indices, distances), indices, batches)
    assert lisi == pytest.approx(scib_metrics.ilisi_knn(wide, batches), abs=2e-5)
    assert acceptance_rate(indices[:, :50], batches) == pytest.approx(scib_metrics.kbet(near, batches)[0])
    graph = fuzzy_union(indices[:, :50], distances[:, :50])
    assert abs(graph - near.knn_graph_connectivities).max() < 1e-6
    nearest = NeighborsResults(indices=indices[:, :15], distances=distances[:, :15])
    connected = graph_connectivity(indices, labels, np.ones((1, 300)), 15)[0]
    assert connected == scib_metrics.graph_connectivity(nearest, labels)
    assert batch_asw(latent, labels, batches) == pytest.approx(
        scib_metrics.silhouette_batch(latent, labels, batches), abs=1e-5
    )
    assert explained_by_batch(latent, batches) == pytest.approx(
        principal_component_regression(latent, batches, categorical=True), abs=1e-5
    )
