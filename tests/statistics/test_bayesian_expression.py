import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_downstream.pipelines.de.nodes import find_comparisons
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.statistics import shared_draws
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

BOUNDS = {"min": "lower", "max": "upper"}


def _comparison(cells1, cells2, name="a vs b"):
    return Comparison("pairs", name, "a", "b", cells1, cells2)


def _of_few_cells(comparison):
    """Twenty of each group: importance weights take time, and of more scvi-tools would be given a part."""
    few = (
        np.isin(np.arange(len(each)), np.flatnonzero(each)[:20])
        for each in (comparison.cells1, comparison.cells2)
    )
    return Comparison(comparison.grouping, comparison.name, comparison.group1, comparison.group2, *few)


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
@pytest.mark.parametrize("mode", ["change", "vanilla"])
def test_with_importance_weights_values_are_those_of_scvi_tools_called_by_hand(
    model, label_comparisons, mode
):
    chosen = [_of_few_cells(each) for each in label_comparisons[1:3]]
    options = {"weights": "importance", "n_samples": 30, "credible_interval": 0.9, "mode": mode}
    ours = compare_bayesian(model, chosen, defaults_of(DeOptions, **options).bayesian, seed=7)
    for comparison in chosen:
        asked = {"weights": "importance", "n_samples_overall": 30}
        by_hand = _by_scvi_tools(model, comparison, comparison_seed(comparison, 7), **asked)
        directions = _by_scvi_tools(
            model, comparison, comparison_seed(comparison, 7), mode="vanilla", **asked
        )
        table = ours[ours["comparison"] == comparison.name].set_index("gene")
        by_hand, directions = by_hand.loc[table.index], directions.loc[table.index]
        for column in ("lfc_mean", "lfc_median", "lfc_std", "lfc_lower", "lfc_upper"):
            np.testing.assert_array_equal(table[column], by_hand[column], err_msg=column)
        probability = (
            directions[["proba_m1", "proba_m2"]].max(axis=1) if mode == "vanilla" else by_hand["proba_de"]
        )
        np.testing.assert_array_equal(table["proba_de"], probability)
        factors = directions if mode == "vanilla" else by_hand
        np.testing.assert_array_equal(table["bayes_factor"], factors["bayes_factor"])


def _by_scvi_tools(model, comparison, seed, **asked):
    import torch

    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    change = asked.get("mode", "change") == "change"
    table = model.differential_expression(
        idx1=comparison.cells1,
        idx2=comparison.cells2,
        silent=True,
        **{"mode": "change", "delta": 0.25} | ({"cred_interval_lvls": [0.9]} if change else {}) | asked,
    )
    interval = {f"lfc_confidence_interval_0.9_{end}": f"lfc_{name}" for end, name in BOUNDS.items()}
    return table.rename(columns=interval)


def _standard_errors(ours, theirs, n_samples):
    """Differences of fold changes in standard errors: scvi-tools draws with replacement, which doubles its variance."""
    spread = theirs["lfc_std"] * np.sqrt(3 / n_samples)
    return {name: (ours[name] - theirs[name]) / spread for name in ("lfc_mean", "lfc_median")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"batch_correction": True}, {"delta": None}, {"delta": 1.0, "credible_interval": 0.9}],
    ids=lambda options: "-".join(options) or "defaults",
)
def test_values_are_those_of_scvi_tools_up_to_the_noise_of_draws(model, label_comparisons, options):
    test = defaults_of(DeOptions, **{"credible_interval": 0.9} | options).bayesian
    chosen = label_comparisons[1:4]
    ours = compare_bayesian(model, chosen, test, seed=7)
    for comparison in chosen:
        asked = {"delta": test.delta, "n_samples_overall": 5000, "batch_correction": test.batch_correction}
        theirs = _by_scvi_tools(model, comparison, 1, **asked)
        again = _by_scvi_tools(model, comparison, 2, **asked).loc[theirs.index]
        table = ours[ours["comparison"] == comparison.name].set_index("gene").loc[theirs.index]
        for of_ours, of_theirs in zip(
            _standard_errors(table, theirs, 5000).values(),
            _standard_errors(again, theirs, 5000).values(),
            strict=True,
        ):
            assert np.sqrt((of_ours**2).mean()) < max(2.5, 2 * np.sqrt((of_theirs**2).mean()))
        for column in ("lfc_median", "proba_de"):
            agreement = stats.spearmanr(table[column], theirs[column]).statistic
            noise = stats.spearmanr(again[column], theirs[column]).statistic
            assert 1 - agreement < max(0.01, 2 * (1 - noise))
        width = (table["lfc_upper"] - table["lfc_lower"]) / (theirs["lfc_upper"] - theirs["lfc_lower"])
        assert abs(width.mean() - 1) < 0.03
        np.testing.assert_allclose(table["lfc_std"], theirs["lfc_std"], rtol=0.2)
        probability = np.clip(table["proba_de"], 1e-8, 1 - 1e-8)
        np.testing.assert_allclose(
            table["bayes_factor"], np.log(probability / (1 - probability)), rtol=1e-4, atol=1e-3
        )
        for column, by_them in {
            "mean1": "raw_normalized_mean1",
            "mean2": "raw_normalized_mean2",
            "fraction1": "non_zeros_proportion1",
            "fraction2": "non_zeros_proportion2",
        }.items():
            np.testing.assert_allclose(table[column], theirs[by_them], rtol=1e-4, atol=1e-6, err_msg=column)


def _assert_same(table, expected):
    """Equal but for rounding, by which a pair of draws may pass the limit of a change."""
    by = ["comparison", "gene"]
    table, expected = (each.sort_values(by, ignore_index=True) for each in (table, expected))
    counted = ["proba_de", "bayes_factor", "expected_fdr", "is_de"]
    pd.testing.assert_frame_equal(
        table.drop(columns=counted), expected.drop(columns=counted), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(table["proba_de"], expected["proba_de"], atol=1.5 / 300)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"batch_correction": True}, {"delta": None}])
def test_a_comparison_does_not_hang_on_the_others_nor_on_the_global_generators(
    model, label_comparisons, monkeypatch, options
):
    import torch

    options = defaults_of(DeOptions, n_samples=300, **options).bayesian
    together = compare_bayesian(model, label_comparisons[:3], options, seed=0)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    alone = compare_bayesian(model, label_comparisons[2:3], options, seed=0)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    part = together[together["comparison"] == label_comparisons[2].name]
    _assert_same(part, alone)
    monkeypatch.setattr(shared_draws, "BYTES_OF_DRAWS", 1)
    one_by_one = compare_bayesian(model, label_comparisons[:3], options, seed=0)
    _assert_same(one_by_one, together)
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
    tests = [defaults_of(DeOptions, weights="importance", n_samples=n).bayesian for n in (20, 2000)]
    chosen = [_of_few_cells(each) for each in label_comparisons[:6]]
    few = _forecast(model, chosen[:1], tests[0], seed=0)
    many = _forecast(model, chosen, tests[1], seed=0)
    assert 0 < few < many
