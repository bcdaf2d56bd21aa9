"""Clustering figures say what the tables say."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.clustering.plots import plot_clustering, plot_clusters, plot_dendrogram
from scvi_downstream.pipelines.clustering.ward import ward_tree

CELLS = pd.Index([f"cell{i}" for i in range(120)], name="cell")


def clusters_of(codes: np.ndarray) -> pd.Series:
    return pd.Series(pd.Categorical(codes.astype(str)), index=CELLS)


def test_clusters_stand_beside_the_labels() -> None:
    generator = np.random.default_rng(0)
    umap = pd.DataFrame(generator.normal(size=(120, 2)), index=CELLS, columns=["UMAP1", "UMAP2"])
    codes = np.arange(120) % 3
    clusters = pd.DataFrame({name: clusters_of(codes) for name in ("leiden", "kmeans", "hierarchical")})
    counts = ad.AnnData(
        np.ones((120, 1), dtype=np.float32), obs=pd.DataFrame({"type": clusters_of(codes % 2)})
    )
    with_labels = plot_clusters(umap, clusters, counts, Keys(label_key="type"))
    assert [axes.get_title() for axes in with_labels.axes] == [
        "Leiden (recommended resolution): 3 groups", "k-means: 3 groups", "hierarchical (Ward): 3 groups",
        "type: 2 groups",
    ]  # fmt: skip
    assert [text.get_text() for text in with_labels.axes[0].texts] == ["0", "1", "2"]
    assert len(plot_clusters(umap, clusters, counts, Keys()).axes) == 3


def test_recommendation_is_marked_and_reasoned() -> None:
    stability = pd.DataFrame(
        {"resolution": [0.5, 0.5, 1.0], "replicate": [0, 1, 0], "n_clusters": 3, "ari": [0.9, 0.8, 0.4]}
    )
    silhouette = pd.DataFrame(
        {"k": [2, 3], "silhouette": [0.2, 0.4], "inertia": [9.0, 5.0], "chosen": [False, True]}
    )
    agreement = pd.DataFrame(
        [
            ("leiden_0.5", "leiden_1", 0.7, 0.8),
            ("leiden_0.5", "label", 0.6, 0.7),
            ("leiden_1", "label", 0.5, 0.6),
        ],
        columns=["clustering_a", "clustering_b", "ari", "nmi"],
    )
    summary = {
        "recommended_resolution": 0.5,
        "min_stability": 0.8,
        "reason": "because",
        "n_clusters": {"leiden_0.5": 3, "leiden_1": 5},
    }
    figure = plot_clustering(stability, silhouette, agreement, summary)
    assert figure.get_suptitle() == "because"
    marked = next(line for line in figure.axes[0].lines if line.get_label() == "recommended")
    assert marked.get_xdata()[0] == 0.5
    np.testing.assert_allclose(marked.get_ydata()[0], 0.85)
    assert [text.get_text() for text in figure.axes[0].texts] == ["3", "5"]
    assert next(line for line in figure.axes[1].lines if line.get_label() == "chosen").get_xdata() == [3]
    assert {text.get_text() for text in figure.axes[2].texts} == {"0.70", "0.60", "0.50"}


def test_nothing_to_choose_still_gives_a_figure() -> None:
    stability = pd.DataFrame({"resolution": [1.0], "replicate": [0], "n_clusters": [1], "ari": [1.0]})
    silhouette = pd.DataFrame({"k": [], "silhouette": [], "inertia": [], "chosen": []})
    agreement = pd.DataFrame(columns=["clustering_a", "clustering_b", "ari", "nmi"])
    summary = {
        "recommended_resolution": 1.0,
        "min_stability": 0.8,
        "reason": "one group",
        "n_clusters": {"leiden_1": 1},
    }
    figure = plot_clustering(stability, silhouette, agreement, summary)
    assert "no k could be measured" in [text.get_text() for text in figure.axes[1].texts]
    figure.canvas.draw()


def test_dendrogram_leaves_carry_all_cells_and_the_clusters_colours() -> None:
    tree = ward_tree(np.random.default_rng(0).normal(size=(120, 4)))
    hierarchical = pd.DataFrame({"hierarchical": clusters_of(tree.cut(4))})
    axes = plot_dendrogram(tree.linkage, hierarchical).axes[0]
    leaves = [label.get_text().split() for label in axes.get_xticklabels()]
    sizes = (
        pd.Series([int(size.strip("()")) for _, size in leaves]).groupby([name for name, _ in leaves]).sum()
    )
    expected = hierarchical["hierarchical"].value_counts(sort=False)
    pd.testing.assert_series_equal(
        sizes, expected, check_names=False, check_index_type=False, check_index=False
    )
    assert len({label.get_color() for label in axes.get_xticklabels()}) == 4
    assert "Ward distance" in axes.get_ylabel()


def test_one_cluster_has_no_cut() -> None:
    tree = ward_tree(np.random.default_rng(0).normal(size=(120, 4)))
    figure = plot_dendrogram(tree.linkage, pd.DataFrame({"hierarchical": clusters_of(tree.cut(1))}))
    assert figure.axes[0].get_legend() is None
