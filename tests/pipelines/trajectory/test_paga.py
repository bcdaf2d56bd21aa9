from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.pipelines.trajectory.diffusion import cluster_positions, paga_edges

from .conftest import Plant, Planted


def graph_of(cells: Planted) -> NeighborsGraph:
    return neighbors_graph(
        cells.clusters.index, cells.latent, n_neighbors=15, n_search=30, exact_up_to=1000, seed=0
    )


def test_edges_are_those_of_scanpy_on_its_own_neighbors(planted: Plant) -> None:
    import scanpy as sc
    from anndata import AnnData

    tree = planted("bifurcating")
    reference = AnnData(np.asarray(tree.latent, dtype=np.float32))
    reference.obs["cluster"] = tree.clusters.to_numpy()
    sc.pp.neighbors(reference, n_neighbors=15, use_rep="X", transformer="sklearn")
    sc.tl.paga(reference, groups="cluster")
    expected = reference.uns["paga"]["connectivities"].toarray()
    names = tree.clusters.cat.categories
    found = np.zeros_like(expected)
    for edge in paga_edges(graph_of(tree), tree.clusters).itertuples():
        i, j = names.get_loc(edge.cluster_1), names.get_loc(edge.cluster_2)
        found[i, j] = found[j, i] = edge.connectivity
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_tree_spans_connected_clusters_and_no_more(planted: Plant) -> None:
    tree = planted("three_way")
    edges = paga_edges(graph_of(tree), tree.clusters)
    assert edges["in_tree"].sum() == tree.clusters.nunique() - 1
    assert edges["connectivity"].is_monotonic_decreasing
    assert edges["connectivity"].between(0, 1, inclusive="right").all()


def test_clusters_of_an_island_share_no_edge(planted: Plant) -> None:
    island = planted("disconnected")
    of_cluster = pd.Series(island.branch).groupby(island.clusters.to_numpy(), observed=True).first()
    edges = paga_edges(graph_of(island), island.clusters)
    assert (of_cluster[edges["cluster_1"]].to_numpy() == of_cluster[edges["cluster_2"]].to_numpy()).all()
    assert edges["in_tree"].sum() == island.clusters.nunique() - 2


def test_one_cluster_has_no_edges(planted: Plant) -> None:
    line = planted("linear")
    one = pd.Series(pd.Categorical(["all"] * 600), index=line.clusters.index)
    edges = paga_edges(graph_of(line), one)
    assert edges.empty
    assert edges.columns.tolist() == ["cluster_1", "cluster_2", "connectivity", "in_tree"]


def test_clusters_are_drawn_at_their_medians() -> None:
    cells = pd.Index(list("abcde"))
    layout = pd.DataFrame({"UMAP1": [0.0, 1, 8, 5, 6], "UMAP2": [0.0, 0, 3, 1, 1]}, index=cells)
    clusters = pd.Series(
        pd.Categorical(["x", "x", "x", "y", "y"], categories=["y", "x", "none"]), index=cells
    )
    table = cluster_positions(layout, clusters.iloc[::-1])
    assert table.loc["x", ["UMAP1", "UMAP2", "n_cells"]].tolist() == [1, 0, 3]
    assert table.loc["y", "UMAP1"] == 5.5
    assert table.index.name == "cluster"
    assert "none" not in table.index
