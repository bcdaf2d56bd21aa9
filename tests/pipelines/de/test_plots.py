import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.pipelines.de import plots
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.plots import (
    DOT_AREA,
    LEAST_DOUBT,
    MAX_PANELS,
    MEASURES,
    plot_concordance,
    plot_dotplot,
    plot_heatmap,
    plot_volcano,
    top_markers,
)
from scvi_downstream.study.defaults import defaults_of


@pytest.fixture
def de_results():
    rng = np.random.default_rng(0)
    tables = [
        pd.DataFrame(
            {
                "grouping": grouping,
                "comparison": name,
                "gene": [f"GENE{i}" for i in range(60)],
                "effect": rng.normal(0, 2, 60),
                "probability": rng.uniform(0.2, 1, 60),
                "is_de": np.arange(60) < n_called,
                "fraction1": 0.5,
                "fraction2": 0.5,
            }
        )
        for n_called, (grouping, name) in enumerate(
            [("clusters", f"{i} vs rest") for i in range(14)] + [("condition", "stim vs ctrl")], start=1
        )
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.mark.thorough
def test_conditions_come_first_then_the_comparisons_with_most_calls(de_results):
    figure = plot_volcano(de_results, defaults_of(DeOptions))
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes]
    assert len(titles) == MAX_PANELS
    assert titles[:3] == ["stim vs ctrl", "13 vs rest", "12 vs rest"]
    assert "15 of 60 genes called" in figure.axes[0].get_title()


@pytest.mark.thorough
def test_names_do_not_overlap(de_results):
    figure = plot_volcano(de_results, defaults_of(DeOptions))
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_bbox_patch() or text for text in axes.texts]
        extents = [super(type(box), box).get_window_extent() for box in boxes]
        assert extents
        for i, one in enumerate(extents):
            assert not any(one.overlaps(other) for other in extents[i + 1 :])


@pytest.mark.thorough
def test_certain_genes_are_drawn_at_the_edge_and_untested_ones_not_at_all(de_results):
    untested = de_results["gene"].isin([f"GENE{i}" for i in range(50, 60)])
    certain = de_results.assign(probability=np.where(untested, np.nan, 1.0))
    figure = plot_volcano(certain, defaults_of(DeOptions))
    heights = np.concatenate([dots.get_offsets()[:, 1] for dots in figure.axes[0].collections])
    assert len(heights) == 50
    np.testing.assert_allclose(heights, -np.log10(LEAST_DOUBT))


def test_an_empty_table_gives_a_figure_that_says_so(de_results):
    figure = plot_volcano(de_results.iloc[:0], defaults_of(DeOptions))
    assert "No differential expression" in figure.texts[0].get_text()


def _results_and_concordance(*, pseudobulk):
    rng = np.random.default_rng(0)
    effect = rng.normal(0, 1, 100)
    results = pd.DataFrame(
        {
            "lfc_median": effect,
            "fraction1": np.where(np.arange(100) < 10, 0.0, 0.5),
            "fraction2": 0.5,
            "wilcoxon_lfc": effect,
            "wilcoxon_p": 0.5,
            "pseudobulk_lfc": effect,
            "pseudobulk_p": 0.5 if pseudobulk else np.nan,
        }
    )
    row = {f"{measure}_{test}": 0.5 for measure in MEASURES for test in ("wilcoxon", "pseudobulk")}
    return results, pd.DataFrame([row | {"comparison": f"{i} vs rest"} for i in range(3)])


def _titles(figure):
    return [axes.get_title() for part in figure.subfigs for axes in part.axes if axes.get_title()]


def test_a_panel_a_test_and_one_a_measure():
    titles = _titles(plot_concordance(*_results_and_concordance(pseudobulk=True)))
    assert titles[:2] == ["genes seen in both groups,\nall comparisons: Spearman 1.00"] * 2
    assert titles[2:] == list(MEASURES.values())


def test_genes_unseen_in_a_group_are_not_drawn():
    figure = plot_concordance(*_results_and_concordance(pseudobulk=False))
    assert len(_titles(figure)) == 1 + len(MEASURES)
    hexagons = figure.subfigs[0].axes[0].collections[0]
    assert np.asarray(hexagons.get_array()).sum() == 90


def test_without_classical_tests_the_figure_says_so():
    results, concordance = _results_and_concordance(pseudobulk=False)
    figure = plot_concordance(results.assign(wilcoxon_p=np.nan), concordance)
    assert "no classical test" in figure.texts[0].get_text()
    assert "no classical test" in plot_concordance(results.iloc[:0], concordance.iloc[:0]).texts[0].get_text()


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


def test_without_markers_the_dot_plot_says_so(counts, clusters, markers):
    figure = plot_dotplot(counts, clusters, markers[markers["grouping"] == "labels"])
    assert "No dot plot" in figure.texts[0].get_text()


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


def test_without_markers_the_heat_map_says_so():
    counts, clusters, markers = _study(50)
    assert "No heat map" in plot_heatmap(counts, clusters, markers.iloc[:0]).texts[0].get_text()
