import pandas as pd
import pytest

from scvi_downstream.pipelines.de.nodes import MARKER_COLUMNS, select_markers
from scvi_downstream.pipelines.de.options import DeOptions, MarkerOptions

GOOD = {
    "grouping": "clusters", "comparison": "0 vs rest", "group1": "0", "group2": "rest", "gene": "good",
    "lfc_median": 2.0, "proba_de": 0.99, "expected_fdr": 0.01, "fraction1": 0.8, "fraction2": 0.1,
    "mean1": 5.0, "mean2": 1.0, "wilcoxon_p_adjusted": 1e-9,
}  # fmt: skip


def _results(*changes):
    return pd.DataFrame([GOOD | change for change in changes])


@pytest.mark.parametrize(
    "change",
    [
        {"lfc_median": 0.4},
        {"lfc_median": -2.0},
        {"fraction1": 0.15, "fraction2": 0.0},
        {"fraction2": 0.75},
        {"expected_fdr": 0.2, "wilcoxon_p_adjusted": 0.2},
        {"expected_fdr": 0.2, "wilcoxon_p_adjusted": float("nan")},
        {"grouping": "condition"},
    ],
)
def test_each_filter_drops_a_gene(change):
    markers = select_markers(_results({}, {"gene": "other"} | change), DeOptions())
    assert markers["gene"].tolist() == ["good"]


def test_bayesian_calls_rank_before_genes_that_only_wilcoxon_calls():
    results = _results(
        {"gene": "wilcoxon alone", "expected_fdr": 0.3, "lfc_median": 9.0},
        {"gene": "weak", "lfc_median": 1.0},
        {"gene": "bayesian alone", "wilcoxon_p_adjusted": 0.5, "lfc_median": 0.6},
        {},
    )
    markers = select_markers(results, DeOptions())
    assert markers["gene"].tolist() == ["good", "weak", "bayesian alone", "wilcoxon alone"]
    assert markers["called_by"].tolist() == ["both", "both", "bayesian", "wilcoxon"]
    assert markers["rank"].tolist() == [1, 2, 3, 4]
    assert markers["score"].iloc[0] == pytest.approx(0.99 * 2.0 * 0.7)


def test_groups_keep_their_order_and_their_number_of_markers():
    rows = [
        {
            "grouping": grouping,
            "group1": group,
            "comparison": f"{group} vs rest",
            "gene": f"g{i}",
            "lfc_median": 5.0 - i,
        }
        for grouping, group in (("clusters", "2"), ("clusters", "10"), ("labels", "B"))
        for i in range(4)
    ]
    markers = select_markers(_results(*rows), DeOptions(markers=MarkerOptions(max_per_group=3)))
    assert list(markers.columns) == list(MARKER_COLUMNS)
    assert markers["group"].drop_duplicates().tolist() == ["2", "10", "B"]
    assert (
        markers.groupby(["grouping", "group"])["gene"]
        .apply(list)
        .map(lambda genes: genes == ["g0", "g1", "g2"])
    ).all()


def test_without_results_there_are_no_markers():
    assert select_markers(_results({}).iloc[:0], DeOptions()).empty
