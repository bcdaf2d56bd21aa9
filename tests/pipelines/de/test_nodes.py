import logging

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_downstream.pipelines.de.calls import CALL_COLUMNS
from scvi_downstream.pipelines.de.nodes import (
    MARKER_COLUMNS,
    combine_results,
    find_comparisons,
    log_left_out,
    rank_bayesian,
    select_markers,
    tabulate_concordance,
)
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.pseudobulk import PSEUDOBULK_COLUMNS
from scvi_downstream.pipelines.de.wilcoxon import WILCOXON_COLUMNS
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.statistics.bayesian_expression import COLUMNS as BAYESIAN_COLUMNS
from scvi_downstream.statistics.comparisons import keep_large
from scvi_downstream.study.defaults import defaults_of, replicates_of

N_GENES = 200
GOOD = {
    "grouping": "clusters", "comparison": "0 vs rest", "group1": "0", "group2": "rest", "gene": "good",
    "effect": 2.0, "effect_lower": 1.5, "effect_upper": 2.5, "probability": 0.99, "expected_fdr": 0.01, "is_de": True,
    "fraction1": 0.8, "fraction2": 0.1, "mean1": 5.0, "mean2": 1.0,
    "lfc_median": 2.0, "proba_de": 0.9, "wilcoxon_p_adjusted": 1e-9,
}  # fmt: skip


def test_every_grouping_is_compared_and_unknown_cells_are_in_no_label_group(
    planted_counts, planted_clusters, planted_keys
):
    found = find_comparisons(planted_counts, planted_clusters, planted_keys, defaults_of(DeOptions))
    assert [(each.grouping, each.name) for each in found] == [
        ("clusters", "0 vs rest"),
        ("clusters", "1 vs rest"),
        ("labels", "A vs rest"),
        ("labels", "B vs rest"),
        ("condition", "stim vs ctrl"),
        ("condition_by_type", "A: stim vs ctrl"),
        ("condition_by_type", "B: stim vs ctrl"),
    ]
    unknown = (planted_counts.obs["cell_type"] == "unknown").to_numpy()
    for each in found:
        assert not (each.cells1 & each.cells2).any()
        if each.grouping in ("labels", "condition_by_type"):
            assert not ((each.cells1 | each.cells2) & unknown).any()
    assert found[0].n1 + found[0].n2 == planted_counts.n_obs


def test_conditions_are_compared_inside_clusters_without_labels(planted_counts, planted_clusters):
    found = find_comparisons(
        planted_counts,
        planted_clusters,
        replicates_of(condition_key="condition"),
        defaults_of(DeOptions, groupings=()),
    )
    assert [each.name for each in found] == ["stim vs ctrl", "0: stim vs ctrl", "1: stim vs ctrl"]


def test_pairs_come_from_clusterings_and_from_obs(planted_counts, planted_clusters):
    options = defaults_of(DeOptions, groupings=(), pairs=(("leiden_1.0", "1", "0"), ("donor", "d0", "d5")))
    found = find_comparisons(planted_counts, planted_clusters, replicates_of(), options)
    assert [each.name for each in found] == ["leiden_1.0: 1 vs 0", "donor: d0 vs d5"]
    np.testing.assert_array_equal(found[1].cells1, planted_counts.obs["donor"] == "d0")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("donr", "d0", "d1"), "'donr'.*closest is 'donor'"),
        (("donor", "d0", "d77"), "'d77' of 'donor'; there are 'd0'"),
        (("donor", "d0", "d0"), "with itself"),
    ],
)
def test_wrong_pairs_are_named(planted_counts, planted_clusters, pair, message):
    with pytest.raises(InputError, match=message):
        find_comparisons(
            planted_counts, planted_clusters, replicates_of(), defaults_of(DeOptions, pairs=(pair,))
        )


def test_small_groups_are_left_out_with_one_line(planted_counts, planted_clusters, planted_keys, caplog):
    found = find_comparisons(planted_counts, planted_clusters, planted_keys, defaults_of(DeOptions))
    kept, left_out = keep_large(found, 100)
    assert [each.name for each in left_out] == ["A: stim vs ctrl"]
    assert len(kept) + len(left_out) == len(found)
    with caplog.at_level(logging.INFO):
        log_left_out(left_out, 100)
        log_left_out([], 100)
    assert len(caplog.messages) == 1
    assert "A: stim vs ctrl (60 and 60 cells)" in caplog.messages[0]


@pytest.mark.slow
def test_the_node_compares_clusters_and_labels(fitted_scvi, pbmc_counts, keys):
    leiden = pd.Categorical(np.where(pbmc_counts.obs["cell_type"] == "Dendritic", "0", "1"))
    clusters = pd.DataFrame({"leiden": leiden}, index=pbmc_counts.obs_names)
    before = pbmc_counts.X.copy()
    table = rank_bayesian(
        fitted_scvi,
        pbmc_counts,
        clusters,
        keys,
        defaults_of(DeOptions, n_samples=200, min_cells_per_group=60),
        0,
        "cpu",
    )
    assert list(table.columns) == list(BAYESIAN_COLUMNS)
    assert set(table["grouping"]) == {"clusters", "labels"}
    assert table.notna().all().all()
    assert (table["lfc_lower"] <= table["lfc_upper"]).all()
    assert table[["n1", "n2"]].min().min() >= 60
    assert not table.duplicated(["grouping", "comparison", "gene"]).any()
    assert (before != pbmc_counts.X).nnz == 0


@pytest.fixture
def tests_of_one_effect():
    """Calls and tests that see the same effects with noise of their own; 20 genes have one."""
    rng = np.random.default_rng(0)
    effect = np.r_[np.full(10, 3.0), np.full(10, -3.0), np.zeros(N_GENES - 20)]
    key = {"grouping": "labels", "comparison": "B vs rest", "gene": [f"g{i}" for i in range(N_GENES)]}
    bayesian = pd.DataFrame(
        key
        | {"lfc_median": effect + rng.normal(0, 0.3, N_GENES), "proba_de": np.where(effect != 0, 0.99, 0.2)}
    ).assign(expected_fdr=0.5, is_de=False)
    calls = pd.DataFrame(key | {"effect": effect, "probability": np.where(effect != 0, 0.99, 0.2)})
    calls = calls.assign(unit="cells", expected_fdr=np.where(effect != 0, 0.01, 0.7), is_de=effect != 0)
    p_values = np.where(effect != 0, 1e-9, rng.uniform(0.2, 1, N_GENES))
    classical = pd.DataFrame(
        key
        | {
            "lfc": effect + rng.normal(0, 0.3, N_GENES),
            "p_value": p_values,
            "p_adjusted": np.minimum(p_values * 10, 1),
        }
    )
    return bayesian, calls, classical


def test_rows_are_the_calls_with_the_tests_beside(tests_of_one_effect):
    bayesian, calls, classical = tests_of_one_effect
    shuffled = classical.sample(frac=1, random_state=0).iloc[:150]
    mixed = bayesian.sample(frac=1, random_state=1), calls.sample(frac=1, random_state=2)
    joined = combine_results(*mixed, shuffled, pd.DataFrame(columns=PSEUDOBULK_COLUMNS))
    assert joined["probability"].is_monotonic_decreasing
    by_gene = joined.set_index("gene")
    for table, prefix in ((calls, ""), (bayesian, "pairs_")):
        own = table.set_index("gene").loc[by_gene.index]
        assert (by_gene[f"{prefix}is_de"] == own["is_de"]).all()
        assert (by_gene[f"{prefix}expected_fdr"] == own["expected_fdr"]).all()
    assert joined["wilcoxon_p"].notna().sum() == 150
    expected = classical.set_index("gene").loc[shuffled["gene"], "lfc"]
    np.testing.assert_array_equal(joined.set_index("gene").loc[shuffled["gene"], "wilcoxon_lfc"], expected)
    assert joined["pseudobulk_p"].isna().all()
    assert joined["pseudobulk_p"].dtype == float


def test_agreement_is_measured(tests_of_one_effect):
    bayesian, calls, classical = tests_of_one_effect
    opposite = classical.assign(lfc=-classical["lfc"])
    row = tabulate_concordance(
        combine_results(bayesian, calls, classical, opposite), defaults_of(DeOptions, top_genes=20)
    ).iloc[0]
    numbers = row[["n_genes", "n_called", "n_bayesian", "n_wilcoxon", "n_pseudobulk"]]
    assert numbers.tolist() == [N_GENES, 20, 0, 20, 20]
    assert row["same_direction"] == 1
    expected = stats.spearmanr(bayesian["lfc_median"], classical["lfc"]).statistic
    assert row["spearman_lfc_wilcoxon"] == pytest.approx(expected)
    assert row["spearman_lfc_pseudobulk"] == pytest.approx(-expected)
    assert row["top_overlap_wilcoxon"] == row["jaccard_wilcoxon"] == row["confirmed_wilcoxon"] == 1
    assert row["confirmed_pseudobulk"] == 0  # same genes, opposite sign


def test_missing_tests_and_missing_calls_are_not_numbers(tests_of_one_effect):
    bayesian, calls, classical = tests_of_one_effect
    nothing = pd.DataFrame(columns=WILCOXON_COLUMNS)
    none_called = calls.assign(is_de=False)
    joined = combine_results(bayesian, none_called, classical, nothing)
    row = tabulate_concordance(joined, defaults_of(DeOptions)).iloc[0]
    assert np.isnan(row["same_direction"])
    assert np.isnan(row["confirmed_wilcoxon"])
    assert row["jaccard_wilcoxon"] == 0
    assert row[["n_pseudobulk", "spearman_lfc_pseudobulk", "jaccard_pseudobulk"]].isna().all()


def test_no_comparisons_give_an_empty_table():
    columns = (BAYESIAN_COLUMNS, CALL_COLUMNS, WILCOXON_COLUMNS, PSEUDOBULK_COLUMNS)
    joined = combine_results(*(pd.DataFrame(columns=list(names)) for names in columns))
    assert joined.empty
    assert "wilcoxon_p" in joined
    assert tabulate_concordance(joined, defaults_of(DeOptions)).empty


def _results(*changes):
    return pd.DataFrame([GOOD | change for change in changes])


@pytest.mark.parametrize(
    "change",
    [
        {"effect": 0.4},
        {"effect": -2.0},
        {"fraction1": 0.15, "fraction2": 0.0},
        {"fraction2": 0.75},
        {"expected_fdr": 0.2},
        {"is_de": False},
        {"expected_fdr": float("nan")},
        {"grouping": "condition"},
    ],
)
def test_each_filter_drops_a_gene(change):
    markers = select_markers(_results({}, {"gene": "other"} | change), defaults_of(DeOptions))
    assert markers["gene"].tolist() == ["good"]


def test_markers_rank_by_probability_effect_and_specificity():
    results = _results(
        {"gene": "rare", "effect": 9.0, "fraction1": 0.3, "fraction2": 0.15},
        {"gene": "weak", "effect": 1.0},
        {},
    )
    markers = select_markers(results, defaults_of(DeOptions))
    assert markers["gene"].tolist() == ["good", "rare", "weak"]
    assert markers["rank"].tolist() == [1, 2, 3]
    assert markers["score"].iloc[0] == pytest.approx(0.99 * 2.0 * 0.7)


def test_groups_keep_their_order_and_their_number_of_markers():
    rows = [
        {
            "grouping": grouping,
            "group1": group,
            "comparison": f"{group} vs rest",
            "gene": f"g{i}",
            "effect": 5.0 - i,
        }
        for grouping, group in (("clusters", "2"), ("clusters", "10"), ("labels", "B"))
        for i in range(4)
    ]
    markers = select_markers(_results(*rows), defaults_of(DeOptions, markers={"max_per_group": 3}))
    assert list(markers.columns) == MARKER_COLUMNS
    assert markers["group"].drop_duplicates().tolist() == ["2", "10", "B"]
    assert (
        markers.groupby(["grouping", "group"])["gene"]
        .apply(list)
        .map(lambda genes: genes == ["g0", "g1", "g2"])
    ).all()


def test_without_results_there_are_no_markers():
    assert select_markers(_results({}).iloc[:0], defaults_of(DeOptions)).empty
