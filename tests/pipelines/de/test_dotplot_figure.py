import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.pipelines.de.plots import DOT_AREA, plot_dotplot, top_markers


@pytest.fixture
def counts():
    dense = np.zeros((6, 3), dtype=np.float32)
    dense[:2, 0] = 4
    dense[2, 1] = 3
    dense[:, 2] = 10
    return AnnData(sparse.csr_matrix(dense), var=pd.DataFrame(index=["a", "b", "c"]))


@pytest.fixture
def clusters(counts):
    return pd.DataFrame({"leiden": pd.Categorical(["0", "0", "1", "1", "1", "1"])}, index=counts.obs_names)


@pytest.fixture
def markers():
    return pd.DataFrame(
        {
            "grouping": ["clusters", "clusters", "labels", "clusters"],
            "group": ["0", "0", "T", "1"],
            "rank": [1, 2, 1, 1],
            "gene": ["a", "b", "c", "b"],
        }
    )


def test_a_gene_is_drawn_once_at_its_best_rank(markers):
    chosen = top_markers(markers, max_genes=10, max_per_cluster=5)
    assert chosen[["group", "gene"]].to_numpy().tolist() == [["0", "a"], ["1", "b"]]


def test_size_is_the_share_of_cells_and_colour_is_scaled_per_gene(counts, clusters, markers):
    axes = plot_dotplot(counts, clusters, markers).axes[0]
    dots = axes.collections[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    shares = np.asarray(dots.get_sizes()).reshape(2, 2) / DOT_AREA
    np.testing.assert_allclose(shares, [[1, 0], [0, 0.25]])
    np.testing.assert_allclose(np.asarray(dots.get_array()).reshape(2, 2), [[1, 0], [0, 1]])


def test_without_markers_the_figure_says_so(counts, clusters, markers):
    figure = plot_dotplot(counts, clusters, markers[markers["grouping"] == "labels"])
    assert "No dot plot" in figure.texts[0].get_text()
