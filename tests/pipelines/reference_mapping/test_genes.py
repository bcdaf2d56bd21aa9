import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.pipelines.reference_mapping.query import match_genes
from scvi_downstream.runtime.errors import InputError

SYMBOLS = [f"GENE{i}" for i in range(20)]
IDENTIFIERS = [f"ENSG{i:011d}" for i in range(20)]


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
