import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_downstream.pipelines.de.nodes import find_comparisons
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.statistics.bayesian_expression import (
    COLUMNS,
    _forecast,
    compare_bayesian,
    comparison_seed,
    expected_fdr,
    sampled_cells,
)
from scvi_downstream.statistics.comparisons import Comparison, keep_large
from scvi_downstream.study.defaults import defaults_of


def _comparison(cells1, cells2, name="a vs b"):
    return Comparison("pairs", name, "a", "b", cells1, cells2)


def test_expected_fdr_is_the_mean_error_of_all_genes_at_least_as_probable():
    probability = np.array([0.5, 0.99, 0.9, 0.9, 0.1])
    by_hand = [np.mean(1 - probability[probability >= each]) for each in probability]
    np.testing.assert_allclose(expected_fdr(probability), by_hand)


def test_large_groups_are_sampled_and_small_ones_taken_whole():
    inside = np.arange(1000) < 700
    cells1, cells2 = sampled_cells(_comparison(inside, ~inside), 200, seed=0)
    assert cells1.sum() == 400
    assert not (cells1 & ~inside).any()
    np.testing.assert_array_equal(cells2, ~inside)


def test_without_comparisons_the_table_has_its_columns():
    assert list(compare_bayesian(None, [], defaults_of(DeOptions).bayesian, 0).columns) == list(COLUMNS)


@pytest.fixture(scope="module")
def model(fitted_scvi, pbmc_counts):
    return fitted_scvi.attach(pbmc_counts)


@pytest.fixture(scope="module")
def label_comparisons(pbmc_counts, keys):
    options = defaults_of(DeOptions, groupings=("labels",))
    return keep_large(find_comparisons(pbmc_counts, pd.DataFrame(), keys, options), 10)[0]


@pytest.mark.slow
def test_values_are_those_of_scvi_tools_called_by_hand(model, label_comparisons):
    import torch

    chosen = label_comparisons[1:3]
    ours = compare_bayesian(
        model, chosen, defaults_of(DeOptions, n_samples=1000, credible_interval=0.9).bayesian, seed=7
    )
    for comparison in chosen:
        own_seed = comparison_seed(comparison, 7)
        np.random.seed(own_seed)  # noqa: NPY002
        torch.manual_seed(own_seed)
        by_hand = model.differential_expression(
            idx1=comparison.cells1,
            idx2=comparison.cells2,
            mode="change",
            delta=0.25,
            n_samples_overall=1000,
            fdr_target=0.05,
            cred_interval_lvls=[0.9],
            silent=True,
        )
        table = ours[ours["comparison"] == comparison.name].set_index("gene")
        assert len(table) == len(model.adata.var_names)
        by_hand = by_hand.loc[table.index]
        for column, theirs in {
            "lfc_mean": "lfc_mean",
            "lfc_median": "lfc_median",
            "lfc_std": "lfc_std",
            "lfc_lower": "lfc_confidence_interval_0.9_min",
            "lfc_upper": "lfc_confidence_interval_0.9_max",
            "proba_de": "proba_de",
            "bayes_factor": "bayes_factor",
        }.items():
            np.testing.assert_array_equal(table[column], by_hand[theirs], err_msg=column)
        for column, theirs in {
            "mean1": "raw_normalized_mean1",
            "mean2": "raw_normalized_mean2",
            "fraction1": "non_zeros_proportion1",
            "fraction2": "non_zeros_proportion2",
        }.items():
            np.testing.assert_allclose(table[column], by_hand[theirs], rtol=1e-4, atol=1e-6, err_msg=column)
        # scvi-tools cuts through ties of the probability; we call all of a tie or none.
        theirs_called = by_hand["is_de_fdr_0.05"]
        assert not (table["is_de"] & ~theirs_called).any()
        disputed = table.loc[theirs_called & ~table["is_de"], "proba_de"].unique()
        assert len(disputed) <= 1


@pytest.mark.slow
def test_a_comparison_does_not_hang_on_the_others_nor_on_the_global_generators(model, label_comparisons):
    import torch

    options = defaults_of(DeOptions, n_samples=300).bayesian
    together = compare_bayesian(model, label_comparisons[:3], options, seed=0)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    alone = compare_bayesian(model, label_comparisons[2:3], options, seed=0)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    part = together[together["comparison"] == label_comparisons[2].name].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, alone)
    other_seed = compare_bayesian(model, label_comparisons[2:3], options, seed=1)
    assert not np.array_equal(other_seed["lfc_mean"], alone["lfc_mean"])


@pytest.mark.slow
def test_halves_of_one_cell_type_do_not_differ(model, pbmc_counts):
    inside = np.flatnonzero(pbmc_counts.obs["cell_type"] == "Dendritic")
    half = np.isin(np.arange(pbmc_counts.n_obs), np.random.default_rng(0).permutation(inside)[::2])
    rest = np.isin(np.arange(pbmc_counts.n_obs), inside) & ~half
    table = compare_bayesian(model, [_comparison(half, rest)], defaults_of(DeOptions).bayesian, seed=0)
    assert table["is_de"].sum() <= 0.005 * len(table)
    assert table["lfc_median"].abs().median() < 0.1


@pytest.mark.slow
def test_known_markers_of_b_cells_lead(model, label_comparisons):
    b_cells = [each for each in label_comparisons if each.group1 == "CD19+ B"]
    table = compare_bayesian(model, b_cells, defaults_of(DeOptions).bayesian, seed=0)
    strength = table.assign(strength=table["proba_de"] * table["lfc_median"]).set_index("gene")["strength"]
    known = strength.index.intersection(["CD79A", "CD79B", "MS4A1", "PNOC", "BANK1", "BLK", "SPIB"])
    assert len(known) >= 3
    assert stats.mannwhitneyu(strength[known], strength.drop(known), alternative="greater").pvalue < 0.01


@pytest.mark.slow
def test_vanilla_mode_gives_direction_with_the_same_fold_changes(model, label_comparisons):
    change = compare_bayesian(
        model, label_comparisons[:1], defaults_of(DeOptions, n_samples=500).bayesian, seed=0
    ).set_index("gene")
    vanilla = compare_bayesian(
        model, label_comparisons[:1], defaults_of(DeOptions, n_samples=500, mode="vanilla").bayesian, seed=0
    )
    vanilla = vanilla.set_index("gene").loc[change.index]
    np.testing.assert_array_equal(vanilla["lfc_median"], change["lfc_median"])
    assert (vanilla["proba_de"] >= 0.5).all()
    decided = vanilla["proba_de"] > 0.6
    assert (np.sign(vanilla["bayes_factor"]) == np.sign(vanilla["lfc_median"]))[decided].all()


@pytest.mark.slow
def test_the_forecast_grows_with_comparisons_and_samples(model, label_comparisons):
    few = _forecast(model, label_comparisons[:1], defaults_of(DeOptions, n_samples=1000).bayesian, seed=0)
    many = _forecast(model, label_comparisons[:6], defaults_of(DeOptions, n_samples=20_000).bayesian, seed=0)
    assert 0 < few < many
