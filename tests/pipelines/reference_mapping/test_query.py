"""The query in the form of the model, the genes that are matched, and the reference's labels."""

from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.reference_mapping.mapping import check_reference
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.query import (
    Query,
    build_query,
    called_types,
    find_label_key,
    match_genes,
    most_probable,
    reference_labels,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

from .conftest import categories

SYMBOLS = [f"GENE{i}" for i in range(20)]
IDENTIFIERS = [f"ENSG{i:011d}" for i in range(20)]


def build(reference: Any, counts: anndata.AnnData, keys: Keys | None = None) -> Query:
    return build_query(reference, counts, keys or Keys(), defaults_of(ReferenceMappingOptions), "mine")


def test_genes_are_those_of_the_model_in_its_order_and_missing_ones_zero(reference, counts) -> None:
    query = build(reference, counts)
    assert query.genes.var_names.tolist() == ["g7", "g3", "g5", "g1"]
    assert query.present.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(query.genes.X.toarray()[:, 1:], counts[:, ["g3", "g5", "g1"]].X.toarray())
    assert query.genes.X[:, 0].nnz == 0
    assert any(
        "1 of the reference's 4 genes are not in the query and count as zero: g7" in n for n in query.notes
    )


def test_batch_of_the_reference_is_looked_for_first(reference, counts) -> None:
    query = build(reference, counts, Keys(batch_key="donor"))
    assert query.genes.obs["plate"].tolist() == ["x", "z"] * 5
    assert any(
        "batch 'x' is named as in the reference and is taken for it; new: 'z'" in n for n in query.notes
    )


def test_then_the_studys_own_batch_and_then_its_name(reference, counts) -> None:
    del counts.obs["plate"]
    assert build(reference, counts, Keys(batch_key="donor")).genes.obs["plate"].tolist() == ["d1", "d2"] * 5
    assert set(build(reference, counts).batch) == {"mine"}


def test_categories_that_are_numbers_stay_as_the_reference_has_them(reference, counts) -> None:
    reference.model.fields["batch"] = categories(1, 2)
    counts.obs["plate"] = ["1", "z"] * 5
    assert build(reference, counts).genes.obs["plate"].tolist() == [1, "z"] * 5


def test_reference_without_batches(reference, counts) -> None:
    reference.model.setup = {"batch_key": None}
    query = build(reference, counts, Keys(batch_key="donor"))
    assert query.genes.obs.columns.empty
    assert any("fitted without batches" in note for note in query.notes)


def test_covariates_are_taken_from_obs_or_new(reference, counts) -> None:
    reference.model.setup |= {"categorical_covariate_keys": ["phase"], "continuous_covariate_keys": ["age"]}
    reference.model.fields["extra_categorical_covs"] = {
        "state_registry": {"mappings": {"phase": np.array(["G1"])}}
    }
    query = build(reference, counts)
    assert set(query.genes.obs["phase"]) == {"mine"}
    assert query.genes.obs["age"].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda obs: obs.drop(columns="age"), "'age' of each cell, which is not a column of the query's obs"),
        (lambda obs: obs.assign(age=np.inf), "holds np.float64.inf. in cell 'q0', not a finite number"),
        (lambda obs: obs.assign(plate=["x", None] * 5), "'plate', .* has no value in 5 of 10 cells"),
    ],
)
def test_what_the_model_needs_and_obs_lacks_is_named(reference, counts, change: Any, said: str) -> None:
    reference.model.setup |= {"continuous_covariate_keys": ["age"]}
    counts.obs = change(counts.obs)
    with pytest.raises(InputError, match=said):
        build(reference, counts)


def test_labels_are_those_of_no_label(reference, counts) -> None:
    reference.model.setup |= {"labels_key": "line", "unlabeled_category": "unknown", "layer": "raw"}
    reference.model.fields["labels"] = categories("B", "T", "unknown")
    query = build(reference, counts)
    assert set(query.genes.obs["line"]) == {"unknown"}
    assert (query.genes.layers["raw"] != query.genes.X).nnz == 0
    reference.model.settings = {"dispersion": "gene-label"}
    with pytest.raises(InputError, match="dispersion by label"):
        build(reference, counts)


def test_cells_of_the_reference_itself_are_noticed(reference, counts) -> None:
    counts.obs_names = reference.counts.obs_names[:10]
    assert any(
        "10 of the 10 cells have the names of cells of the reference" in n
        for n in build(reference, counts).notes
    )


def test_counts_of_the_reference_with_a_gene_twice_are_refused(reference):
    reference.counts.var_names = ["g0", "g0", *reference.counts.var_names[2:]]
    with pytest.raises(InputError, match="hold 1 gene names more than once, such as 'g0'"):
        check_reference(reference)


def var(names: list[str], **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=names)


@given(st.permutations(range(20)), st.integers(10, 20))
def test_positions_point_to_the_same_gene(order: list[int], n_kept: int) -> None:
    names = [SYMBOLS[i] for i in order[:n_kept]]
    match = match_genes(var(names), var(SYMBOLS), 0.5)
    assert match.present.sum() == n_kept
    assert [names[i] for i in match.positions[match.present]] == np.array(SYMBOLS)[match.present].tolist()
    assert match.note is None


def test_a_var_column_that_agrees_is_used_and_said() -> None:
    by_column = match_genes(var(IDENTIFIERS, symbol=SYMBOLS), var(SYMBOLS), 0.5)
    assert by_column.present.all()
    assert by_column.note == "genes were matched by the query's var column 'symbol'"
    of_reference = match_genes(var(SYMBOLS), var(IDENTIFIERS, feature_name=SYMBOLS), 0.5)
    assert of_reference.positions.tolist() == list(range(20))
    assert of_reference.note == "genes were matched by the reference's var column 'feature_name'"


def test_versions_of_identifiers_do_not_matter() -> None:
    match = match_genes(var([f"{name}.{i}" for i, name in enumerate(IDENTIFIERS)]), var(IDENTIFIERS), 1.0)
    assert match.present.all()
    assert match.note is None


def test_a_name_of_several_genes_matches_none() -> None:
    match = match_genes(var(IDENTIFIERS, symbol=["GENE0", *SYMBOLS[:19]]), var(SYMBOLS), 0.5)
    assert not match.present[0]
    assert match.present[1:19].all()


def test_names_come_before_columns_that_are_hardly_better() -> None:
    match = match_genes(var([*SYMBOLS[:19], "OTHER"], symbol=SYMBOLS), var(SYMBOLS, symbol=SYMBOLS), 0.5)
    assert match.query_naming == "names"
    assert match.present.sum() == 19


def test_too_few_genes_are_refused_with_numbers_and_examples() -> None:
    query = var([*SYMBOLS[:3], *(f"X{i}" for i in range(9))], id=[f"Y{i}" for i in range(12)])
    with pytest.raises(InputError) as raised:
        match_genes(query, var(SYMBOLS), 0.5)
    said = str(raised.value)
    assert "3 of the 20 genes of the reference (15 %)" in said
    assert "asks for 50 %" in said
    assert "'GENE0'" in said
    assert "no var column (id) agrees better" in said
    with pytest.raises(InputError, match="0 of the 20 genes"):
        match_genes(var(["a", "b"]), var(SYMBOLS), 0.0)


def test_label_key_is_the_one_named_then_the_models_then_the_studys(reference) -> None:
    assert find_label_key(reference, None) is None
    reference.counts.uns["scvi_downstream"] = {"keys": {"label_key": "line"}}
    assert find_label_key(reference, None) == "line"
    reference.model.setup["labels_key"] = "plate"
    assert find_label_key(reference, None) == "plate"
    assert find_label_key(reference, "line") == "line"
    with pytest.raises(
        InputError, match=r"'lines' is not in the obs of the reference atlas; the closest is 'line'"
    ):
        find_label_key(reference, "lines")


def test_cells_without_a_label_lend_none(reference) -> None:
    labels = reference_labels(reference, "line", defaults_of(PreparationOptions).unknown_labels)
    assert labels.categories.tolist() == ["B", "T"]
    assert labels.isna().sum() == 10
    reference.model.setup["unlabeled_category"] = "B"
    assert reference_labels(
        reference, "line", defaults_of(PreparationOptions).unknown_labels
    ).categories.tolist() == ["T"]
    assert reference_labels(reference, None, defaults_of(PreparationOptions).unknown_labels) is None


def test_uncertain_cells_are_unknown() -> None:
    probabilities = pd.DataFrame([[0.9, 0.1], [0.45, 0.55]], columns=["B", "T"], index=["q0", "q1"])
    best = most_probable(probabilities, "nearest_type", "probability")
    assert best["nearest_type"].tolist() == ["B", "T"]
    assert called_types(best["nearest_type"].array, np.array([False, True])).tolist() == ["B", "unknown"]
