"""Markers among proteins by the posterior and by the counts, and genes of the same name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

from scvi_downstream.errors import InputError
from scvi_downstream.models import SavedModel
from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.pipelines.proteins import create_pipeline
from scvi_downstream.pipelines.proteins.genes import correlate_with_genes, gene_of_protein
from scvi_downstream.pipelines.proteins.imputation import COLUMNS as IMPUTATION_COLUMNS
from scvi_downstream.pipelines.proteins.markers import find_groups, find_markers
from scvi_downstream.pipelines.proteins.nodes import shown, summarize_proteins
from scvi_downstream.proteins import clr

OPTIONS = ProteinsOptions(de_samples=300)


def test_only_cells_with_proteins_are_compared(
    counts_without_b: AnnData, clusters: pd.DataFrame, keys: Keys
) -> None:
    groups = list(find_groups(counts_without_b, clusters, keys, 10))
    assert [(group.grouping, group.name) for group in groups] == [
        ("clusters", "0"), ("clusters", "1"), ("labels", "x"), ("labels", "y"),
    ]  # fmt: skip
    in_b = (counts_without_b.obs["batch"] == "b").to_numpy()
    for group in groups:
        assert not (group.cells & in_b).any()
        assert not (group.rest & in_b).any()
        assert not (group.cells & group.rest).any()


def test_small_groups_and_unknown_labels_are_left_out(simulated: Callable[..., AnnData], keys: Keys) -> None:
    counts = simulated()
    labels = counts.obs["type"].astype(str).to_numpy(copy=True)
    labels[:5], labels[5:60] = "rare", "unknown"
    counts.obs["type"] = pd.Categorical(labels)
    clusters = pd.DataFrame({"leiden": pd.Categorical(["0"] * counts.n_obs)}, index=counts.obs_names)
    names = [(group.grouping, group.name) for group in find_groups(counts, clusters, keys, 10)]
    assert names == [("labels", "x"), ("labels", "y")]


@pytest.mark.slow
def test_planted_markers_are_found_by_both_tests(
    fitted: SavedModel, counts: AnnData, clusters: pd.DataFrame, keys: Keys
) -> None:
    model = fitted.attach(counts)
    table = find_markers(model, counts, clusters, keys, OPTIONS, 0)
    pd.testing.assert_frame_equal(table, find_markers(model, counts, clusters, keys, OPTIONS, 0))
    of_x = table[(table["grouping"] == "labels") & (table["group"] == "x")].set_index("protein")
    assert (of_x.loc[["P0", "P1", "P2"], "lfc_median"] > 1).all()
    assert (of_x.loc[["P3", "P4", "P5"], "lfc_median"] < -1).all()
    assert of_x["both"].all()
    proteins = counts.obsm["protein_expression"]
    ratios = clr(proteins.to_numpy())[:, 0]
    is_x = (counts.obs["type"] == "x").to_numpy()
    expected = stats.mannwhitneyu(ratios[is_x], ratios[~is_x], method="asymptotic")
    assert of_x.loc["P0", "p_value"] == pytest.approx(expected.pvalue)
    assert of_x.loc["P0", "auc"] == pytest.approx(expected.statistic / (is_x.sum() * (~is_x).sum()))
    assert of_x.loc["P0", "mean"] == pytest.approx(proteins["P0"].to_numpy()[is_x].mean())


@pytest.mark.slow
def test_random_groups_have_no_markers(fitted: SavedModel, counts: AnnData, keys: Keys) -> None:
    random = np.random.default_rng(5).choice(["0", "1"], counts.n_obs)
    clusters = pd.DataFrame({"leiden": pd.Categorical(random)}, index=counts.obs_names)
    unlabelled = keys.model_copy(update={"label_key": None})
    table = find_markers(fitted.attach(counts), counts, clusters, unlabelled, OPTIONS, 0)
    assert not table["both"].any()
    assert (table["p_adjusted"] > 0.05).all()


def test_clr_is_centred_and_of_ratios() -> None:
    counts = np.array([[0.0, 3, 7], [1, 1, 1]])
    ratios = clr(counts)
    np.testing.assert_allclose(ratios.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(ratios[0], np.log(np.array([1, 4, 8]) / stats.gmean([1, 4, 8])))
    np.testing.assert_allclose(ratios[1], 0)


def test_names_are_matched_directly_and_nothing_is_guessed() -> None:
    symbols = pd.Index(["CD4", "CD8A", "CD3E", "Cd14", "DUP", "DUP", "PTPRC"])
    proteins = pd.Index(["CD4_TotalSeqB", "CD8a-TotalSeqC", "CD3", "cd14_PROT", "DUP", "anti-CD4", "CD45RA"])
    assert gene_of_protein(proteins, symbols) == {
        "CD4_TotalSeqB": 0, "CD8a-TotalSeqC": 1, "cd14_PROT": 3, "anti-CD4": 0,
    }  # fmt: skip


def test_correlation_with_the_gene_is_spearmans(counts: AnnData, keys: Keys) -> None:
    named = counts.copy()
    named.var["symbol"] = ["P0", *[f"S{i}" for i in range(1, 40)]]
    proteins = named.obsm["protein_expression"]
    table = correlate_with_genes(named, proteins, keys, ProteinsOptions(n_bootstrap=100), 0)
    assert table["protein"].tolist() == ["P0"]
    rna = named.X.toarray()[:, 0] / named.X.toarray().sum(axis=1)
    row = table.iloc[0]
    assert row["spearman"] == pytest.approx(stats.spearmanr(rna, proteins["P0"]).statistic)
    assert row["spearman_lower"] < row["spearman"] < row["spearman_upper"]
    assert row["spearman"] > 0.4


def test_the_summary_says_what_is_not_measured_and_not_scored(counts_without_b: AnnData, keys: Keys) -> None:
    markers = pd.DataFrame(
        {
            "grouping": "labels", "group": ["x", "y"], "protein": ["P0", "P3"], "lfc_median": [2.0, -1.0],
            "both": [True, True],
        }
    )  # fmt: skip
    genes = pd.DataFrame(columns=["protein", "spearman"])
    summary = summarize_proteins(
        counts_without_b, pd.DataFrame(columns=list(IMPUTATION_COLUMNS)), markers, genes, keys,
        ProteinsOptions(max_held_out_batches=0),
    )  # fmt: skip
    text = " ".join(summary["sentences"])
    assert summary["batches_without_proteins"] == ["b"]
    assert summary["markers"] == {"labels": {"x": ["P0"], "y": []}}
    assert "those of 'b', which measured none, are imputed" in text
    assert "not scored: proteins.max_held_out_batches is 0" in text
    assert "x: P0" in text
    assert "No protein has the name of a gene" in text


def test_a_protein_to_draw_must_exist(counts: AnnData) -> None:
    with pytest.raises(InputError, match="there is no protein 'P9'"):
        shown(pd.DataFrame(), counts, ProteinsOptions(proteins=("P9",)))
    assert shown(pd.DataFrame(), counts, ProteinsOptions(top_proteins=2)) == ["P0", "P1"]


def test_the_pipeline_reads_what_the_study_has() -> None:
    pipeline = create_pipeline()
    assert pipeline.inputs() == {
        "fitted", "counts", "clusters", "umap", "pca.latent", "protein_checkpoint",
        "params:spec", "params:keys", "params:proteins", "params:seed", "params:accelerator",
    }  # fmt: skip
