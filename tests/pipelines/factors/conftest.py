"""Cells whose latent dimensions follow planted covariates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def latent() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        random.normal(size=(200, 3)),
        index=pd.Index([f"cell{i}" for i in range(200)], name="cell"),
        columns=["latent_1", "latent_2", "latent_3"],
    )


@pytest.fixture
def covariates(latent: pd.DataFrame) -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "batch": pd.Categorical(np.repeat(["x", "y"], 100)),
            "donor": pd.Categorical(np.repeat(list("abcdefghij"), 20)),
            "log10_n_counts": -latent["latent_1"] + 0.3 * random.normal(size=200),
            "G2M_score": latent["latent_3"] + random.normal(size=200),
            "cell_type": pd.cut(latent["latent_2"], 3, labels=["B", "T", "NK"]),
            "age": np.repeat(random.normal(size=10), 20),
        },
        index=latent.index,
    )


@pytest.fixture
def factor_variance() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "factor": ["factor_1", "factor_2", "factor_3"],
            "dimension": ["latent_3", "latent_1", "latent_2"],
            "sign": [-1, 1, 1],
            "active": [True, True, False],
        }
    )
