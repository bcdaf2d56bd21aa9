import numpy as np
import pandas as pd

from scvi_downstream.pipelines.de.plots import MEASURES, plot_concordance


def _tables(*, pseudobulk):
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
    titles = _titles(plot_concordance(*_tables(pseudobulk=True)))
    assert titles[:2] == ["genes seen in both groups,\nall comparisons: Spearman 1.00"] * 2
    assert titles[2:] == list(MEASURES.values())


def test_genes_unseen_in_a_group_are_not_drawn():
    figure = plot_concordance(*_tables(pseudobulk=False))
    assert len(_titles(figure)) == 1 + len(MEASURES)
    hexagons = figure.subfigs[0].axes[0].collections[0]
    assert np.asarray(hexagons.get_array()).sum() == 90


def test_without_classical_tests_the_figure_says_so():
    results, concordance = _tables(pseudobulk=False)
    figure = plot_concordance(results.assign(wilcoxon_p=np.nan), concordance)
    assert "only the Bayesian test" in figure.texts[0].get_text()
    assert (
        "only the Bayesian test"
        in plot_concordance(results.iloc[:0], concordance.iloc[:0]).texts[0].get_text()
    )
