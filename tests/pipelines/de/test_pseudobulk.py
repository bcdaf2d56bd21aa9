import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.de.groups import find_comparisons
from scvi_downstream.pipelines.de.nodes import rank_pseudobulk
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.pseudobulk import COLUMNS, compare_pseudobulk, fit_deseq2, pair_samples
from scvi_downstream.statistics.comparisons import Comparison


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
def test_null_p_values_are_uniform():
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
        for each in find_comparisons(planted_counts, planted_clusters, planted_keys, DeOptions())
        if each.name == "B: stim vs ctrl"
    )
    design = pair_samples(comparison, planted_counts.obs["donor"], DeOptions())
    assert design["sample"].value_counts().eq(2).all()
    assert design["group"].value_counts().to_dict() == {"first": 6, "second": 6}


def test_a_sample_on_both_sides_is_left_out_of_an_unpaired_design():
    samples = pd.Series(list("aaaabbbbccccdddde" * 10), dtype="category")
    first = samples.isin(["a", "b"]).to_numpy() | ((samples == "e").to_numpy() & (np.arange(170) < 85))
    comparison = Comparison("pairs", "x", "1", "2", first, ~first)
    design = pair_samples(comparison, samples, DeOptions())
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
    options = DeOptions(groupings=("labels",), min_cells_per_sample=15)
    with caplog.at_level("INFO"):
        table = rank_pseudobulk(planted_counts, planted_clusters, planted_keys, options)
    assert list(table.columns) == list(COLUMNS)
    assert set(table["comparison"]) == {"A vs rest", "B vs rest", "stim vs ctrl", "B: stim vs ctrl"}
    assert any("A: stim vs ctrl" in message for message in caplog.messages)
    inside = table[table["comparison"] == "B: stim vs ctrl"].set_index("gene")
    planted = inside.index.intersection(planted_counts.var_names[-12:])
    assert len(planted) >= 10
    assert (inside.loc[planted, "p_adjusted"] < 1e-6).all()
    assert (inside["n_samples1"] == 6).all()


def test_without_samples_the_table_is_empty_and_says_why(planted_counts, planted_clusters, caplog):
    with caplog.at_level("INFO"):
        table = rank_pseudobulk(planted_counts, planted_clusters, Keys(), DeOptions())
    assert table.empty
    assert list(table.columns) == list(COLUMNS)
    assert "sample_key is not set" in caplog.text


def test_one_sample_a_group_is_not_tested(planted_counts):
    cells = planted_counts.obs["donor"] == "d0"
    comparison = Comparison("pairs", "d0 vs rest", "d0", "rest", cells.to_numpy(), ~cells.to_numpy())
    assert compare_pseudobulk(planted_counts, "donor", [comparison], DeOptions()).empty
