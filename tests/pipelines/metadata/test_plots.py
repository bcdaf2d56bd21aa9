import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.metadata.plots import (
    MAX_PANELS,
    plot_composition,
    plot_metadata,
    plot_metadata_associations,
    plot_metadata_genes,
)
from scvi_downstream.study.defaults import defaults_of, replicates_of

OPTIONS = defaults_of(MetadataAnalysisOptions, max_categories=5)


def _umap(n_cells):
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(n_cells, 2)), columns=["UMAP1", "UMAP2"])


def _cells(n_cells):
    return AnnData(obs=pd.DataFrame(index=[str(i) for i in range(n_cells)]))


def test_annotations_have_a_panel_each_and_missing_cells_are_counted():
    annotations = pd.DataFrame(
        {
            "sex": pd.Categorical(["f", "m", None] * 10),
            "age": [30.0, 40, np.nan] * 10,
            "barcode": pd.Categorical([f"b{i}" for i in range(30)]),
        }
    )
    figure = plot_metadata(_umap(30), annotations, _cells(30), OPTIONS)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["sex (10 cells without a value)", "age (10 cells without a value)"]


def test_many_annotations_are_cut_and_the_title_says_so():
    annotations = pd.DataFrame({f"c{i}": np.arange(10.0) for i in range(MAX_PANELS + 3)})
    figure = plot_metadata(_umap(10), annotations, _cells(10), OPTIONS)
    assert figure.get_suptitle() == "The first 12 of 15 annotations"
    assert (
        "every column is empty"
        in plot_metadata(_umap(10), annotations[[]], _cells(10), OPTIONS).texts[0].get_text()
    )


def test_associations_have_a_row_an_annotation_and_marks_where_significant():
    table = pd.DataFrame(
        {
            "dimension": ["latent_1", "latent_2"] * 2,
            "covariate": ["age", "age", "sex", "sex"],
            "kind": ["continuous"] * 2 + ["categorical"] * 2,
            "unit": "sample",
            "n": 8,
            "effect": [0.9, 0.1, 0.5, np.nan],
            "p_adjusted": [0.01, 0.9, 0.04, np.nan],
        }
    )
    axes = plot_metadata_associations(table, OPTIONS).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "age  (|ρ|, 8 samples)",
        "sex  (η², 8 samples)",
    ]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), [[0, 0], [0, 1]])
    assert "No associations" in plot_metadata_associations(table.iloc[:0], OPTIONS).texts[0].get_text()


@pytest.fixture
def composition() -> pd.DataFrame:
    rows = [(f"s{i}", group, 0.5) for i in range(4) for group in "AB"]
    table = pd.DataFrame(rows, columns=["sample", "group", "proportion"])
    return table.assign(by="sample", n=5, total=10)


def drawn_composition(composition, tests, keys):
    """Of four samples with a cell each: two donors in two conditions."""
    obs = pd.DataFrame(
        {
            "sample": [f"s{i}" for i in range(4)],
            "condition": pd.Categorical(list("abab")),
            "donor": ["d0", "d0", "d1", "d1"],
        },
        index=[f"cell{i}" for i in range(4)],
    )
    counts = AnnData(np.zeros((4, 1)), obs=obs)
    options = defaults_of(MetadataAnalysisOptions)
    return plot_composition(composition, tests, counts.obs[["condition"]], counts, keys, options)


def test_composition_shows_pairs_and_marks_what_is_significant(composition):
    tests = pd.DataFrame(
        {
            "column": "condition",
            "contrast": "b vs a",
            "group": ["A", "B"],
            "p": [0.4, 0.001],
            "p_adjusted": [0.4, 0.01],
        }
    )
    figure = drawn_composition(
        composition, tests, replicates_of(sample_key="sample", condition_key="condition", block_key="donor")
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["B\nadjusted p = 0.01 *", "A\nadjusted p = 0.4"]
    assert "lines join samples of one donor" in figure.get_suptitle()
    assert len(figure.axes[0].lines) == 2


def test_composition_without_tests_is_bars(composition):
    empty = pd.DataFrame({"column": [], "contrast": [], "group": [], "p": [], "p_adjusted": []})
    figure = drawn_composition(composition, empty, replicates_of())
    assert figure.axes[0].get_title() == "Composition of each sample, not tested"
    assert len(figure.axes[0].patches) == 8
    assert (
        "no cell has a group"
        in drawn_composition(composition[:0], empty, replicates_of()).texts[0].get_text()
    )


def _genes(column, n_called, contrast="b vs a", test="moderated t"):
    return pd.DataFrame(
        {
            "column": column,
            "contrast": contrast,
            "group": ["all"] * 30 + ["B"] * 10,
            "symbol": [f"G{i}" for i in [*range(30), *range(10)]],
            "gene": [f"g{i}" for i in [*range(30), *range(10)]],
            "unit": "sample",
            "test": test,
            "n": 8,
            "effect": np.nan if test == "moderated F" else np.linspace(2, -2, 40),
            "effect_size": np.abs(np.linspace(2, -2, 40)),
            "p": np.linspace(1e-6, 0.9, 40),
            "p_adjusted": np.where(np.arange(40) < n_called, 0.001, 0.9),
        }
    )


def test_genes_have_a_volcano_and_the_top_of_each_group():
    table = pd.concat(
        [_genes("age", 0, "slope"), _genes("sex", 4), _genes("site", 2, "any difference", "moderated F")]
    )
    figure = plot_metadata_genes(table, defaults_of(MetadataAnalysisOptions, top_genes=5))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 4
    assert titles[0].startswith("sex: b vs a, all cells\n4 of 30 genes")
    assert [text.get_text() for text in figure.axes[1].get_xticklabels()] == ["all cells", "B"]
    assert len(figure.axes[1].get_yticklabels()) == 5
    assert "age" in figure.get_suptitle()
    assert "No genes" in plot_metadata_genes(table.iloc[:0], OPTIONS).texts[0].get_text()
