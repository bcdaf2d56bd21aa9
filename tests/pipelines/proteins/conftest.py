"""Cells with proteins: two types in two batches, one of which may lack proteins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.models import SavedModel
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.quiet import quiet
from scvi_downstream.parameters import Keys
from scvi_downstream.pipelines.training.nodes import train_model

SPEC: dict[str, Any] = {
    "name": "totalvi",
    "family": "TOTALVI",
    "n_latent": 4,
    "n_hidden": 32,
    "training": {"max_epochs": 60, "lr": 0.01, "batch_size": 64, "n_epochs_kl_warmup": 20},
}
KEYS = Keys(batch_key="batch", label_key="type", protein_key="protein_expression")
N_MARKERS = 3


def simulate(n_cells: int = 240, *, without: str | None = None, n_batches: int = 2) -> AnnData:
    """Genes 0-19 and proteins P0-P2 mark type ``x``, genes 20-39 and P3-P5 type ``y``."""
    rng = np.random.default_rng(1)
    is_x = rng.random(n_cells) < 0.5
    batch = np.array(["a", "b"])[np.arange(n_cells) % n_batches]
    rates = np.where(is_x[:, None] == (np.arange(40) < 20), 6.0, 0.5)
    protein_rates = np.where(is_x[:, None] == (np.arange(6) < N_MARKERS), 80.0, 5.0)
    proteins = rng.negative_binomial(8, 8 / (8 + protein_rates)).astype(np.float32)
    if without:
        proteins[batch == without] = 0
    names = pd.Index([f"cell{i}" for i in range(n_cells)])
    counts = AnnData(
        sparse.csr_matrix(rng.poisson(rates).astype(np.float32)),
        obs=pd.DataFrame(
            {"batch": pd.Categorical(batch), "type": pd.Categorical(np.where(is_x, "x", "y"))}, index=names
        ),
        var=pd.DataFrame({"highly_variable": True}, index=[f"gene{i}" for i in range(40)]),
    )
    counts.obsm["protein_expression"] = pd.DataFrame(
        proteins, index=names, columns=[f"P{i}" for i in range(6)]
    )
    return counts


def fit_and_save(counts: AnnData, folder: Path) -> SavedModel:
    model, *_ = train_model(counts, SPEC, KEYS, 0, "cpu", CheckpointStore(folder / "checkpoints"))
    with quiet():
        model.save(str(folder / "model"))
    return SavedModel(folder / "model")


@pytest.fixture(scope="session")
def counts() -> AnnData:
    """Both batches have proteins."""
    return simulate()


@pytest.fixture(scope="session")
def counts_without_b() -> AnnData:
    """Batch ``b`` has none."""
    return simulate(without="b")


@pytest.fixture(scope="session")
def pca_latent(counts: AnnData) -> pd.DataFrame:
    logged = np.log1p(counts.X.toarray())
    left, values, _ = np.linalg.svd(logged - logged.mean(axis=0), full_matrices=False)
    return pd.DataFrame(left[:, :5] * values[:5], index=counts.obs_names)


@pytest.fixture(scope="session")
def clusters(counts: AnnData) -> pd.DataFrame:
    return pd.DataFrame(
        {"leiden": pd.Categorical(counts.obs["type"].map({"x": "0", "y": "1"}))}, index=counts.obs_names
    )


@pytest.fixture(scope="session")
def fitted(counts: AnnData, tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    return fit_and_save(counts, tmp_path_factory.mktemp("both"))


@pytest.fixture(scope="session")
def fitted_without_b(counts_without_b: AnnData, tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    return fit_and_save(counts_without_b, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def simulated() -> Callable[..., AnnData]:
    """The simulation itself."""
    return simulate


@pytest.fixture(scope="session")
def spec() -> dict[str, Any]:
    return SPEC


@pytest.fixture(scope="session")
def keys() -> Keys:
    return KEYS
