"""Simulated counts: two batches, three cell types, negative binomial."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

N_CELLS, N_GENES = 120, 60


@pytest.fixture
def raw() -> ad.AnnData:
    random = np.random.default_rng(0)
    batch = np.repeat(["one", "two"], N_CELLS // 2)
    cell_type = np.tile(["B", "T", "NK"], N_CELLS // 3)
    means = random.gamma(2, 1.5, size=N_GENES) + 0.2
    scaled = means * np.where(cell_type[:, None] == "T", random.gamma(2, 0.5, size=N_GENES), 1)
    values = random.negative_binomial(2, 2 / (2 + scaled))
    obs = pd.DataFrame(
        {"batch": batch, "cell_type": cell_type, "condition": np.tile(["control", "treated"], N_CELLS // 2)},
        index=[f"cell{i}" for i in range(N_CELLS)],
    )
    obs["donor"] = np.tile(["d1", "d2", "d3", "d4"], N_CELLS // 4)
    obs["age"] = random.normal(40, 10, size=N_CELLS)
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(N_GENES - 2)] + ["MT-CO1", "MT-ND1"])
    return ad.AnnData(sparse.csr_matrix(values.astype(np.float32)), obs=obs, var=var)
