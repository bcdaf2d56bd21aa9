from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.runtime.errors import InputError
from scvi_downstream.serving.cells import ModelInput, cells_of_model

GENES = pd.Index([f"G{i}" for i in range(20)], name="gene")


def needs(**changed: Any) -> ModelInput:
    described = {
        "genes": GENES,
        "categories": {},
        "numbers": (),
        "proteins": pd.Index([]),
        "filled": {},
        "layer": None,
        "protein_key": None,
    }
    return ModelInput(**(described | changed))


def table(n_cells: int = 3, seed: int = 0, genes: pd.Index = GENES) -> pd.DataFrame:
    values = np.random.default_rng(seed).poisson(1.5, (n_cells, len(genes))) + np.eye(
        n_cells, len(genes), dtype=int
    )
    return pd.DataFrame(values, index=[f"cell{i}" for i in range(n_cells)], columns=genes)


def adata(counts: pd.DataFrame, **more: Any) -> AnnData:
    made = AnnData(counts.to_numpy(np.float32), var=pd.DataFrame(index=counts.columns), **more)
    made.obs_names = counts.index
    return made


@pytest.mark.thorough
@given(st.permutations(range(26)), st.integers(0, 2**16), st.sampled_from(["csr", "csc", "dense", "table"]))
def test_genes_are_found_in_any_order_and_form_and_others_are_left_aside(
    order: list[int], seed: int, form: str
) -> None:
    counts = table(4, seed, GENES.append(pd.Index([f"other{i}" for i in range(6)])))
    shuffled = counts.iloc[:, order]
    cells: Any = shuffled if form == "table" else adata(shuffled)
    if form in ("csr", "csc"):
        cells.X = getattr(sparse, f"{form}_matrix")(cells.X)
    found = cells_of_model(cells, needs(), 0.0)
    assert found.var_names.tolist() == GENES.tolist()
    assert found.X.dtype == np.float32
    np.testing.assert_array_equal(found.X.toarray(), counts[GENES].to_numpy())


def test_a_view_and_a_table_of_objects_are_taken() -> None:
    counts = table(5)
    np.testing.assert_array_equal(
        cells_of_model(adata(counts)[1:3], needs(), 0.0).X.toarray(), counts.iloc[1:3].to_numpy()
    )
    np.testing.assert_array_equal(
        cells_of_model(counts.astype(object), needs(), 0.0).X.toarray(), counts.to_numpy()
    )


def test_few_missing_genes_count_as_zero_and_their_share_is_said(caplog: pytest.LogCaptureFixture) -> None:
    counts = table()
    with caplog.at_level(logging.WARNING):
        found = cells_of_model(counts.drop(columns="G3"), needs(), 0.05)
    np.testing.assert_array_equal(found.X.toarray(), counts.assign(G3=0).to_numpy())
    assert "1 of the model's 20 genes (5 %) are missing: G3; they count as zero" in caplog.text


def test_too_many_missing_genes_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"2 of the model's 20 genes \(10 %\).*G3, G4; max_missing_genes allows 5 %"
    ):
        cells_of_model(table().drop(columns=["G3", "G4"]), needs(), 0.05)
    with pytest.raises(InputError, match="20 of the model's 20 genes"):
        cells_of_model(table().add_prefix("ENSG"), needs(), 1.0)


@pytest.mark.parametrize("value", [0.5, -1.0, np.nan, np.inf, 2.0**24 + 2])
@pytest.mark.parametrize("form", ["table", "adata"])
def test_what_is_no_count_is_refused_with_its_cell_and_gene(value: float, form: str) -> None:
    counts = table().astype(float)
    counts.loc["cell1", "G7"] = value
    cells = counts if form == "table" else adata(counts)
    with pytest.raises(InputError, match=r"for 'G7' in cell 'cell1' is no count \(1 of \d+ values"):
        cells_of_model(cells, needs(), 0.0)


def test_columns_of_text_are_refused() -> None:
    with pytest.raises(InputError, match="must hold numbers"):
        cells_of_model(table().assign(G3="many"), needs(), 0.0)


def test_a_gene_that_is_there_twice_is_refused_unless_the_model_does_not_read_it() -> None:
    counts = table()
    with pytest.raises(InputError, match="gene 'G0' is there more than once"):
        cells_of_model(pd.concat([counts, counts[["G0"]]], axis="columns"), needs(), 0.0)
    other = counts[["G0"]].set_axis(["other"], axis="columns")
    repeated = pd.concat([counts, other, other], axis="columns")
    np.testing.assert_array_equal(cells_of_model(repeated, needs(), 0.0).X.toarray(), counts.to_numpy())


def test_no_cells_are_refused_and_empty_ones_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match="there is no cell to embed"):
        cells_of_model(table().iloc[:0], needs(), 0.0)
    counts = table()
    counts.loc["cell2"] = 0
    with caplog.at_level(logging.WARNING):
        cells_of_model(counts, needs(), 0.0)
    assert "1 of 3 cells have no count in the model's genes, such as 'cell2'" in caplog.text


@pytest.mark.parametrize("form", ["table", "adata"])
def test_what_the_encoder_reads_is_required_and_must_be_known(form: str) -> None:
    reading = needs(categories={"donor": ("1", "2")}, numbers=("age",), filled={"batch": "b0"})

    def with_columns(**columns: Any) -> Any:
        return table().assign(**columns) if form == "table" else adata(table(), obs=pd.DataFrame(columns))

    found = cells_of_model(with_columns(donor=[1, 2.0, "1"], age=[3, 4, 5], batch="new"), reading, 0.0)
    assert found.obs["donor"].tolist() == ["1", "2", "1"]
    assert found.obs["age"].tolist() == [3, 4, 5]
    assert found.obs["batch"].tolist() == ["b0"] * 3
    with pytest.raises(InputError, match="reads the column 'donor', and the cells have none"):
        cells_of_model(with_columns(age=[3, 4, 5]), reading, 0.0)
    with pytest.raises(InputError, match="'3' of the column 'donor' is none that the model was fitted with"):
        cells_of_model(with_columns(donor=[1, 3, 1], age=[3, 4, 5]), reading, 0.0)
    with pytest.raises(InputError, match="'old' of the column 'age' is no number"):
        cells_of_model(with_columns(donor=[1, 2, 1], age=[3, "old", 5]), reading, 0.0)


def test_counts_of_a_layer_go_to_the_layer_that_the_model_reads() -> None:
    counts = table()
    cells = adata(counts * 0 + 0.5)
    cells.layers["counts"] = counts.to_numpy(np.float32)
    found = cells_of_model(cells, needs(layer="counts"), 0.0)
    np.testing.assert_array_equal(found.layers["counts"].toarray(), counts.to_numpy())


def test_proteins_come_from_obsm_or_from_columns_of_a_table() -> None:
    reading = needs(proteins=pd.Index(["CD4", "CD8"]), protein_key="protein_expression")
    counts, measured = table(), pd.DataFrame({"CD8": [1, 2, 3], "CD4": [4, 5, 6], "CD3": [0, 0, 0]})
    cells = adata(counts)
    cells.obsm["protein_expression"] = measured.set_axis(counts.index)
    flat = pd.concat([counts, measured.add_prefix("protein:").set_axis(counts.index)], axis="columns")
    for given_cells in (cells, flat):
        found = cells_of_model(given_cells, reading, 0.0).obsm["protein_expression"]
        assert found.columns.tolist() == ["CD4", "CD8"]
        np.testing.assert_array_equal(found.to_numpy(), measured[["CD4", "CD8"]].to_numpy())
    with pytest.raises(
        InputError, match="1 of the model's 2 proteins are missing; add a column 'protein:CD4'"
    ):
        cells_of_model(flat.drop(columns="protein:CD4"), reading, 0.0)
    with pytest.raises(InputError, match=r"2 of the model's 2 proteins.*obsm\['protein_expression'\]"):
        cells_of_model(adata(counts), reading, 0.0)
    with pytest.raises(InputError, match="for 'CD8' in cell 'cell1' is no count"):
        cells_of_model(flat.assign(**{"protein:CD8": [1, 2.5, 3]}), reading, 0.0)
