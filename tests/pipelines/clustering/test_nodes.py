"""Clusters, their stability and the recommendation."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph, by_falling_size, neighbors_graph
from scvi_downstream.pipelines.clustering.nodes import (
    assemble_clusters,
    cluster_kmeans,
    cluster_leiden,
    compare_clusterings,
    resample_leiden,
)
from scvi_downstream.pipelines.clustering.options import ClusteringOptions, leiden_column
from scvi_downstream.pipelines.clustering.report import recommend
from scvi_downstream.pipelines.clustering.ward import cluster_hierarchical
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.study.defaults import defaults_of

OPTIONS = defaults_of(ClusteringOptions)
PLANTED = np.repeat(range(6), (150, 120, 100, 90, 80, 60))


def latent_of(points: np.ndarray) -> pd.DataFrame:
    cells = pd.Index([f"cell{i}" for i in range(len(points))], name="cell")
    return pd.DataFrame(points.astype(np.float32), index=cells).add_prefix("latent_")


def graph_of(latent: pd.DataFrame) -> NeighborsGraph:
    return neighbors_graph(
        latent.index, latent.to_numpy(), n_neighbors=15, n_search=30, exact_up_to=50_000, seed=0
    )


def cluster_all(latent: pd.DataFrame, options: ClusteringOptions = OPTIONS) -> tuple[pd.DataFrame, dict]:
    graph = graph_of(latent)
    leiden = cluster_leiden(graph, options, 0)
    stability = resample_leiden(graph, leiden, options, 0)
    kmeans, silhouette = cluster_kmeans(latent, options, 0)
    hierarchical, _ = cluster_hierarchical(latent, leiden, stability, options)
    return assemble_clusters(leiden, stability, silhouette, options, kmeans=kmeans, hierarchical=hierarchical)


@pytest.fixture(scope="module")
def blobs() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return latent_of(6 * np.eye(6, 10)[PLANTED] + generator.normal(size=(len(PLANTED), 10)))


@pytest.fixture(scope="module")
def clustered(blobs: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    return cluster_all(blobs)


@pytest.mark.thorough
def test_planted_groups_are_found_by_all_three_methods(clustered: tuple[pd.DataFrame, dict]) -> None:
    clusters, summary = clustered
    for method in ("leiden", "kmeans", "hierarchical"):
        assert adjusted_rand_score(PLANTED, clusters[method]) > 0.95, method
        sizes = clusters[method].value_counts(sort=False)
        assert list(sizes.index) == [str(i) for i in range(6)]
        assert sizes.is_monotonic_decreasing
    assert summary["stable"]
    assert summary["n_clusters"]["leiden"] == summary["kmeans"]["k"] == 6
    assert summary["recommended_column"] in clusters
    assert f"Resolution {summary['recommended_resolution']:g} (6 clusters)" in summary["reason"]
    assert list(clusters) == [*map(leiden_column, OPTIONS.resolutions), "leiden", "kmeans", "hierarchical"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_cells", "n_dims", "seed"), [(300, 2, 0), (500, 5, 1), (700, 10, 2), (700, 10, 3), (400, 30, 4)]
)
def test_noise_has_no_stable_clusters_and_the_summary_says_so(n_cells: int, n_dims: int, seed: int) -> None:
    latent = latent_of(np.random.default_rng(seed).normal(size=(n_cells, n_dims)))
    _, summary = cluster_all(latent, OPTIONS.model_copy(update={"kmeans_max_k": 4}))
    assert not summary["stable"]
    assert "No clustering is stable" in summary["reason"]


@pytest.mark.thorough
def test_noise_in_one_group_has_no_substantial_silhouette() -> None:
    latent = latent_of(np.random.default_rng(0).normal(size=(400, 10)))
    _, summary = cluster_all(latent)
    assert "no substantial structure" in summary["kmeans"]["reason"]


@pytest.mark.parametrize("with_groups", [True, False])
def test_leiden_equals_scanpy_on_the_same_graph(blobs: pd.DataFrame, with_groups: bool) -> None:
    import scanpy as sc

    latent = blobs if with_groups else latent_of(np.random.default_rng(0).normal(size=(900, 5)))
    graph = graph_of(latent)
    ours = cluster_leiden(graph, OPTIONS, 3)
    reference = ad.AnnData(latent.to_numpy(), obs=pd.DataFrame(index=latent.index))
    for resolution in OPTIONS.leiden_resolutions:
        sc.tl.leiden(
            reference, resolution, adjacency=graph.connectivities, flavor="igraph", directed=False,
            n_iterations=2, random_state=3,
        )  # fmt: skip
        assert adjusted_rand_score(reference.obs["leiden"], ours[f"leiden_{resolution:g}"]) == 1
    pd.testing.assert_frame_equal(ours, cluster_leiden(graph, OPTIONS, 3))


def test_leiden_leaves_the_global_random_numbers_alone(blobs: pd.DataFrame) -> None:
    import random

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    cluster_leiden(graph_of(blobs), OPTIONS, 0)
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_resampling_has_a_row_a_resolution_and_replicate(blobs: pd.DataFrame) -> None:
    options = defaults_of(ClusteringOptions, leiden_resolutions=(1.0, 0.5), stability_replicates=3)
    graph = graph_of(blobs)
    leiden = cluster_leiden(graph, options, 0)
    stability = resample_leiden(graph, leiden, options, 0)
    assert list(stability) == ["resolution", "replicate", "n_clusters", "ari"]
    assert len(stability) == 12
    assert stability["ari"].between(0.8, 1).all()
    pd.testing.assert_frame_equal(stability, resample_leiden(graph, leiden, options, 0))


def tables(n_clusters: dict[float, int], ari: dict[float, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    leiden = {
        f"leiden_{resolution:g}": by_falling_size(np.arange(60) % clusters)
        for resolution, clusters in n_clusters.items()
    }
    stability = [
        (resolution, r, n_clusters[resolution], value) for resolution, value in ari.items() for r in (0, 1)
    ]
    return pd.DataFrame(leiden), pd.DataFrame(
        stability, columns=["resolution", "replicate", "n_clusters", "ari"]
    )


@pytest.mark.parametrize(
    ("n_clusters", "ari", "resolution", "stable"),
    [
        ({0.5: 2, 1.0: 4, 2.0: 9}, {0.5: 0.99, 1.0: 0.85, 2.0: 0.4}, 1.0, True),
        ({0.5: 2, 1.0: 4, 2.0: 9}, {0.5: 0.5, 1.0: 0.7, 2.0: 0.4}, 1.0, False),
        ({0.5: 1, 1.0: 3}, {0.5: 1.0, 1.0: 0.3}, 1.0, False),
        ({0.5: 1, 1.0: 1}, {0.5: 1.0, 1.0: 1.0}, 1.0, False),
    ],
)
def test_recommendation(n_clusters: dict, ari: dict, resolution: float, stable: bool) -> None:
    best = recommend(*tables(n_clusters, ari), 0.8)
    assert (best.resolution, best.stable) == (resolution, stable)
    assert best.reason.startswith("Resolution 1 " if stable else "No clustering is stable")
    assert best.n_clusters == n_clusters[resolution]


def test_kmeans_k_can_be_fixed_and_is_marked(blobs: pd.DataFrame) -> None:
    kmeans, tried = cluster_kmeans(blobs, defaults_of(ClusteringOptions, kmeans_k=3, kmeans_max_k=5), 0)
    assert kmeans["kmeans"].nunique() == 3
    assert tried.loc[tried["chosen"], "k"].tolist() == [3]
    assert tried["k"].tolist() == [2, 3, 4, 5]


@pytest.mark.thorough
def test_silhouette_equals_scikit_learn(blobs: pd.DataFrame) -> None:
    from sklearn.metrics import silhouette_score

    kmeans, tried = cluster_kmeans(blobs, OPTIONS, 0)
    chosen = tried.loc[tried["chosen"]].iloc[0]
    assert chosen["silhouette"] == pytest.approx(silhouette_score(blobs, kmeans["kmeans"]), abs=1e-5)
    assert chosen["silhouette"] == tried["silhouette"].max()


def test_identical_cells_make_one_cluster() -> None:
    kmeans, tried = cluster_kmeans(latent_of(np.zeros((60, 4))), OPTIONS, 0)
    assert set(kmeans["kmeans"]) == {"0"}
    assert tried.empty


def test_agreement_with_labels_leaves_unknown_cells_out(blobs: pd.DataFrame) -> None:
    labels = PLANTED.astype(str).astype(object)
    labels[::3] = UNKNOWN
    obs = pd.DataFrame(
        {"type": pd.Categorical(labels), "batch": pd.Categorical(np.arange(600) % 2)}, index=blobs.index
    )
    counts = ad.AnnData(np.zeros((600, 1), dtype=np.float32), obs=obs)
    clusters = pd.DataFrame(
        {"kmeans": by_falling_size(PLANTED), "leiden": by_falling_size(PLANTED // 2)}, index=blobs.index
    )
    table = compare_clusterings(clusters, counts, Keys(label_key="type", batch_key="batch"))
    table = table.set_index(["clustering_a", "clustering_b"])
    assert table.loc[("kmeans", "label"), ["ari", "nmi", "n_cells"]].tolist() == pytest.approx([1, 1, 400])
    assert abs(table.loc[("kmeans", "batch"), "ari"]) < 0.02
    assert table.loc[("kmeans", "leiden"), "ari"] == pytest.approx(adjusted_rand_score(PLANTED, PLANTED // 2))
    assert len(table) == 5
    assert len(compare_clusterings(clusters, counts, Keys())) == 1
