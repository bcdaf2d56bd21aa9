import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.pipelines.de import wilcoxon
from scvi_downstream.pipelines.de.nodes import find_comparisons, rank_wilcoxon
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.wilcoxon import WILCOXON_COLUMNS, compare_wilcoxon
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.study.defaults import defaults_of, replicates_of


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
    monkeypatch.setattr(wilcoxon, "VALUES_PER_CHUNK", 1000)
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
    rank_wilcoxon(planted_counts, planted_clusters, replicates_of(), defaults_of(DeOptions))
    assert (before != planted_counts.X).nnz == 0
    empty = rank_wilcoxon(
        planted_counts, planted_clusters, replicates_of(), defaults_of(DeOptions, wilcoxon=False)
    )
    assert empty.empty
    assert list(empty.columns) == WILCOXON_COLUMNS
