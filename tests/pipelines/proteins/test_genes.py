from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.pipelines.proteins.markers import GENE_COLUMNS, correlate_with_genes, gene_of_protein

from .conftest import KEYS, OPTIONS, simulate

SYMBOLS = pd.Index(["CD4", "CD8A", "Cd19", "TWICE", "TWICE"])


@pytest.mark.parametrize(
    ("protein", "position"),
    [
        ("CD4", 0), ("cd4", 0), ("CD4_TotalSeqB", 0), ("CD4-TotalSeq-A", 0), ("anti-CD19", 2), ("CD19_prot", 2),
        ("CD8", None), ("CD45RA", None), ("TWICE", None), ("CD", None),
    ],
)  # fmt: skip
def test_only_the_name_of_the_gene_is_taken(protein: str, position: int | None) -> None:
    assert gene_of_protein(pd.Index([protein]), SYMBOLS).get(protein) == position


@given(st.lists(st.text("CD48a-_", min_size=1, max_size=6), unique=True, max_size=8))
def test_every_match_is_a_gene_once(proteins: list[str]) -> None:
    for position in gene_of_protein(pd.Index(proteins), SYMBOLS).values():
        assert 0 <= position < 3


def test_correlations_are_scipys_over_the_cells_that_measured() -> None:
    counts = simulate(120, unmeasured=True)
    denoised = counts.obsm["protein_expression"] + 0.5
    table = correlate_with_genes(counts, denoised, KEYS, OPTIONS, 0)
    assert table["protein"].tolist() == ["CD4"]
    row = table.iloc[0]
    measured = (counts.obs["batch"] == "one").to_numpy()
    rna = log_normalize(counts, np.array([0])).toarray()[measured, 0]
    expected = spearmanr(rna, counts.obsm["protein_expression"].loc[measured, "CD4"]).statistic
    assert row["n_cells"] == measured.sum()
    assert row["spearman"] == pytest.approx(expected)
    assert row["spearman_lower"] < row["spearman"] < row["spearman_upper"]
    assert row["spearman"] > 0.4


def test_ensembl_names_are_looked_up_by_symbol() -> None:
    counts = simulate(60)
    counts.var["symbol"] = counts.var_names
    counts.var_names = [f"ENSG{i}" for i in range(counts.n_vars)]
    table = correlate_with_genes(counts, counts.obsm["protein_expression"], KEYS, OPTIONS, 0)
    assert table[["protein", "gene", "symbol"]].to_numpy().tolist() == [["CD4", "ENSG0", "CD4"]]


def test_without_a_common_name_the_table_is_empty() -> None:
    counts = simulate(60)
    counts.var_names = [f"g{i}" for i in range(counts.n_vars)]
    table = correlate_with_genes(counts, counts.obsm["protein_expression"], KEYS, OPTIONS, 0)
    assert table.empty
    assert list(table.columns) == list(GENE_COLUMNS)
