import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from scvi_downstream.pipelines.annotation.marker_table import OVERLAP_COLUMNS, find_markers, overlap


@pytest.fixture
def counts() -> anndata.AnnData:
    var = pd.DataFrame({"highly_variable": np.arange(60) < 50}, index=[f"g{i}" for i in range(60)])
    return anndata.AnnData(np.ones((2, 60), np.float32), var=var)


def listed(counts: anndata.AnnData):
    rows = [("A", f"g{i}", "+") for i in (0, 1, 2, 55)] + [
        ("A", "g9", "-"),
        ("B", "g20", "+"),
        ("C", "g59", "+"),
    ]
    return find_markers(pd.DataFrame(rows, columns=["type", "gene", "sign"]), counts, 1)


def test_overlap_is_fishers_over_the_genes_that_were_tested(counts) -> None:
    found = ["g0", "g2", "g7", "g8", "g9"]
    markers = pd.DataFrame(
        {"grouping": ["clusters"] * 5 + ["labels"], "group": ["0"] * 5 + ["x"], "gene": [*found, "g1"]}
    )
    table = overlap(markers, listed(counts), counts).set_index(["cluster", "type"])
    assert table.index.tolist() == [("0", "A"), ("0", "B"), ("0", "C")]
    row = table.loc[("0", "A")]
    assert (row["n_markers"], row["n_listed"], row["n_common"], row["genes"]) == (5, 3, 2, "g0, g2")
    expected = fisher_exact([[2, 3], [1, 44]], alternative="greater").pvalue
    assert row["p"] == pytest.approx(expected)
    assert row["expected"] == pytest.approx(5 * 3 / 50)
    assert table.loc[("0", "B"), "p"] == 1.0
    assert np.isnan(table.loc[("0", "C"), "p"])
    assert table["p_adjusted"].iloc[0] == pytest.approx(min(1, 2 * expected))


def test_without_markers_of_clusters_the_table_is_empty(counts) -> None:
    markers = pd.DataFrame({"grouping": ["labels"], "group": ["x"], "gene": ["g0"]})
    table = overlap(markers, listed(counts), counts)
    assert table.empty
    assert tuple(table.columns) == OVERLAP_COLUMNS
