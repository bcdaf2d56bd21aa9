from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import as_categories, with_unknown
from scvi_downstream.pipelines.preparation.covariates import (
    confounding_warnings,
    gather_covariates,
    key_warnings,
    require_keys,
    typed_keys,
)
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.statistics.testing import explained_share
from scvi_downstream.study.defaults import defaults_of, replicates_of

OPTIONS = defaults_of(PreparationOptions)


def accepted(obs: pd.DataFrame, keys: Keys) -> pd.DataFrame:
    require_keys(obs.columns, keys)
    return typed_keys(obs, keys, OPTIONS)


def refused(obs: pd.DataFrame, keys: Keys) -> str:
    with pytest.raises(InputError) as error:
        accepted(obs, keys)
    return str(error.value)


def test_misspelt_key_gets_the_closest(raw: ad.AnnData) -> None:
    assert (
        refused(raw.obs, Keys(batch_key="donr"))
        == "batch_key 'donr' is not a column of obs; the closest is 'donor'"
    )
    message = refused(raw.obs, Keys(continuous_covariates=("aeg",)))
    assert message.startswith("continuous_covariates[0] 'aeg' is not a column of obs; the closest is 'age'")


@pytest.mark.parametrize("missing", [None, np.nan, "", "nan"])
@pytest.mark.parametrize("parameter", ["batch_key", "sample_key", "condition_key"])
def test_missing_values_are_counted_and_the_first_cells_named(
    raw: ad.AnnData, parameter: str, missing: object
) -> None:
    raw.obs["key"] = raw.obs["batch"].astype(object)
    raw.obs.loc[["cell4", "cell9"], "key"] = missing
    message = refused(raw.obs, Keys(**{parameter: "key"}))
    assert f"{parameter} 'key' has no value in 2 of 120 cells, first 'cell4', 'cell9'" in message


def test_missing_and_unknown_labels_become_unknown(raw: ad.AnnData) -> None:
    raw.obs.loc["cell0", "cell_type"] = None
    raw.obs.loc["cell1", "cell_type"] = "Unassigned"
    raw.obs.loc["cell2", "cell_type"] = "NaN"
    typed = typed_keys(raw.obs, Keys(label_key="cell_type"), OPTIONS)["cell_type"]
    assert typed.iloc[:3].tolist() == ["unknown"] * 3
    assert list(typed.cat.categories) == ["B", "NK", "T", "unknown"]
    assert (typed.iloc[3:] == raw.obs["cell_type"].iloc[3:]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series([2, 1, 10]), ["1", "2", "10"]),
        (pd.Series([1.0, 2.0, 1.0]), ["1", "2"]),
        (pd.Series([0.5, 2.0, 1.0]), ["0.5", "1", "2"]),
        (pd.Series([True, False]), ["False", "True"]),
        (pd.Series(pd.Categorical([3, 1], categories=[3, 2, 1])), ["3", "1"]),
        (pd.Series(pd.Categorical(["b", "a"], categories=["b", "c", "a"], ordered=True)), ["b", "a"]),
        (pd.Series([1, "1", 1.0, b"1"], dtype=object), ["1"]),
        (pd.Series(["x ", "x", None], dtype=object), ["x"]),
        (pd.Series(["10", "9", "a"]), ["9", "10", "a"]),
        (pd.Series(pd.array([1, None], dtype="Int64")), ["1"]),
        (pd.Series([np.nan, np.nan]), []),
    ],
)
def test_categories_are_strings_without_unused_levels(values: pd.Series, expected: list[str]) -> None:
    categories = as_categories(values)
    assert list(categories.categories) == expected
    assert not categories.ordered
    assert list(categories.isna()) == list(values.isna())


def test_labels_without_unknown_get_no_such_category() -> None:
    assert list(with_unknown(pd.Categorical(["a", "b"]), ("unknown",)).categories) == ["a", "b"]


@pytest.mark.parametrize(
    "keys",
    [
        Keys(batch_key="batch", sample_key="batch"),
        Keys(sample_key="donor", categorical_covariates=("donor",)),
    ],
)
def test_harmless_double_use_of_a_column(raw: ad.AnnData, keys: Keys) -> None:
    require_keys(raw.obs.columns, keys)


@pytest.mark.parametrize(
    "keys",
    [
        Keys(batch_key="batch", label_key="batch"),
        Keys(batch_key="batch", condition_key="batch"),
        Keys(batch_key="batch", categorical_covariates=("batch",)),
        Keys(categorical_covariates=("batch", "batch")),
        Keys(batch_key="age", continuous_covariates=("age",)),
    ],
)
def test_harmful_double_use_of_a_column(raw: ad.AnnData, keys: Keys) -> None:
    assert "which a model cannot tell apart" in refused(raw.obs, keys)


def test_small_batches_are_named_with_their_sizes(raw: ad.AnnData) -> None:
    raw.obs["batch"] = ["tiny"] * 3 + ["large"] * 117
    message = refused(raw.obs, Keys(batch_key="batch"))
    assert "batches of fewer than 5 cells: 'tiny' (3)" in message
    assert "preparation.min_cells_per_batch" in message


def test_a_column_of_unique_values_makes_no_groups(raw: ad.AnnData) -> None:
    raw.obs["barcode"] = raw.obs_names
    assert "has 120 values" in refused(raw.obs, Keys(label_key="barcode"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, "old"])
def test_continuous_covariates_must_be_finite_numbers(raw: ad.AnnData, bad: object) -> None:
    raw.obs["age"] = raw.obs["age"].astype(object)
    raw.obs.loc["cell8", "age"] = bad
    message = refused(raw.obs, Keys(continuous_covariates=("age",)))
    assert message.startswith("continuous_covariates[0] 'age'")
    assert "'cell8'" in message


def test_numbers_written_as_text_are_numbers(raw: ad.AnnData) -> None:
    raw.obs["age"] = raw.obs["age"].round(2).astype(str).astype("category")
    typed = typed_keys(raw.obs, Keys(continuous_covariates=("age",)), OPTIONS)
    assert typed["age"].dtype == np.float64


def warnings_of(obs: pd.DataFrame, keys: Keys) -> list[str]:
    return key_warnings(typed_keys(obs, keys, OPTIONS), keys)


def test_one_batch_one_label_one_condition_and_no_label_are_said(raw: ad.AnnData) -> None:
    keys = Keys(batch_key="batch", label_key="cell_type", condition_key="condition")
    assert warnings_of(raw.obs, keys) == []
    raw.obs[["batch", "cell_type", "condition"]] = ["b1", "T", "control"]
    sentences = warnings_of(raw.obs, keys)
    assert [sentence.split(" '")[0] for sentence in sentences] == ["batch_key", "label_key", "condition_key"]
    assert "holds one value only ('b1'): analyses that compare batches are left out" in sentences[0]
    raw.obs["cell_type"] = "unknown"
    assert "all cells are unlabelled" in warnings_of(raw.obs, keys)[1]


def test_constant_covariates_are_said(raw: ad.AnnData) -> None:
    raw.obs["age"] = 3.0
    assert "'age' is the same in all cells" in warnings_of(raw.obs, Keys(continuous_covariates=("age",)))[0]


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
    assert "their replicates are batches" in sentences[0]


@pytest.mark.parametrize(
    ("conditions", "unanswered"),
    [("abcd", "no test can tell the two apart"), ("aabb", "their replicates are batches")],
)
def test_what_no_test_of_the_condition_can_answer_is_said_of_it_alone(
    conditions: str, unanswered: str
) -> None:
    table = typed(condition=np.repeat(list(conditions), 50))
    (sentence,) = confounding_warnings(table, Keys(batch_key="batch", condition_key="condition"))
    assert unanswered in sentence
    (sentence,) = confounding_warnings(table, Keys(batch_key="batch", label_key="condition"))
    assert unanswered not in sentence


def test_conditions_within_batches_are_told_from_those_of_the_same_batch_only() -> None:
    table = typed(condition=np.repeat(list("abcdefgh"), 25))
    (sentence,) = confounding_warnings(table, Keys(batch_key="batch", condition_key="condition"))
    assert "no test can tell values in different batches from these" in sentence


def test_nearly_confounded_label_is_said_and_unknown_cells_do_not_count() -> None:
    label = np.repeat(["w", "x", "y", "z"], 50)
    label[[0, 60]] = "z"
    label[10:20] = "unknown"
    sentences = confounding_warnings(typed(label=label), Keys(batch_key="batch", label_key="label"))
    assert len(sentences) == 1
    known = label != "unknown"
    table = pd.crosstab(BATCH[known], label[known]).to_numpy()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    assert f"Cramér's V {np.sqrt(chi_squared / table.sum() / 3):.2f}" in sentences[0]


def test_continuous_covariate_that_follows_the_batch_is_said() -> None:
    age = BATCH.cat.codes + RANDOM.normal(0, 0.1, size=200)
    sentences = confounding_warnings(typed(age=age), Keys(batch_key="batch", continuous_covariates=("age",)))
    assert "explains 99% of the variance of 'age'" in sentences[0]


def test_samples_in_one_batch_each_are_the_usual_design() -> None:
    keys = Keys(batch_key="batch", sample_key="donor")
    assert confounding_warnings(typed(donor=np.repeat(["d1", "d2", "d3", "d4"], 50)), keys) == []


def test_explained_share_is_that_of_a_linear_model() -> None:
    from sklearn.linear_model import LinearRegression

    values = RANDOM.normal(size=200) + BATCH.cat.codes.to_numpy()
    design = pd.get_dummies(BATCH)
    assert explained_share(values, BATCH) == pytest.approx(
        LinearRegression().fit(design, values).score(design, values)
    )
    assert explained_share(np.ones(200), BATCH) == 0


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
    replicates = replicates_of(**keys.model_dump())
    return gather_covariates(AnnData(obs=pd.DataFrame(obs, index=CELLS)), quality, cycle, replicates)


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
