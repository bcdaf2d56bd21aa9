import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.pipelines.de import plots
from scvi_downstream.pipelines.de.plots import plot_heatmap


def _study(n_cells):
    rng = np.random.default_rng(0)
    leiden = pd.Categorical(np.where(np.arange(n_cells) % 20 == 0, "1", "0"))
    dense = rng.poisson(2, (n_cells, 4)).astype(np.float32)
    dense[leiden == "1", 1] += 20
    counts = AnnData(sparse.csr_matrix(dense), var=pd.DataFrame(index=list("abcd")))
    markers = pd.DataFrame({"grouping": "clusters", "group": ["0", "1"], "rank": 1, "gene": ["a", "b"]})
    return counts, pd.DataFrame({"leiden": leiden}, index=counts.obs_names), markers


def test_values_are_z_scores_over_all_cells_sorted_by_cluster():
    counts, clusters, markers = _study(200)
    figure = plot_heatmap(counts, clusters, markers)
    shown = np.asarray(figure.axes[1].images[0].get_array())
    expression = log_normalize(counts).toarray()[:, :2]
    expected = (expression - expression.mean(axis=0)) / expression.std(axis=0)
    order = np.argsort(clusters["leiden"].cat.codes, kind="stable")
    np.testing.assert_allclose(shown, expected[order].T, atol=1e-4)


def test_many_cells_are_subsampled_and_small_clusters_stay_visible(monkeypatch):
    monkeypatch.setattr(plots, "MAX_CELLS", 200)
    counts, clusters, markers = _study(2000)
    figure = plot_heatmap(counts, clusters, markers)
    codes = np.asarray(figure.axes[0].images[0].get_array()).ravel()
    assert np.bincount(codes).tolist() == [190, 20]
    assert (np.diff(codes) >= 0).all()


def test_without_markers_the_figure_says_so():
    counts, clusters, markers = _study(50)
    assert "No heat map" in plot_heatmap(counts, clusters, markers.iloc[:0]).texts[0].get_text()
