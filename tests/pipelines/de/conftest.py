"""Counts with planted differences, small enough for every test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.study.defaults import replicates_of

N_CELLS, N_GENES, N_PLANTED = 480, 120, 12


@pytest.fixture(scope="session")
def planted_keys() -> Replicates:
    return replicates_of(label_key="cell_type", sample_key="donor", condition_key="condition")


@pytest.fixture(scope="session")
def planted_counts() -> AnnData:
    """Cell type B has 6 times as much of the first genes; stimulated cells, in every donor, of the last."""
    rng = np.random.default_rng(0)
    donor = np.repeat([f"d{i}" for i in range(6)], N_CELLS // 6)
    cell_type = np.tile(["A", "B", "B", "unknown"], N_CELLS // 4)
    condition = np.tile(np.repeat(["ctrl", "stim"], N_CELLS // 12), 6)
    of_donor = np.exp(rng.normal(0, 0.1, (6, N_GENES)))
    mean = rng.lognormal(0.5, 0.8, N_GENES) * np.repeat(of_donor, N_CELLS // 6, axis=0)
    mean[np.ix_(cell_type == "B", np.arange(N_PLANTED))] *= 6
    mean[np.ix_(condition == "stim", np.arange(N_GENES - N_PLANTED, N_GENES))] *= 6
    counts = rng.negative_binomial(5, 5 / (5 + mean)).astype(np.float32)
    obs = pd.DataFrame(
        {"cell_type": cell_type, "donor": donor, "condition": condition},
        index=[f"cell{i}" for i in range(N_CELLS)],
    ).astype("category")
    var = pd.DataFrame({"highly_variable": True}, index=[f"g{i}" for i in range(N_GENES)])
    return AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


@pytest.fixture(scope="session")
def planted_clusters(planted_counts: AnnData) -> pd.DataFrame:
    leiden = pd.Categorical(np.where(planted_counts.obs["cell_type"] == "B", "0", "1"))
    return pd.DataFrame(
        {"leiden": leiden, "leiden_1.0": leiden}, index=planted_counts.obs_names.rename("cell")
    )
