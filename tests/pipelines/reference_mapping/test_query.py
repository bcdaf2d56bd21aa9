from typing import Any

import anndata
import numpy as np
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.reference_mapping.mapping import check_reference
from scvi_downstream.pipelines.reference_mapping.query import Query, build_query, match_genes
from scvi_downstream.runtime.errors import InputError

from .conftest import categories


def build(reference: Any, counts: anndata.AnnData, keys: Keys | None = None) -> Query:
    match = match_genes(counts.var, reference.counts.var.loc[reference.model.genes], 0.5)
    return build_query(reference, counts, match, keys or Keys(), "mine")


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
