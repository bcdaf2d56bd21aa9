from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.preparation.covariates import confounding_warnings, cramers_v
from scvi_downstream.statistics.testing import explained_share

RANDOM = np.random.default_rng(1)
BATCH = pd.Series(np.repeat(["a", "b", "c", "d"], 50), dtype="category", name="batch")


def typed(**columns: object) -> pd.DataFrame:
    frame = pd.DataFrame({"batch": BATCH, **columns})
    return frame.astype({name: "category" for name in columns if frame[name].dtype.kind not in "fi"})


def test_independent_keys_give_no_warning() -> None:
    table = typed(condition=np.tile(["x", "y"], 100), age=RANDOM.normal(size=200), batch_like=["z"] * 200)
    keys = Keys(batch_key="batch", condition_key="condition", continuous_covariates=("age",))
    assert confounding_warnings(table, keys) == []
    assert confounding_warnings(table, Keys(batch_key="batch", condition_key="batch_like")) == []


def test_condition_nested_in_batches_is_said() -> None:
    keys = Keys(batch_key="batch", condition_key="condition")
    sentences = confounding_warnings(typed(condition=np.repeat(["x", "y"], 100)), keys)
    assert len(sentences) == 1
    assert "each batch of 'batch' has one value of 'condition' only" in sentences[0]


def test_nearly_confounded_label_is_said_and_unknown_cells_do_not_count() -> None:
    label = np.repeat(["w", "x", "y", "z"], 50)
    label[[0, 60]] = "z"
    label[10:20] = "unknown"
    sentences = confounding_warnings(typed(label=label), Keys(batch_key="batch", label_key="label"))
    assert len(sentences) == 1
    assert "Cramér's V 0.9" in sentences[0]


def test_continuous_covariate_that_follows_the_batch_is_said() -> None:
    age = BATCH.cat.codes + RANDOM.normal(0, 0.1, size=200)
    sentences = confounding_warnings(typed(age=age), Keys(batch_key="batch", continuous_covariates=("age",)))
    assert "explains 99% of the variance of 'age'" in sentences[0]


def test_samples_in_one_batch_each_are_the_usual_design() -> None:
    keys = Keys(batch_key="batch", sample_key="donor")
    assert confounding_warnings(typed(donor=np.repeat(["d1", "d2", "d3", "d4"], 50)), keys) == []


def test_cramers_v_against_its_definition() -> None:
    table = RANDOM.integers(1, 30, size=(3, 5))
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    assert cramers_v(table) == pytest.approx(np.sqrt(chi_squared / table.sum() / 2))


def test_explained_share_is_that_of_a_linear_model() -> None:
    from sklearn.linear_model import LinearRegression

    values = RANDOM.normal(size=200) + BATCH.cat.codes.to_numpy()
    design = pd.get_dummies(BATCH)
    assert explained_share(values, BATCH) == pytest.approx(
        LinearRegression().fit(design, values).score(design, values)
    )
    assert explained_share(np.ones(200), BATCH) == 0
