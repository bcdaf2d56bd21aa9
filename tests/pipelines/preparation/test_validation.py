"""Every value of genes and proteins is a count; where proteins were not measured is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.preparation import validation as values_module
from scvi_downstream.pipelines.preparation.validation import (
    PROBLEMS,
    as_counts,
    check_values,
    locate,
    prepare_proteins,
)
from scvi_downstream.runtime.errors import InputError

FORMATS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
INTEGERS = st.integers(0, 2**24)


@settings(deadline=None)
@given(
    dense=hnp.arrays(np.int64, SHAPES, elements=INTEGERS),
    dtype=st.sampled_from(["int32", "int64", "uint32", "float32", "float64"]),
    form=st.sampled_from(sorted(FORMATS)),
)
def test_any_integer_matrix_passes_and_comes_back_unchanged(dense: np.ndarray, dtype: str, form: str) -> None:
    matrix = FORMATS[form](dense.astype(dtype))
    check = check_values(matrix)
    assert not any(check.n_bad)
    assert check.total == dense.sum()
    counts = as_counts(matrix)
    assert counts.format == "csr"
    assert counts.dtype == np.float32
    assert counts.has_canonical_format
    assert counts.data.all()
    np.testing.assert_array_equal(counts.toarray(), dense)


@settings(deadline=None)
@given(
    dense=hnp.arrays(np.float64, SHAPES, elements=st.integers(0, 50).map(float)),
    bad=st.sampled_from([np.nan, np.inf, -np.inf, -1.0, -0.5, 0.5, 3.0001, 2.0**24 + 2]),
    form=st.sampled_from(sorted(FORMATS)),
    chunk=st.integers(1, 40),
    data=st.data(),
)
def test_one_bad_value_is_found_wherever_it_is(
    dense: np.ndarray, bad: float, form: str, chunk: int, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, dense.shape[0] - 1))
    column = data.draw(st.integers(0, dense.shape[1] - 1))
    dense[row, column] = bad
    matrix = FORMATS[form](dense)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values_module, "CHUNK_VALUES", chunk)
        check = check_values(matrix)
    assert sum(check.n_bad) == 1
    position = next(i for i, number in enumerate(check.n_bad) if number)
    value, cell, gene = locate(matrix, check.first[position])
    assert (cell, gene) == (row, column)
    np.testing.assert_equal(value, bad)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (np.nan, "NaN"),
        (np.inf, "infinite"),
        (-2.0, "negative"),
        (1.5, "not an integer"),
        (2.0**25, "too large for float32"),
    ],
)
def test_each_problem_has_its_name(bad: float, problem: str) -> None:
    check = check_values(np.array([[1.0, bad], [0.0, 2.0]]))
    assert [name for name, number in zip(PROBLEMS, check.n_bad, strict=True) if number] == [problem]


def test_unordered_duplicated_and_stored_zero_entries_become_canonical() -> None:
    matrix = sparse.csr_matrix(
        (np.array([2.0, 0.0, 1.0, 3.0]), np.array([2, 1, 2, 0]), np.array([0, 3, 4])), shape=(2, 3)
    )
    counts = as_counts(matrix)
    np.testing.assert_array_equal(counts.toarray(), [[0, 0, 3], [3, 0, 0]])
    assert counts.nnz == 2
    np.testing.assert_array_equal(matrix.data, [2.0, 0.0, 1.0, 3.0])
    np.testing.assert_array_equal(matrix.indices, [2, 1, 2, 0])


KEYS = Keys(protein_key="protein_expression")
BATCHES = pd.Series(["a", "a", "a", "b", "b", "b"], dtype="category")
CELLS = np.ones(6, dtype=bool)


def raw(values: object, names: list[str] | None = None) -> AnnData:
    adata = AnnData(np.ones((6, 2), np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(6)]))
    adata.obsm["protein_expression"] = (
        values if names is None else pd.DataFrame(np.asarray(values), index=adata.obs_names, columns=names)
    )
    return adata


def counts() -> np.ndarray:
    return np.arange(1.0, 13).reshape(6, 2)


def test_a_table_and_an_array_give_the_same() -> None:
    table, notes = prepare_proteins(raw(counts(), ["CD3", "CD4"]), CELLS, BATCHES, KEYS)
    array = raw(counts())
    array.uns["protein_names"] = ["CD3", "CD4"]
    again, _ = prepare_proteins(array, CELLS, BATCHES, KEYS)
    assert table is not None
    assert again is not None
    pd.testing.assert_frame_equal(table, again)
    assert table.dtypes.unique().tolist() == [np.dtype(np.float32)]
    assert notes == []


def test_only_kept_cells_are_checked_and_returned() -> None:
    values = counts()
    values[5, 0] = -1
    kept = np.array([True] * 5 + [False])
    table, _ = prepare_proteins(raw(values, ["CD3", "CD4"]), kept, BATCHES[:5], KEYS)
    assert table is not None
    assert table.index.tolist() == [f"c{i}" for i in range(5)]


@given(
    cell=st.integers(0, 5),
    protein=st.integers(0, 1),
    bad=st.sampled_from([(-0.5, "is negative"), (1.25, "is not an integer"), (np.inf, "is not finite")]),
)
def test_every_value_is_looked_at(cell: int, protein: int, bad: tuple[float, str]) -> None:
    values = counts()
    values[cell, protein] = bad[0]
    with pytest.raises(InputError, match=bad[1]) as error:
        prepare_proteins(raw(values, ["CD3", "CD4"]), CELLS, BATCHES, KEYS)
    assert f"'c{cell}'" in str(error.value)
    assert f"'{['CD3', 'CD4'][protein]}'" in str(error.value)
    assert "1 of 12 values" in str(error.value)


def test_normalised_proteins_are_named_as_such() -> None:
    logged = np.log1p(counts())
    with pytest.raises(InputError, match="look normalised"):
        prepare_proteins(raw(logged - logged.mean(axis=1, keepdims=True), ["A", "B"]), CELLS, BATCHES, KEYS)


@pytest.mark.parametrize("absent", [0.0, np.nan])
def test_what_is_absent_from_a_batch_is_not_measured_there(absent: float) -> None:
    values = counts()
    values[3:, 0] = absent
    table, notes = prepare_proteins(raw(values, ["CD3", "CD4"]), CELLS, BATCHES, KEYS)
    assert table is not None
    assert (table.iloc[3:, 0] == 0).all()
    assert notes == [
        "protein 'CD3' has no count in batch 'b' and is taken as not measured there "
        "(models: override_missing_proteins takes them as zero)"
    ]
    values[3:] = absent
    _, notes = prepare_proteins(raw(values, ["CD3", "CD4"]), CELLS, BATCHES, KEYS)
    assert notes == ["batch 'b' has no counts of proteins, which are taken as not measured there"]


def test_nan_in_part_of_a_batch_is_refused() -> None:
    values = counts()
    values[4, 1] = np.nan
    with pytest.raises(InputError, match="the value nan of protein 'CD4' in cell 'c4' is not finite"):
        prepare_proteins(raw(values, ["CD3", "CD4"]), CELLS, BATCHES, KEYS)


def test_names_and_sizes() -> None:
    with pytest.raises(InputError, match="1 protein names occur more than once, first 'CD3'"):
        prepare_proteins(raw(counts(), ["CD3", "CD3"]), CELLS, BATCHES, KEYS)
    array = raw(counts())
    array.uns["protein_names"] = ["CD3"]
    with pytest.raises(InputError, match=r"holds 1 names, but .* has 2 columns"):
        prepare_proteins(array, CELLS, BATCHES, KEYS)
    with pytest.raises(InputError, match="is zero everywhere"):
        prepare_proteins(raw(np.zeros((6, 2)), ["CD3", "CD4"]), CELLS, BATCHES, KEYS)
    with pytest.raises(
        InputError, match=r"protein_key 'protein_expresion' is not in obsm.*'protein_expression'"
    ):
        prepare_proteins(raw(counts(), ["CD3", "CD4"]), CELLS, BATCHES, Keys(protein_key="protein_expresion"))


def test_a_slash_is_written_otherwise_and_an_empty_protein_left_out() -> None:
    values = np.hstack([counts(), np.zeros((6, 1))])
    table, notes = prepare_proteins(raw(values, ["HLA-A/B", "CD4", "CD8"]), CELLS, BATCHES, KEYS)
    assert table is not None
    assert table.columns.tolist() == ["HLA-A-B", "CD4"]
    assert len(notes) == 2
    assert "'CD8' has no count in any cell" in notes[1]


def test_without_protein_key_other_values_are_left_out_with_a_word() -> None:
    table, notes = prepare_proteins(raw(counts() + 0.5, ["CD3", "CD4"]), CELLS, BATCHES, Keys())
    assert table is None
    assert "left out, as protein_key is empty" in notes[0]
    assert prepare_proteins(AnnData(np.ones((6, 2))), CELLS, BATCHES, Keys()) == (None, [])


def test_cells_without_any_protein_are_counted() -> None:
    values = counts()
    values[0] = 0
    _, notes = prepare_proteins(raw(values, ["CD3", "CD4"]), CELLS, BATCHES, KEYS)
    assert notes == ["1 cell has no count of any protein in a batch that has some; it may be debris"]
