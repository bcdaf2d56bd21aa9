"""Markers among proteins by the posterior and by the counts, and genes that are called as proteins are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import spearmanr

from scvi_downstream.cells.expression import clr, log_normalize
from scvi_downstream.pipelines.proteins.markers import (
    GENE_COLUMNS,
    correlate_with_genes,
    find_groups,
    find_protein_markers,
    gene_of_protein,
)

from .conftest import KEYS, MARKERS_OF_A, MARKERS_OF_B, OPTIONS, Study, simulate


def test_only_cells_with_proteins_are_compared() -> None:
    counts = simulate(unmeasured=True)
    clusters = pd.DataFrame({"leiden": counts.obs["type"]})
    groups = find_groups(counts, clusters, KEYS, 10)
    assert [(group.grouping, group.name) for group in groups] == [
        ("clusters", "A"), ("clusters", "B"), ("labels", "A"), ("labels", "B"),
    ]  # fmt: skip
    in_two = (counts.obs["batch"] == "two").to_numpy()
    for group in groups:
        assert not (group.cells1 & in_two).any()
        assert not (group.cells2 & in_two).any()
        assert not (group.cells1 & group.cells2).any()


def test_small_groups_and_unknown_labels_are_left_out() -> None:
    counts = simulate()
    labels = counts.obs["type"].astype(str).to_numpy(copy=True)
    labels[:5], labels[5:60] = "rare", "unknown"
    counts.obs["type"] = pd.Categorical(labels)
    clusters = pd.DataFrame({"leiden": pd.Categorical(["0"] * counts.n_obs)}, index=counts.obs_names)
    names = [(group.grouping, group.name) for group in find_groups(counts, clusters, KEYS, 10)]
    assert names == [("labels", "A"), ("labels", "B")]


@pytest.mark.slow
def test_planted_markers_are_found_by_both_tests(study: Study) -> None:
    table = find_protein_markers(study.fitted, study.counts, study.clusters, KEYS, OPTIONS, 0, "cpu")
    of_a = table[(table["grouping"] == "labels") & (table["group"] == "A")].set_index("protein")
    assert (of_a.loc[list(MARKERS_OF_A), "lfc_median"] > 1).all()
    assert (of_a.loc[list(MARKERS_OF_B), "lfc_median"] < -1).all()
    assert of_a["both"].all()
    proteins = study.counts.obsm["protein_expression"]
    ratios = clr(proteins.to_numpy())[:, 0]
    is_a = (study.counts.obs["type"] == "A").to_numpy()
    expected = stats.mannwhitneyu(ratios[is_a], ratios[~is_a], method="asymptotic")
    assert of_a.loc["CD3", "p_value"] == pytest.approx(expected.pvalue)
    assert of_a.loc["CD3", "auc"] == pytest.approx(expected.statistic / (is_a.sum() * (~is_a).sum()))
    assert of_a.loc["CD3", "mean"] == pytest.approx(proteins["CD3"].to_numpy()[is_a].mean())


@pytest.mark.slow
def test_random_groups_have_no_markers(study: Study) -> None:
    random = np.random.default_rng(5).choice(["0", "1"], study.counts.n_obs)
    clusters = pd.DataFrame({"leiden": pd.Categorical(random)}, index=study.counts.obs_names)
    unlabelled = KEYS.model_copy(update={"label_key": None})
    table = find_protein_markers(study.fitted, study.counts, clusters, unlabelled, OPTIONS, 0, "cpu")
    assert not table["both"].any()
    assert (table["p_adjusted"] > 0.05).all()


def test_clr_is_the_logarithm_of_ratios_to_the_geometric_mean() -> None:
    counts = np.array([[0.0, 3, 7], [1, 1, 1]])
    expected = np.log((counts + 1) / stats.gmean(counts + 1, axis=1)[:, None])
    np.testing.assert_allclose(clr(counts), expected, atol=1e-12)


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


def test_what_only_batches_share_is_no_correlation() -> None:
    """A batch that has more of every protein leaves ranks within batches as they are."""
    counts = simulate(120)
    denoised = counts.obsm["protein_expression"] + 0.5
    in_two = (counts.obs["batch"] == "two").to_numpy()
    shifted = denoised + 1000.0 * in_two[:, None]
    columns = ["spearman_denoised", "spearman_denoised_lower", "spearman_denoised_upper"]
    plain, moved = (
        correlate_with_genes(counts, each, KEYS, OPTIONS, 0)[columns] for each in (denoised, shifted)
    )
    assert in_two.any()
    assert not in_two.all()
    pd.testing.assert_frame_equal(plain, moved)


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
