"""Proteins are raw counts with names, and where they were not measured is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.preparation.validation import prepare_proteins
from scvi_downstream.runtime.errors import InputError

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
