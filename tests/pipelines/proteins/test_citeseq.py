"""Measured proteins of real cells: what is hidden is found again, and antibodies follow the genes of their antigens."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.proteins.imputation import score_protein_imputation
from scvi_downstream.pipelines.proteins.markers import correlate_with_genes
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.study.defaults import defaults_of, model_options

from .conftest import principal_components

DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
FILE = DATA / "citeseq_pbmc.h5ad"
KEYS = Keys(batch_key="batch", protein_key="protein_expression")
OPTIONS = defaults_of(ProteinsOptions, n_bootstrap=200, max_held_out_batches=1)
TRAINING = {"max_epochs": 60, "lr": 0.004, "batch_size": 64, "n_epochs_kl_warmup": 20}
LINEAGES = [f"{name}_TotalSeqB" for name in ("CD3", "CD14", "CD19", "CD127", "CD4")]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not in {DATA} (set SCVI_DOWNSTREAM_DATA)"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Prepared counts, and the scores of the batch whose proteins were hidden."""
    import anndata

    from scvi_downstream.pipelines.preparation.nodes import prepare_counts

    counts, _, _ = prepare_counts(
        anndata.read_h5ad(FILE), None, KEYS, defaults_of(PreparationOptions, n_top_genes=400)
    )
    modelled = counts[:, counts.var["highly_variable"].to_numpy()]
    spec = model_options({"name": "totalvi", "family": "TOTALVI", "n_hidden": 64, "training": TRAINING})
    store = CheckpointStore(tmp_path_factory.mktemp("citeseq") / "checkpoint")
    scores, values = score_protein_imputation(
        counts, principal_components(modelled), spec, KEYS, OPTIONS, 0, "cpu", store
    )
    return SimpleNamespace(counts=counts, scores=scores, values=values)


def test_all_proteins_come_through_preparation(study: SimpleNamespace) -> None:
    proteins = study.counts.obsm["protein_expression"]
    assert proteins.shape == (400, 14)
    assert (proteins == np.floor(proteins)).all(axis=None)


def test_hidden_proteins_of_the_lineages_are_found_again(study: SimpleNamespace) -> None:
    by_method = study.scores.pivot(index="protein", columns="method", values="pearson")
    assert len(by_method) == 14
    assert (by_method.loc[LINEAGES, "totalvi"] > 0.5).all()
    assert (by_method.loc[LINEAGES, "knn_pca"] > 0.5).all()
    assert by_method["totalvi"].median() > 0.4
    lower = study.scores[study.scores["method"] == "totalvi"].set_index("protein")["pearson_lower"]
    assert (lower[LINEAGES] > 0.3).all()


def test_values_are_of_the_hidden_batch(study: SimpleNamespace) -> None:
    (name,) = study.values["held_out"].unique()
    cells = study.counts.obs_names[(study.counts.obs["batch"] == name).to_numpy()]
    assert set(study.values["cell"]) == set(cells)
    table = study.values.pivot(index="cell", columns="protein", values="measured")
    expected = np.log1p(study.counts.obsm["protein_expression"].loc[table.index, table.columns])
    np.testing.assert_allclose(table.to_numpy(), expected.to_numpy(), rtol=1e-6)


def test_proteins_follow_the_genes_of_the_same_name(study: SimpleNamespace) -> None:
    proteins = study.counts.obsm["protein_expression"]
    table = correlate_with_genes(study.counts, proteins, KEYS, OPTIONS, 0).set_index("symbol")
    assert set(table.index) == {"CD4", "CD8A", "CD14", "CD19", "TIGIT"}
    assert (table["spearman_lower"] > 0).all()
    assert table.loc["CD14", "spearman"] > 0.6
    shuffled = pd.DataFrame(
        proteins.to_numpy()[np.random.default_rng(0).permutation(400)], proteins.index, proteins.columns
    )
    null = study.counts.copy()
    null.obsm["protein_expression"] = shuffled
    assert (correlate_with_genes(null, shuffled, KEYS, OPTIONS, 0)["spearman"].abs() < 0.2).all()
