from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.preparation.covariates import gather_covariates

N_CELLS = 120
CELLS = pd.Index([f"cell{i}" for i in range(N_CELLS)])


@pytest.fixture
def quality() -> pd.DataFrame:
    random = np.random.default_rng(0)
    counts = random.integers(1000, 9000, N_CELLS)
    return pd.DataFrame(
        {"n_counts": counts, "n_genes": counts // 4, "mitochondrial_percent": np.nan, "batch": "x"},
        index=CELLS,
    )


def _gathered(
    obs: dict[str, object], quality: pd.DataFrame, keys: Keys, **cell_cycle: object
) -> pd.DataFrame:
    cycle = pd.DataFrame(cell_cycle, index=CELLS)
    return gather_covariates(AnnData(obs=pd.DataFrame(obs, index=CELLS)), quality, cycle, keys)


def test_keys_quality_cell_cycle_and_the_rest_are_typed(quality: pd.DataFrame) -> None:
    random = np.random.default_rng(1)
    obs = {
        "age": random.integers(20, 60, N_CELLS),
        "treated": random.random(N_CELLS) < 0.5,
        "flag": random.integers(0, 2, N_CELLS),
        "cell_type": pd.Categorical(random.choice(["B", "T", "unknown"], N_CELLS)),
        "donor": pd.Categorical([f"d{i // 2}" for i in range(N_CELLS)]),
        "tissue": random.choice(["blood", "NA", "spleen"], N_CELLS),
    }
    keys = Keys(label_key="cell_type", sample_key="donor", continuous_covariates=("age",))
    table = _gathered(
        obs, quality, keys, S_score=random.normal(size=N_CELLS), phase=random.choice(["G1", "S"], N_CELLS)
    )
    assert table.columns.tolist() == [
        "cell_type", "donor", "age", "log10_n_counts", "n_genes", "S_score", "phase", "treated", "flag", "tissue",
    ]  # fmt: skip
    numbers = ["age", "log10_n_counts", "n_genes", "S_score"]
    assert (table.dtypes[numbers] == np.float64).all()
    assert all(isinstance(dtype, pd.CategoricalDtype) for dtype in table.dtypes.drop(numbers))
    assert table["cell_type"].cat.categories.tolist() == ["B", "T"]
    assert (table["cell_type"].isna() == (obs["cell_type"] == "unknown")).all()
    assert table["tissue"].cat.categories.tolist() == ["blood", "spleen"]
    assert len(table["donor"].cat.categories) == 60
    np.testing.assert_allclose(10 ** table["log10_n_counts"], quality["n_counts"])


def test_what_is_of_no_use_is_left_out(quality: pd.DataFrame) -> None:
    obs = {
        "barcode": [f"b{i}" for i in range(N_CELLS)],
        "plate": [f"p{i % 51}" for i in range(N_CELLS)],
        "same": 1.0,
        "empty": np.nan,
        "one": pd.Categorical(["a"] * N_CELLS, categories=["a", "b"]),
        "infinite": [np.inf] * N_CELLS,
    }
    assert _gathered(obs, quality, Keys()).columns.tolist() == ["log10_n_counts", "n_genes"]


def test_columns_that_say_the_same_are_left_out_unless_they_are_keys(
    quality: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    batch = np.tile(["x", "y", "z"], N_CELLS // 3)
    obs = {
        "batch": batch,
        "well": np.tile(["3", "1", "2"], N_CELLS // 3),
        "donor": batch,
        "total_counts": quality["n_counts"].astype(np.float32),
        "n_genes": quality["n_genes"] + 1,
    }
    with caplog.at_level(logging.INFO):
        table = _gathered(obs, quality, Keys(batch_key="batch", sample_key="donor"))
    assert table.columns.tolist() == ["batch", "donor", "log10_n_counts", "n_genes"]
    assert "'well' says the same as 'batch'" in caplog.text
    assert "'total_counts' says the same as 'log10_n_counts'" in caplog.text


def test_cell_cycle_of_the_users_comes_before_other_columns(quality: pd.DataFrame) -> None:
    random = np.random.default_rng(2)
    obs = {"other": random.normal(size=N_CELLS), "G2M_score": random.normal(size=N_CELLS)}
    assert _gathered(obs, quality, Keys()).columns.tolist()[2:] == ["G2M_score", "other"]
