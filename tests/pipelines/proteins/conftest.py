"""Two cell types in two batches with proteins that mark them, and a totalVI fitted to them for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from scvi.model import TOTALVI

    from scvi_downstream.models import SavedModel

KEYS = Keys(batch_key="batch", label_key="cell_type", protein_key="protein_expression")
OPTIONS = ProteinsOptions(n_samples=25, max_held_out_batches=1, n_bootstrap=200, de_samples=500)
SPEC: dict[str, Any] = {
    "name": "totalvi",
    "family": "TOTALVI",
    "n_latent": 4,
    "n_hidden": 32,
    "training": {"max_epochs": 60, "lr": 0.01, "batch_size": 64, "n_epochs_kl_warmup": 15},
}
MARKERS_OF_A, MARKERS_OF_B, SAME = ("CD3", "CD4"), ("CD19", "CD20"), ("IgG1", "IgG2")
GENES_OF_A = 20


def simulate(n_cells: int = 240, n_genes: int = 40, *, unmeasured: bool = False) -> AnnData:
    """Types ``A`` and ``B`` in batches ``one`` (a third) and ``two``; half of the genes mark ``A``.

    Proteins: two mark ``A``, two ``B``, two are background. With ``unmeasured`` batch ``two`` has none.
    """
    from anndata import AnnData
    from scipy import sparse

    random = np.random.default_rng(0)
    is_a = random.random(n_cells) < 0.5
    batch = np.where(np.arange(n_cells) % 3 == 0, "one", "two")
    rates = np.where(is_a[:, None] == (np.arange(n_genes) < GENES_OF_A), 6.0, 0.5)
    depth = random.gamma(20, 1 / 20, size=(n_cells, 1))
    marks = [True] * len(MARKERS_OF_A) + [False] * len(MARKERS_OF_B)
    foreground = np.where(is_a[:, None] == np.array(marks), 80.0, 4.0)
    background = np.full((n_cells, len(SAME)), 5.0)
    amount = random.gamma(8, 1 / 8, size=(n_cells, len(marks) + len(SAME)))
    proteins = random.poisson(np.hstack([foreground, background]) * amount).astype(np.float32)
    if unmeasured:
        proteins[batch == "two"] = 0
    obs = pd.DataFrame(
        {"batch": pd.Categorical(batch), "cell_type": pd.Categorical(np.where(is_a, "A", "B"))},
        index=pd.Index([f"cell{i}" for i in range(n_cells)], dtype=str),
    )
    names = ["CD4", "MS4A1", *(f"gene{i}" for i in range(n_genes - 2))]
    var = pd.DataFrame({"highly_variable": True}, index=pd.Index(names, dtype=str))
    counts = AnnData(sparse.csr_matrix(random.poisson(rates * depth).astype(np.float32)), obs=obs, var=var)
    counts.obsm["protein_expression"] = pd.DataFrame(
        proteins, index=counts.obs_names, columns=[*MARKERS_OF_A, *MARKERS_OF_B, *SAME]
    )
    return counts


def principal_components(counts: AnnData) -> pd.DataFrame:
    logged = np.log1p(counts.X.toarray())
    u, s, _ = np.linalg.svd(logged - logged.mean(axis=0), full_matrices=False)
    return pd.DataFrame(u[:, :5] * s[:5], index=counts.obs_names)


@dataclass(frozen=True, eq=False)
class Study:
    """Counts with proteins and the model fitted to them."""

    counts: AnnData
    fitted: SavedModel
    model: TOTALVI
    clusters: pd.DataFrame


def fit_for_a_moment(counts: AnnData, folder: Path) -> Study:
    from scvi_downstream.datasets import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.training.nodes import train_model

    store = CheckpointDataset(filepath=str(folder / "checkpoint")).load()
    model, _, _ = train_model(counts, SPEC, KEYS, 0, "cpu", store)
    dataset = ScviModelDataset(filepath=str(folder / "totalvi"))
    dataset.save(model)
    fitted = dataset.load()
    clusters = pd.DataFrame({"leiden": counts.obs["cell_type"].astype(str)}, index=counts.obs_names)
    return Study(counts, fitted, fitted.attach(counts), clusters)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return fit_for_a_moment(simulate(), tmp_path_factory.mktemp("totalvi"))


@pytest.fixture(scope="session")
def partly_measured(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Batch ``two`` without proteins."""
    return fit_for_a_moment(simulate(unmeasured=True), tmp_path_factory.mktemp("partly"))
