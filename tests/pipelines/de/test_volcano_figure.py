import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.plots import MAX_PANELS, plot_volcano


@pytest.fixture
def de_results():
    rng = np.random.default_rng(0)
    tables = [
        pd.DataFrame(
            {
                "grouping": grouping,
                "comparison": name,
                "gene": [f"GENE{i}" for i in range(60)],
                "lfc_median": rng.normal(0, 2, 60),
                "proba_de": rng.uniform(0.2, 1, 60),
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


def test_conditions_come_first_then_the_comparisons_with_most_calls(de_results):
    figure = plot_volcano(de_results, DeOptions())
    titles = [axes.get_title().split("\n")[0] for axes in figure.axes]
    assert len(titles) == MAX_PANELS
    assert titles[:3] == ["stim vs ctrl", "13 vs rest", "12 vs rest"]
    assert "15 of 60 genes called" in figure.axes[0].get_title()


def test_names_do_not_overlap(de_results):
    figure = plot_volcano(de_results, DeOptions())
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_bbox_patch() or text for text in axes.texts]
        extents = [super(type(box), box).get_window_extent() for box in boxes]
        assert extents
        for i, one in enumerate(extents):
            assert not any(one.overlaps(other) for other in extents[i + 1 :])


def test_certain_genes_are_drawn_at_the_resolution_of_the_samples(de_results):
    certain = de_results.assign(proba_de=1.0)
    figure = plot_volcano(certain, DeOptions(n_samples=500))
    heights = figure.axes[0].collections[0].get_offsets()[:, 1]
    np.testing.assert_allclose(heights, np.log10(1000))


def test_an_empty_table_gives_a_figure_that_says_so(de_results):
    figure = plot_volcano(de_results.iloc[:0], DeOptions())
    assert "No differential expression" in figure.texts[0].get_text()
