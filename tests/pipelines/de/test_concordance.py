import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_downstream.pipelines.de import pseudobulk, wilcoxon
from scvi_downstream.pipelines.de.nodes import combine_results, tabulate_concordance
from scvi_downstream.pipelines.de.options import DeOptions

N_GENES = 200


@pytest.fixture
def tests_of_one_effect():
    """Three tests that see the same effects with noise of their own; 20 genes have one."""
    rng = np.random.default_rng(0)
    effect = np.r_[np.full(10, 3.0), np.full(10, -3.0), np.zeros(N_GENES - 20)]
    key = {"grouping": "labels", "comparison": "B vs rest", "gene": [f"g{i}" for i in range(N_GENES)]}
    bayesian = pd.DataFrame(
        key
        | {"lfc_median": effect + rng.normal(0, 0.3, N_GENES), "proba_de": np.where(effect != 0, 0.99, 0.2)}
    ).assign(is_de=effect != 0)
    p_values = np.where(effect != 0, 1e-9, rng.uniform(0.2, 1, N_GENES))
    classical = pd.DataFrame(
        key
        | {
            "lfc": effect + rng.normal(0, 0.3, N_GENES),
            "p_value": p_values,
            "p_adjusted": np.minimum(p_values * 10, 1),
        }
    )
    return bayesian, classical


def test_rows_are_the_bayesian_ones_with_the_tests_beside(tests_of_one_effect):
    bayesian, classical = tests_of_one_effect
    shuffled = classical.sample(frac=1, random_state=0).iloc[:150]
    joined = combine_results(bayesian, shuffled, pd.DataFrame(columns=list(pseudobulk.COLUMNS)))
    pd.testing.assert_frame_equal(joined[bayesian.columns], bayesian)
    assert joined["wilcoxon_p"].notna().sum() == 150
    expected = classical.set_index("gene").loc[shuffled["gene"], "lfc"]
    np.testing.assert_array_equal(joined.set_index("gene").loc[shuffled["gene"], "wilcoxon_lfc"], expected)
    assert joined["pseudobulk_p"].isna().all()
    assert joined["pseudobulk_p"].dtype == float


def test_agreement_is_measured(tests_of_one_effect):
    bayesian, classical = tests_of_one_effect
    opposite = classical.assign(lfc=-classical["lfc"])
    row = tabulate_concordance(combine_results(bayesian, classical, opposite), DeOptions(top_genes=20)).iloc[
        0
    ]
    assert (row["n_genes"], row["n_bayesian"], row["n_wilcoxon"], row["n_pseudobulk"]) == (
        N_GENES,
        20,
        20,
        20,
    )
    expected = stats.spearmanr(bayesian["lfc_median"], classical["lfc"]).statistic
    assert row["spearman_lfc_wilcoxon"] == pytest.approx(expected)
    assert row["spearman_lfc_pseudobulk"] == pytest.approx(-expected)
    assert row["top_overlap_wilcoxon"] == row["jaccard_wilcoxon"] == row["confirmed_wilcoxon"] == 1
    assert row["confirmed_pseudobulk"] == 0  # same genes, opposite sign


def test_missing_tests_and_missing_calls_are_not_numbers(tests_of_one_effect):
    bayesian, classical = tests_of_one_effect
    nothing = pd.DataFrame(columns=list(wilcoxon.COLUMNS))
    none_called = bayesian.assign(is_de=False)
    row = tabulate_concordance(combine_results(none_called, classical, nothing), DeOptions()).iloc[0]
    assert np.isnan(row["confirmed_wilcoxon"])
    assert row["jaccard_wilcoxon"] == 0
    assert row[["n_pseudobulk", "spearman_lfc_pseudobulk", "jaccard_pseudobulk"]].isna().all()


def test_no_comparisons_give_an_empty_table():
    from scvi_downstream.statistics import bayesian_expression

    tables = [
        pd.DataFrame(columns=list(module.COLUMNS)) for module in (bayesian_expression, wilcoxon, pseudobulk)
    ]
    joined = combine_results(*tables)
    assert joined.empty
    assert "wilcoxon_p" in joined
    assert tabulate_concordance(joined, DeOptions()).empty
