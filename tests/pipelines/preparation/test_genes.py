from __future__ import annotations

import pandas as pd
import pytest

from scvi_downstream.pipelines.preparation.genes import find_symbols, gene_labels, with_symbols
from scvi_downstream.runtime.errors import InputError

IDENTIFIERS = ["ENSG00000198888", "ENSG00000198763.3", "ENSMUSG00000064341"]


def test_names_that_are_symbols_need_no_column() -> None:
    var = pd.DataFrame({"gene_name": ["x", "y"]}, index=["CD3E", "MS4A1"])
    assert find_symbols(var, None) is None
    assert gene_labels(with_symbols(var, None)).tolist() == ["CD3E", "MS4A1"]


@pytest.mark.parametrize("column", ["symbol", "gene_symbols", "Gene_Name", "feature_name", "gene_short_name"])
def test_a_column_of_symbols_is_found_beside_identifiers(column: str) -> None:
    var = pd.DataFrame({"chromosome": "MT", column: ["MT-ND1", None, "mt-Nd1"]}, index=IDENTIFIERS)
    symbols = find_symbols(var, None)
    assert symbols is not None
    assert symbols.tolist() == ["MT-ND1", "ENSG00000198763.3", "mt-Nd1"]


def test_worm_identifiers_are_known() -> None:
    var = pd.DataFrame({"gene_short_name": ["hlh-16"]}, index=["WBGene00001960"])
    assert with_symbols(var, None)["symbol"].tolist() == ["hlh-16"]


def test_named_column_wins_and_must_exist() -> None:
    var = pd.DataFrame({"mine": ["a", "b"]}, index=["CD3E", "MS4A1"])
    assert gene_labels(with_symbols(var, "mine")).tolist() == ["a", "b"]
    with pytest.raises(
        InputError, match=r"preparation\.gene_symbols 'mne' is not a column of var; the closest is 'mine'"
    ):
        find_symbols(var, "mne")
