"""Cells of two types in paired samples, of which one type responds, and a MrVI fitted to them for a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.obs import with_crossed_samples
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.study.defaults import defaults_of, model_options, replicates_of

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from scvi.external import MRVI

    from scvi_downstream.models.saved import SavedModel

N_DONORS, N_CELLS, N_GENES, N_RESPONDING = 6, 25, 60, 8


@dataclass(frozen=True, eq=False)
class Study:
    """Counts, keys, and the model fitted to them."""

    counts: AnnData
    keys: Replicates
    fitted: SavedModel
    model: MRVI
    clusters: pd.DataFrame
    options: SamplesOptions


def simulate(effect: float) -> AnnData:
    """6 donors × 2 conditions × 2 types × 25 cells; 8 genes of the type ``A`` respond by ``effect`` log2."""
    from anndata import AnnData
    from scipy import sparse

    random = np.random.default_rng(0)
    base = random.gamma(1.0, 2.0, size=N_GENES) + 0.3
    types = base * np.exp(random.normal(scale=1.2, size=(2, N_GENES)))
    donors = np.exp(random.normal(scale=0.15, size=(N_DONORS, N_GENES)))
    rows, obs = [], []
    for donor in range(N_DONORS):
        for condition in ("ctrl", "stim"):
            for kind, name in enumerate("AB"):
                rate = types[kind] * donors[donor]
                if condition == "stim" and name == "A":
                    rate = np.where(np.arange(N_GENES) < N_RESPONDING, (rate + 0.5) * 2**effect, rate)
                depth = random.gamma(20, 1 / 20, size=(N_CELLS, 1))
                rows.append(random.poisson(rate * depth))
                obs += [(f"d{donor}", condition, name)] * N_CELLS
    table = pd.DataFrame(obs, columns=["donor", "condition", "cell_type"]).astype("category")
    table.index = pd.Index([f"cell{i}" for i in range(len(table))], dtype=str)
    genes = pd.Index([f"gene{i}" for i in range(N_GENES)], dtype=str)
    var = pd.DataFrame({"highly_variable": True, "highly_variable_rank": np.arange(N_GENES)}, index=genes)
    return AnnData(sparse.csr_matrix(np.concatenate(rows).astype(np.float32)), obs=table, var=var)


def fit_for_a_moment(counts: AnnData, keys: Keys, folder: Path, epochs: int) -> SavedModel:
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.training.nodes import train_model

    training = {
        "max_epochs": epochs,
        "lr": 5e-3,
        "n_epochs_kl_warmup": 5,
        "eps": 1e-8,
        "gradient_clip_val": 40,
    }
    sizes = {"n_latent": 8, "n_latent_u": 4, "encoder_n_hidden": 24, "u_prior_mixture_k": 4}
    spec = model_options({"name": "mrvi", "family": "MRVI", **sizes, "training": training})
    store = CheckpointDataset(filepath=str(folder / "checkpoint")).load()
    model, _, _ = train_model(counts, spec, keys, 0, "cpu", store)
    dataset = ScviModelDataset(filepath=str(folder / "mrvi"))
    dataset.save(model)
    return dataset.load()


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    keys = replicates_of(sample_key="donor", condition_key="condition", label_key="cell_type")
    counts = simulate(effect=3.0)
    counts.obs = with_crossed_samples(counts.obs, keys)
    fitted = fit_for_a_moment(counts, keys, tmp_path_factory.mktemp("mrvi"), epochs=40)
    clusters = pd.DataFrame({"leiden": counts.obs["cell_type"].astype(str)}, index=counts.obs_names)
    options = defaults_of(SamplesOptions, noise_draws=4, max_cells_per_group=150)
    return Study(counts, keys, fitted, fitted.attach(counts), clusters, options)


@pytest.fixture(scope="session")
def null_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The same cells without a response, samples of one donor each, half of them called ``stim`` at random."""
    keys = replicates_of(sample_key="library", condition_key="fake", label_key="cell_type")
    counts = simulate(effect=0.0)
    library = counts.obs["donor"].astype(str) + counts.obs["condition"].astype(str)
    names = np.random.default_rng(1).permutation(library.unique())
    fake = library.map({name: "stim" if i % 2 else "ctrl" for i, name in enumerate(names)})
    counts.obs = counts.obs.assign(library=library.astype("category"), fake=fake.astype("category"))
    fitted = fit_for_a_moment(counts, keys, tmp_path_factory.mktemp("null"), epochs=20)
    clusters = pd.DataFrame({"leiden": counts.obs["cell_type"].astype(str)}, index=counts.obs_names)
    options = defaults_of(SamplesOptions, noise_draws=4, max_cells_per_group=150, n_permutations=300)
    return Study(counts, keys, fitted, fitted.attach(counts), clusters, options)
