import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.de import classical
from scvi_downstream.pipelines.de.classical import (
    PSEUDOBULK_COLUMNS,
    WILCOXON_COLUMNS,
    compare_pseudobulk,
    compare_wilcoxon,
    fit_deseq2,
    pair_samples,
)
from scvi_downstream.pipelines.de.nodes import find_comparisons, rank_pseudobulk, rank_wilcoxon
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.study.defaults import defaults_of


@pytest.fixture(scope="module")
def comparisons(planted_counts, planted_clusters, planted_keys):
    return find_comparisons(planted_counts, planted_clusters, planted_keys, defaults_of(DeOptions))


@pytest.fixture(scope="module")
def rank_sums(planted_counts, comparisons):
    return compare_wilcoxon(log_normalize(planted_counts), planted_counts.var_names, comparisons)


def test_p_values_are_scipys_asymptotic_ones_corrected_for_ties(planted_counts, comparisons, rank_sums):
    expression = log_normalize(planted_counts).toarray()
    for comparison in comparisons:
        ours = (
            rank_sums[rank_sums["comparison"] == comparison.name]
            .set_index("gene")
            .loc[planted_counts.var_names]
        )
        theirs = stats.mannwhitneyu(
            expression[comparison.cells1],
            expression[comparison.cells2],
            method="asymptotic",
            use_continuity=False,
        )
        np.testing.assert_allclose(ours["p_value"], theirs.pvalue, rtol=1e-8, atol=1e-300)
        np.testing.assert_allclose(
            ours["p_adjusted"], stats.false_discovery_control(theirs.pvalue), rtol=1e-8
        )


@pytest.mark.slow
def test_values_are_scanpys(planted_counts, comparisons, rank_sums):
    import scanpy as sc

    normalized = planted_counts.copy()
    normalized.X = log_normalize(planted_counts)
    normalized.uns["log1p"] = {"base": None}
    known = normalized[normalized.obs["cell_type"] != "unknown"].copy()
    sc.tl.rank_genes_groups(known, "cell_type", method="wilcoxon", tie_correct=True)
    theirs = sc.get.rank_genes_groups_df(known, "B").set_index("names")
    ours = rank_sums[rank_sums["comparison"] == "B vs rest"].set_index("gene").loc[theirs.index]
    np.testing.assert_allclose(ours["score"], theirs["scores"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours["lfc"], theirs["logfoldchanges"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ours["p_adjusted"], theirs["pvals_adj"], rtol=1e-3)


def test_planted_genes_lead(planted_counts, rank_sums):
    stim = rank_sums[(rank_sums["comparison"] == "stim vs ctrl")]
    planted = set(planted_counts.var_names[-12:])
    assert set(stim["gene"].head(12)) == planted
    assert (stim["lfc"].head(12) > 1.5).all()


def test_null_p_values_of_rank_sums_are_uniform(planted_counts):
    half = np.random.default_rng(1).permutation(planted_counts.n_obs) % 2 == 0
    comparison = Comparison("pairs", "null", "a", "b", half, ~half)
    null = compare_wilcoxon(log_normalize(planted_counts), planted_counts.var_names, [comparison])
    assert stats.kstest(null["p_value"], "uniform").pvalue > 0.01
    assert (null["p_adjusted"] > 0.05).all()


def test_results_do_not_depend_on_the_size_of_chunks(planted_counts, comparisons, rank_sums, monkeypatch):
    monkeypatch.setattr(classical, "VALUES_PER_CHUNK", 1000)
    chunked = compare_wilcoxon(log_normalize(planted_counts), planted_counts.var_names, comparisons)
    pd.testing.assert_frame_equal(chunked, rank_sums)


def test_genes_without_counts_or_without_variation_have_p_of_one():
    values = sparse.csr_matrix(np.column_stack([np.zeros(20), np.ones(20), np.arange(20.0)]))
    half = np.arange(20) < 10
    table = compare_wilcoxon(
        values, pd.Index(["none", "same", "rising"]), [Comparison("pairs", "x", "a", "b", half, ~half)]
    )
    by_gene = table.set_index("gene")["p_value"]
    assert by_gene["none"] == by_gene["same"] == 1
    assert by_gene["rising"] < 0.001


def test_wilcoxon_leaves_counts_alone_and_can_be_switched_off(planted_counts, planted_clusters):
    before = planted_counts.X.copy()
    rank_wilcoxon(planted_counts, planted_clusters, Keys(), defaults_of(DeOptions))
    assert (before != planted_counts.X).nnz == 0
    empty = rank_wilcoxon(planted_counts, planted_clusters, Keys(), defaults_of(DeOptions, wilcoxon=False))
    assert empty.empty
    assert list(empty.columns) == WILCOXON_COLUMNS


def _design(n_samples, *, paired):
    samples = list(range(n_samples)) * 2 if paired else range(2 * n_samples)
    return pd.DataFrame(
        {"sample": [f"s{i}" for i in samples], "group": ["first"] * n_samples + ["second"] * n_samples}
    )


def _simulate(n_samples, n_genes, fold_change, seed):
    """Negative binomial sums; a tenth of the genes is higher in the first group, another tenth lower."""
    rng = np.random.default_rng(seed)
    effect = np.ones((2 * n_samples, n_genes))
    effect[:n_samples, : n_genes // 10] = fold_change
    effect[:n_samples, n_genes // 10 : n_genes // 5] = 1 / fold_change
    sample_effect = np.exp(rng.normal(0, 0.3, (n_samples, n_genes)))[list(range(n_samples)) * 2]
    mean = rng.lognormal(4, 1, n_genes) * rng.lognormal(0, 0.2, (2 * n_samples, 1)) * effect * sample_effect
    return rng.negative_binomial(10, 10 / (10 + mean))


@pytest.mark.slow
def test_null_p_values_of_deseq2_are_uniform():
    genes = pd.Index([f"g{i}" for i in range(400)])
    table = fit_deseq2(_simulate(8, 400, 1.0, seed=0), genes, _design(8, paired=True))
    assert stats.kstest(table["p_value"].dropna(), "uniform").pvalue > 0.01
    assert (table["p_adjusted"] < 0.05).mean() < 0.01


@pytest.mark.slow
def test_planted_effects_are_found_with_their_size_and_sign():
    genes = pd.Index([f"g{i}" for i in range(300)])
    table = fit_deseq2(_simulate(6, 300, 4.0, seed=1), genes, _design(6, paired=True))
    called = table["p_adjusted"] < 0.05
    assert called.iloc[:60].mean() > 0.95
    assert called.iloc[60:].mean() < 0.06
    np.testing.assert_allclose(table["lfc"].iloc[:30].median(), 2, atol=0.2)
    np.testing.assert_allclose(table["lfc"].iloc[30:60].median(), -2, atol=0.2)


def test_samples_in_both_groups_are_paired(planted_counts, planted_clusters, planted_keys):
    comparison = next(
        each
        for each in find_comparisons(planted_counts, planted_clusters, planted_keys, defaults_of(DeOptions))
        if each.name == "B: stim vs ctrl"
    )
    design = pair_samples(comparison, planted_counts.obs["donor"], defaults_of(DeOptions))
    assert design["sample"].value_counts().eq(2).all()
    assert design["group"].value_counts().to_dict() == {"first": 6, "second": 6}


def test_a_sample_on_both_sides_is_left_out_of_an_unpaired_design():
    samples = pd.Series(list("aaaabbbbccccdddde" * 10), dtype="category")
    first = samples.isin(["a", "b"]).to_numpy() | ((samples == "e").to_numpy() & (np.arange(170) < 85))
    comparison = Comparison("pairs", "x", "1", "2", first, ~first)
    design = pair_samples(comparison, samples, defaults_of(DeOptions))
    assert dict(zip(design["sample"], design["group"], strict=True)) == {
        "a": "first",
        "b": "first",
        "c": "second",
        "d": "second",
    }


@pytest.mark.slow
def test_planted_condition_genes_lead_and_small_comparisons_are_left_out(
    planted_counts, planted_clusters, planted_keys, caplog
):
    options = defaults_of(DeOptions, groupings=("labels",), min_cells_per_sample=15)
    with caplog.at_level("INFO"):
        table = rank_pseudobulk(planted_counts, planted_clusters, planted_keys, options)
    assert list(table.columns) == PSEUDOBULK_COLUMNS
    assert set(table["comparison"]) == {"A vs rest", "B vs rest", "stim vs ctrl", "B: stim vs ctrl"}
    assert any("A: stim vs ctrl" in message for message in caplog.messages)
    inside = table[table["comparison"] == "B: stim vs ctrl"].set_index("gene")
    planted = inside.index.intersection(planted_counts.var_names[-12:])
    assert len(planted) >= 10
    assert (inside.loc[planted, "p_adjusted"] < 1e-6).all()
    assert (inside["n_samples1"] == 6).all()


def test_without_samples_the_table_is_empty_and_says_why(planted_counts, planted_clusters, caplog):
    with caplog.at_level("INFO"):
        table = rank_pseudobulk(planted_counts, planted_clusters, Keys(), defaults_of(DeOptions))
    assert table.empty
    assert list(table.columns) == PSEUDOBULK_COLUMNS
    assert "sample_key is not set" in caplog.text


def test_one_sample_a_group_is_not_tested(planted_counts):
    cells = planted_counts.obs["donor"] == "d0"
    comparison = Comparison("pairs", "d0 vs rest", "d0", "rest", cells.to_numpy(), ~cells.to_numpy())
    assert compare_pseudobulk(planted_counts, "donor", [comparison], defaults_of(DeOptions)).empty
