"""Cells with proteins: two types in two batches, of which the second may lack proteins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.pipelines.training.nodes import train_model
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.study.defaults import defaults_of, model_options

SPEC: dict[str, Any] = model_options(
    {
        "name": "totalvi",
        "family": "TOTALVI",
        "n_latent": 4,
        "n_hidden": 32,
        "training": {"max_epochs": 60, "lr": 0.01, "batch_size": 64, "n_epochs_kl_warmup": 20},
    }
)
KEYS = Keys(batch_key="batch", label_key="type", protein_key="protein_expression")
OPTIONS = defaults_of(ProteinsOptions, n_samples=10, n_bootstrap=200, de_samples=300)
MARKERS_OF_A = ("CD3", "CD4", "CD28")
MARKERS_OF_B = ("CD19", "CD20", "IgG1")
PROTEINS = ("CD3", "CD4", "CD19", "CD20", "CD28", "IgG1")


@dataclass(frozen=True)
class Study:
    """Counts and a model that was fitted on them."""

    counts: AnnData
    fitted: SavedModel
    clusters: pd.DataFrame
    pca_latent: pd.DataFrame


def simulate(n_cells: int = 240, *, unmeasured: bool = False) -> AnnData:
    """Genes 0-19 and three proteins mark type ``A``, the others type ``B``.

    Every third cell is of batch ``one``, the others of ``two``, which with ``unmeasured`` has no proteins. The first
    gene is called as a protein is.
    """
    rng = np.random.default_rng(1)
    is_a = rng.random(n_cells) < 0.5
    batch = np.where(np.arange(n_cells) % 3 == 0, "one", "two")
    rates = np.where(is_a[:, None] == (np.arange(40) < 20), 6.0, 0.5)
    marks_a = np.isin(PROTEINS, MARKERS_OF_A)
    protein_rates = np.where(is_a[:, None] == marks_a, 80.0, 5.0)
    proteins = rng.negative_binomial(8, 8 / (8 + protein_rates)).astype(np.float32)
    if unmeasured:
        proteins[batch == "two"] = 0
    names = pd.Index([f"cell{i}" for i in range(n_cells)])
    counts = AnnData(
        sparse.csr_matrix(rng.poisson(rates).astype(np.float32)),
        obs=pd.DataFrame(
            {"batch": pd.Categorical(batch), "type": pd.Categorical(np.where(is_a, "A", "B"))}, index=names
        ),
        var=pd.DataFrame({"highly_variable": True}, index=["CD4", *(f"gene{i}" for i in range(1, 40))]),
    )
    counts.obsm["protein_expression"] = pd.DataFrame(proteins, index=names, columns=list(PROTEINS))
    return counts


def fit_study(counts: AnnData, folder: Path) -> Study:
    """Fit totalVI; clusters are the types."""
    model, *_ = train_model(counts, SPEC, KEYS, 0, "cpu", CheckpointStore(folder / "checkpoints"))
    with quiet():
        model.save(str(folder / "model"))
    clusters = pd.Categorical(counts.obs["type"].map({"A": "0", "B": "1"}))
    return Study(
        counts=counts,
        fitted=SavedModel(folder / "model"),
        clusters=pd.DataFrame({"leiden": clusters}, index=counts.obs_names),
        pca_latent=principal_components(counts),
    )


def scores_of(**pearson: float) -> pd.DataFrame:
    """Scores of these methods, the same for two proteins of one held-out batch."""
    rows = [(method, "one", protein, r) for method, r in pearson.items() for protein in ("CD3", "CD4")]
    return pd.DataFrame(rows, columns=["method", "held_out", "protein", "pearson"])


def principal_components(counts: AnnData) -> pd.DataFrame:
    """Five components of log counts."""
    logged = np.log1p(counts.X.toarray())
    left, values, _ = np.linalg.svd(logged - logged.mean(axis=0), full_matrices=False)
    return pd.DataFrame(left[:, :5] * values[:5], index=counts.obs_names)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Both batches have proteins."""
    return fit_study(simulate(), tmp_path_factory.mktemp("both"))


@pytest.fixture(scope="session")
def partial_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Batch ``two`` has none."""
    return fit_study(simulate(unmeasured=True), tmp_path_factory.mktemp("partial"))
