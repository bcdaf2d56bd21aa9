"""A study of treated and untreated donors with planted changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.study.defaults import defaults_of, replicates_of

N_DONORS, CELLS_A_SAMPLE, N_GENES, N_PLANTED = 6, 60, 150, 10


@pytest.fixture(scope="session")
def paired_keys() -> Replicates:
    return replicates_of(
        sample_key="sample", condition_key="condition", label_key="cell_type", block_key="donor"
    )


@pytest.fixture(scope="session")
def paired_options() -> MetadataAnalysisOptions:
    return defaults_of(MetadataAnalysisOptions)


@pytest.fixture(scope="session")
def paired_counts() -> AnnData:
    """6 donors, each untreated and treated: type B doubles, the first genes rise, in every donor of its own.

    ``score`` drives the last genes within samples; ``age`` is the donor's.
    """
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(N_DONORS), 2 * CELLS_A_SAMPLE)
    treated = np.tile(np.repeat([False, True], CELLS_A_SAMPLE), N_DONORS)
    n_cells = len(donor)
    share = np.where(treated, 0.5, 0.25) + rng.uniform(-0.06, 0.06, N_DONORS)[donor]
    cell_type = np.where(rng.random(n_cells) < share, "B", rng.choice(["A", "C"], n_cells))
    score = rng.normal(size=n_cells) + donor
    mean = rng.lognormal(0.5, 0.8, N_GENES) * np.exp(rng.normal(0, 0.2, (N_DONORS, N_GENES)))[donor]
    mean[np.ix_(treated, np.arange(N_PLANTED))] *= 4
    mean[:, -N_PLANTED:] *= np.exp(0.6 * (score - donor))[:, None]
    counts = rng.negative_binomial(5, 5 / (5 + mean)).astype(np.float32)
    condition = np.where(treated, "treated", "control")
    obs = pd.DataFrame(
        {
            "donor": [f"d{i}" for i in donor],
            "condition": condition,
            "sample": [f"d{i}_{c}" for i, c in zip(donor, condition, strict=True)],
            "cell_type": cell_type,
        },
        index=[f"cell{i}" for i in range(n_cells)],
    ).astype("category")
    obs["score"] = score
    obs["age"] = np.array([34.0, 51, 28, 63, 45, 39])[donor]
    var = pd.DataFrame({"highly_variable": True}, index=[f"g{i}" for i in range(N_GENES)])
    return AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


@pytest.fixture(scope="session")
def paired_clusters(paired_counts: AnnData) -> pd.DataFrame:
    leiden = pd.Categorical(np.where(paired_counts.obs["cell_type"] == "B", "0", "1"))
    return pd.DataFrame({"leiden": leiden}, index=paired_counts.obs_names)
