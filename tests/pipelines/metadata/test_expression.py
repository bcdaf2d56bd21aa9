import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.metadata import expression
from scvi_downstream.study.defaults import replicates_of

PLANTED = {f"g{i}" for i in range(10)}
OF_SCORE = {f"g{i}" for i in range(140, 150)}


@pytest.fixture(scope="module")
def genes(paired_counts, paired_clusters, paired_keys, paired_options) -> pd.DataFrame:
    annotations = paired_counts.obs[["condition", "score", "age", "donor"]]
    return expression.compare_expression(
        paired_counts, paired_clusters, annotations, paired_keys, paired_options
    )


def test_planted_genes_of_the_condition_lead_everywhere(genes):
    condition = genes[genes["column"] == "condition"]
    assert list(condition["group"].unique()) == ["all", "A", "B", "C"]
    for _, table in condition.groupby("group", observed=True):
        assert set(table["gene"].head(10)) == PLANTED
        assert (table["p_adjusted"].head(10) < 0.01).all()
    over_all = condition[condition["group"] == "all"]
    np.testing.assert_allclose(over_all["effect"].head(10).median(), 2, atol=0.25)
    assert (over_all["p_adjusted"].iloc[10:] < 0.05).mean() < 0.05
    assert set(over_all["n"]) == {12}
    assert set(over_all["n_blocks"]) == {6}


def test_units_follow_what_the_annotation_is_constant_in(genes):
    units = genes.groupby("column", observed=True)["unit"].first().astype(str).to_dict()
    assert units == {"condition": "sample", "score": "cell", "age": "block"}
    assert list(genes["column"].unique()) == ["condition", "score", "age"]


def test_an_annotation_of_cells_is_correlated_within_samples(genes):
    score = genes[genes["column"] == "score"]
    assert set(score["gene"].head(10)) == OF_SCORE
    assert (score["p_adjusted"].head(10) < 1e-6).all()
    assert score["effect"].iloc[10:].max() < 0.1
    assert score["effect"].head(10).min() > 0.2


def test_categories_of_cells_are_compared_with_the_rest(
    paired_counts, paired_clusters, paired_keys, paired_options
):
    phase = pd.cut(paired_counts.obs["score"] % 3, 3, labels=["G1", "G2M", "S"])
    found = expression.compare_expression(
        paired_counts, paired_clusters, pd.DataFrame({"phase": phase}), paired_keys, paired_options
    )
    assert list(found["contrast"].unique()) == ["G1 vs rest", "G2M vs rest", "S vs rest"]
    two = pd.DataFrame({"high": (phase == "S").astype(str).astype("category")})
    found = expression.compare_expression(paired_counts, paired_clusters, two, paired_keys, paired_options)
    assert list(found["contrast"].unique()) == ["True vs False"]


def test_without_samples_everything_is_tested_on_cells(paired_counts, paired_clusters, paired_options):
    keys = replicates_of(condition_key="condition", label_key="cell_type")
    found = expression.compare_expression(
        paired_counts, paired_clusters, paired_counts.obs[["condition"]], keys, paired_options
    )
    assert set(found["unit"]) == {"cell"}
    assert set(found["gene"].head(10)) == PLANTED


def test_any_difference_leads_even_after_a_column_with_one_of_its_contrasts(paired_counts):
    tables = [
        pd.DataFrame({"column": column, "contrast": contrast, "group": "all", "gene": ["g0"], "p": 0.5})
        for column, contrast in [
            ("two", "yes vs no"),
            ("three", "any difference"),
            ("three", "maybe vs no"),
            ("three", "yes vs no"),
        ]
    ]
    tables = [table.assign(unit="sample", test="t") for table in tables]
    found = expression.collect(tables, paired_counts, ["two", "three"])
    assert found["contrast"].tolist() == ["yes vs no", "any difference", "maybe vs no", "yes vs no"]


def test_too_few_samples_give_an_empty_table(paired_counts, paired_clusters, paired_keys, paired_options):
    keys = paired_keys.model_copy(update={"min_samples_per_group": 7})
    found = expression.compare_expression(
        paired_counts, paired_clusters, paired_counts.obs[["condition"]], keys, paired_options
    )
    assert found.empty
    assert list(found.columns) == expression.COLUMNS
