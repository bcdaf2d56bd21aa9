"""The table of marker genes: what is refused, what is found, and its overlap with markers of clusters."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from scvi_downstream.pipelines.annotation.marker_table import OVERLAP_COLUMNS, find_markers, match_markers
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of


@pytest.fixture
def counts() -> anndata.AnnData:
    var = pd.DataFrame({"symbol": ["CD3D", "CD3E", "LYZ", "LYZ"]}, index=["ENSG1", "ENSG2", "ENSG3", "ENSG4"])
    X = np.array([[1, 2, 1, 5], [0, 1, 0, 3]], dtype=np.float32)
    return anndata.AnnData(X, var=var)


def table(*rows: tuple, columns: tuple[str, ...] = ("type", "gene", "sign")) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(columns))


def test_genes_are_found_by_name_or_symbol_and_signs_understood(counts) -> None:
    known = find_markers(
        table(("T", "ENSG1", "+"), ("T", "CD3E", 1), ("T", "LYZ", "Down"), ("T", "NOGENE", "-")), counts, 2
    )
    assert known.genes["name"].tolist() == ["ENSG1", "ENSG2", "ENSG4"]  # of two LYZ the more abundant
    assert known.genes["sign"].tolist() == [1, 1, -1]
    assert known.missing == ("NOGENE",)
    assert known.n_listed == 4
    assert known.types == ["T"]


def test_columns_in_any_case_and_without_signs(counts) -> None:
    known = find_markers(table(("T", "CD3D"), ("T", "CD3E"), columns=("Type", " GENE ")), counts, 2)
    assert known.genes["sign"].tolist() == [1, 1]


def test_types_with_too_few_genes_are_left_out(counts) -> None:
    rows = [("T", "CD3D", "+"), ("T", "CD3E", "+"), ("B", "MS4A1", "+"), ("mono", "LYZ", "+")]
    known = find_markers(table(*rows), counts, 2)
    assert known.types == ["T"]
    assert known.left_out == {"B": 0, "mono": 1}
    with pytest.raises(InputError, match=r"no type has 3 genes in the counts, the most has 'T' \(2\)"):
        find_markers(table(*rows), counts, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (table(("T", "CD3D"), columns=("celltype", "gene")), "no column 'type'; it has 'celltype', 'gene'"),
        (table(("T", "CD3D"), columns=("type", "genes")), "no column 'gene'; it has 'type', 'genes'"),
        (
            table(("T", "CD3D", "+"), ("T", "CD3D", "+")),
            "lists 'CD3D' 2 times for the type 'T'; keep one line",
        ),
        (table(("T", "CD3D", "+"), ("T", "CD3D", "-")), "lists 'CD3D' with both signs for the type 'T'"),
        (
            table(("T", "CD3D", "+"), ("T", "ENSG1", "+")),
            "'CD3D' and 'ENSG1' 2 times .*one gene of the counts",
        ),
        (table(("T", "CD3D", "?"), ("T", "CD3E", "+")), r"the sign '\?' in line 2 is none of"),
        (table(("T", None, "+")), "the column 'gene' is empty in line 2"),
        (table(("unknown", "CD3D", "+")), "'unknown' cannot be a type"),
        (table(), "holds no line but its header"),
        (None, "marker_table is not set"),
        (table(("T", "cd3d", "+"), ("T", "X", "+")), "none of the 2 genes .*'cd3d'"),
    ],
)
def test_what_is_wrong_with_the_table_is_said(counts, given, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_markers(given, counts, 1)


def test_genes_of_another_species_are_told_by_their_case() -> None:
    counts = anndata.AnnData(np.ones((2, 2), np.float32), var=pd.DataFrame(index=["CD3D", "LYZ"]))
    with pytest.raises(
        InputError, match=r"whose genes are named like 'CD3D'; 1 are when upper and lower case"
    ):
        find_markers(table(("T", "Cd3d", "+")), counts, 1)


@pytest.fixture
def tested_counts() -> anndata.AnnData:
    var = pd.DataFrame({"highly_variable": np.arange(60) < 50}, index=[f"g{i}" for i in range(60)])
    return anndata.AnnData(np.ones((2, 60), np.float32), var=var)


LISTED = table(
    *(("A", f"g{i}", "+") for i in (0, 1, 2, 55)), ("A", "g9", "-"), ("B", "g20", "+"), ("C", "g59", "+")
)
ONE_GENE = defaults_of(AnnotationOptions, markers={"min_genes": 1})


def test_overlap_is_fishers_over_the_genes_that_were_tested(tested_counts) -> None:
    found = ["g0", "g2", "g7", "g8", "g9"]
    markers = pd.DataFrame(
        {"grouping": ["clusters"] * 5 + ["labels"], "group": ["0"] * 5 + ["x"], "gene": [*found, "g1"]}
    )
    overlap = match_markers(markers, LISTED, tested_counts, ONE_GENE).set_index(["cluster", "type"])
    assert overlap.index.tolist() == [("0", "A"), ("0", "B"), ("0", "C")]
    row = overlap.loc[("0", "A")]
    assert (row["n_markers"], row["n_listed"], row["n_common"], row["genes"]) == (5, 3, 2, "g0, g2")
    expected = fisher_exact([[2, 3], [1, 44]], alternative="greater").pvalue
    assert row["p"] == pytest.approx(expected)
    assert row["expected"] == pytest.approx(5 * 3 / 50)
    assert overlap.loc[("0", "B"), "p"] == 1.0
    assert np.isnan(overlap.loc[("0", "C"), "p"])
    assert overlap["p_adjusted"].iloc[0] == pytest.approx(min(1, 2 * expected))


def test_without_markers_of_clusters_the_table_is_empty(tested_counts) -> None:
    markers = pd.DataFrame({"grouping": ["labels"], "group": ["x"], "gene": ["g0"]})
    overlap = match_markers(markers, LISTED, tested_counts, ONE_GENE)
    assert overlap.empty
    assert tuple(overlap.columns) == OVERLAP_COLUMNS
