"""Cells with planted batches, and a cross-validation without a model: likelihoods that are planted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.cross_validation.refit import Recipe
from scvi_downstream.study.defaults import model_spec

if TYPE_CHECKING:
    from anndata import AnnData

N_FOLDS = 5
N_CELLS = 600
KEYS = Keys(batch_key="batch", label_key="cell_type")
SMALL = {"n_latent": 3, "n_hidden": 16}


def recipe(family: str = "SCVI", keys: Keys = KEYS, epochs: int = 4, **options: Any) -> Recipe:
    training = {"max_epochs": epochs, "n_epochs_kl_warmup": 5, "batch_size": 64, "lr": 0.01}
    spec = model_spec({"name": "model", "family": family, "training": training, **options})
    return Recipe(spec, None, keys, 0, "cpu")


def parts(counts: AnnData, batch: str) -> tuple[np.ndarray, np.ndarray]:
    inside = (counts.obs["batch"] == batch).to_numpy()
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def planted(
    *, cost: dict[str, float], gap: float = 20.0, worth: float = 0.0, seed: int = 0
) -> dict[str, Any]:
    """Likelihoods and trainings of all folds and batches, and the obs of the cells."""
    rng = np.random.default_rng(seed)
    batches = np.array(list(cost))[np.arange(N_CELLS) % len(cost)]
    names = pd.Index([f"cell{i}" for i in range(N_CELLS)], name="cell")
    level = -600 + rng.normal(0, 60, N_CELLS)
    folds = rng.permutation(np.arange(N_CELLS) % N_FOLDS + 1)

    def noise() -> np.ndarray:
        return rng.normal(0, 3, N_CELLS)

    fold_cells = []
    for fold in range(1, N_FOLDS + 1):
        held_out = folds == fold
        likelihoods = pd.DataFrame(
            {
                "elbo": level + noise(),
                "marginal_ll": level + 5 + noise(),
                "reconstruction_error": -level - 12 + noise(),
                "effective_samples": 4.0,
                "elbo_batch_unknown": level - worth + noise(),
                "marginal_ll_batch_unknown": level + 5 - worth + noise(),
            },
            index=names,
        )
        own = likelihoods[held_out].assign(role="held_out")
        trained = pd.DataFrame({"elbo": level + gap + noise()}, index=names)[~held_out].assign(role="train")
        table = pd.concat([own, trained]).assign(fold=fold)
        fold_cells.append(table.assign(batch=pd.Series(batches, names).reindex(table.index)))
    lost = np.array([cost[name] for name in batches])
    unseen = pd.DataFrame(
        {
            "batch": batches,
            "elbo": level - worth - lost + noise(),
            "marginal_ll": level + 5 - worth - lost + noise(),
            "reconstruction_error": -level,
            "effective_samples": 4.0,
        },
        index=names,
    )
    trainings = [
        _training(rng) | {"batch": name, "likeness": {other: 1 / 3 for other in cost if other != name}}
        for name in cost
    ]
    return {
        "fold_cells": fold_cells,
        "trainings": [_training(rng) | {"fold": fold} for fold in range(1, N_FOLDS + 1)],
        "batch_cells": unseen,
        "batch_trainings": {"trainings": trainings, "left_out": {}},
        "obs": pd.DataFrame({"batch": batches, "cell_type": "B cell"}, index=names),
    }


def _training(rng: np.random.Generator) -> dict[str, Any]:
    """One whose validation loss levels off while its training loss falls."""
    epochs = np.arange(80)
    validation = 660 + 80 * np.exp(-epochs / 8) + rng.normal(0, 0.5, 80)
    return {
        "n_train": 430,
        "n_validation": 50,
        "n_held_out": N_CELLS // N_FOLDS,
        "epochs": 80,
        "best_epoch": int(np.argmin(validation)) + 1,
        "stopped_early": True,
        "seconds": 5.0,
        "seconds_scoring": 1.0,
        "curves": {
            "elbo_train": (650 + 80 * np.exp(-epochs / 8) - 0.3 * epochs).tolist(),
            "elbo_validation": validation.tolist(),
        },
    }


@pytest.fixture(scope="session")
def small_counts() -> AnnData:
    """240 cells × 50 genes of three types; in the batch ``far`` a fifth of the genes is counted ten times as often."""
    import anndata
    from scipy import sparse

    rng = np.random.default_rng(0)
    n_cells, n_genes = 240, 50
    types = rng.integers(3, size=n_cells)
    batches = np.array(["far", "near1", "near2", "near3"])[np.arange(n_cells) % 4]
    means = rng.gamma(1, 2, (3, n_genes))[types] * rng.gamma(8, 1 / 8, (n_cells, 1))
    means[:, :10] *= np.where(batches == "far", 10, 1)[:, None]
    cells = anndata.AnnData(sparse.csr_matrix(rng.poisson(means).astype(np.float32)))
    cells.obs_names = [f"cell{i}" for i in range(n_cells)]
    cells.obs["batch"] = pd.Categorical(batches)
    cells.obs["cell_type"] = pd.Categorical(np.array(["a", "b", "c"])[types])
    cells.obs["donor"] = pd.Categorical(np.array(["d1", "d2", "d3"])[rng.integers(3, size=n_cells)])
    cells.var["highly_variable"] = np.arange(n_genes) < 45
    proteins = rng.poisson(means[:, :6] * 4)
    cells.obsm["protein_expression"] = pd.DataFrame(
        proteins, index=cells.obs_names, columns=[f"protein{i}" for i in range(6)]
    )
    return cells
