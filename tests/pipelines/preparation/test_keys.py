from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import as_categories, with_unknown
from scvi_downstream.pipelines.preparation.covariates import key_warnings, require_keys, typed_keys
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.runtime.errors import InputError

OPTIONS = PreparationOptions()


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
