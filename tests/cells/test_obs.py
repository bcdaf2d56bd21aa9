from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.obs import (
    align_metadata,
    constant_within,
    join_metadata,
    reference_condition,
    split_by_condition,
    unmatched_sentence,
)
from scvi_downstream.runtime.errors import InputError


@pytest.fixture
def obs() -> pd.DataFrame:
    donor = pd.Categorical(["101", "102", "101", "103"])
    return pd.DataFrame({"donor": donor, "age_known": True}, index=["a", "b", "c", "d"])


def refused(
    obs: pd.DataFrame, table: pd.DataFrame, key: str | None = None, sample_key: str | None = None
) -> str:
    with pytest.raises(InputError) as error:
        join_metadata(obs, table, key, sample_key)
    return str(error.value)


def test_nothing_to_join(obs: pd.DataFrame) -> None:
    joined, facts = join_metadata(obs, None, None, None)
    pd.testing.assert_frame_equal(joined, obs)
    assert facts == {}


@pytest.mark.parametrize("as_index", [True, False])
def test_join_by_cell_name_in_any_order(obs: pd.DataFrame, *, as_index: bool) -> None:
    table = pd.DataFrame({"barcode": ["d", "x", "b", "a", "c"], "phase": ["G1", "S", "S", "G2M", "G1"]})
    joined, facts = join_metadata(obs, table.set_index("barcode") if as_index else table, None, None)
    assert joined["phase"].tolist() == ["G2M", "S", "G1", "G1"]
    assert list(joined.columns) == ["donor", "age_known", "phase"]
    assert facts == {
        "key": "barcode",
        "columns": ["phase"],
        "n_rows": 5,
        "n_rows_without_cells": 1,
        "rows_without_cells": ["x"],
        "n_cells_matched": 4,
        "n_cells_unmatched": 0,
        "names_without_row": [],
    }


@pytest.mark.parametrize("dtype", ["int64", "float64", "str"])
def test_join_by_sample_whatever_type_its_names_have(obs: pd.DataFrame, dtype: str) -> None:
    table = pd.DataFrame({"donor": np.array([103, 101], dtype=dtype), "sex": ["f", "m"]})
    joined, facts = join_metadata(obs, table, None, "donor")
    assert joined["sex"].iloc[[0, 2, 3]].tolist() == ["m", "m", "f"]
    assert joined["sex"].isna().tolist() == [False, True, False, False]
    assert facts["n_cells_unmatched"] == 1


def test_join_on_the_named_column(obs: pd.DataFrame) -> None:
    table = pd.DataFrame({"donor": ["101", "102", "103"], "site": ["x", "y", "z"]})
    joined, _ = join_metadata(obs, table, "donor", None)
    assert joined["site"].tolist() == ["x", "y", "x", "z"]


def test_repeated_keys_are_refused(obs: pd.DataFrame) -> None:
    table = pd.DataFrame({"cell": ["a", "a", "b"], "x": [1, 2, 3]})
    assert "'cell' holds 1 values more than once, first 'a'" in refused(obs, table)


def test_no_obs_column_is_overwritten(obs: pd.DataFrame) -> None:
    table = pd.DataFrame({"cell": list("abcd"), "donor": list("wxyz")})
    assert "metadata column 'donor' is in obs already" in refused(obs, table)


def test_misspelt_key_gets_the_closest(obs: pd.DataFrame) -> None:
    table = pd.DataFrame({"donor": ["101"], "x": [1]})
    assert "'donr' is not a column of the metadata; the closest is 'donor'" in refused(obs, table, "donr")


def test_tables_that_match_nothing_are_refused(obs: pd.DataFrame) -> None:
    table = pd.DataFrame({"id": ["q"], "x": [1]})
    message = refused(obs, table)
    assert "no column holds cell names such as 'a', and sample_key is not set" in message
    message = refused(obs, table.rename(columns={"id": "donor"}), None, "donor")
    assert "its column 'donor' holds 'q', the cells have '101'" in message


def test_what_found_no_partner_is_counted_and_named(obs: pd.DataFrame) -> None:
    table = pd.DataFrame({"donor": ["101", "x", "y"], "sex": ["f", "m", "m"]})
    _, facts = align_metadata(obs, table, None, "donor")
    assert unmatched_sentence(facts) == (
        "2 of 4 cells have no row in the metadata (column 'donor', first '102', '103'); "
        "2 of 3 rows of the metadata match no cell (first 'x', 'y')"
    )


def test_nothing_is_said_when_all_match(obs: pd.DataFrame) -> None:
    aligned, facts = align_metadata(
        obs, pd.DataFrame({"cell": list("dcba"), "donor": list("wxyz")}), None, None
    )
    assert unmatched_sentence(facts) is None
    assert aligned["donor"].tolist() == list("zyxw")


def test_rows_without_a_key_match_no_cell(obs: pd.DataFrame) -> None:
    obs["site"] = ["s", None, "s", "t"]
    table = pd.DataFrame({"site": ["s", None, None], "x": [1.0, 2.0, 3.0]})
    joined, facts = align_metadata(obs, table, "site", None)
    assert joined["x"].isna().tolist() == [False, True, False, True]
    assert facts["n_rows_without_cells"] == 2


DONOR = pd.Series(pd.Categorical(["a", "a", "b", "b"]))


def test_samples_of_several_conditions_are_split():
    parts = split_by_condition(DONOR, pd.Series(["x", "y", "x", "x"]))
    assert parts.tolist() == ["a × x", "a × y", "b × x", "b × x"]


def test_samples_of_one_condition_stay_whole():
    assert split_by_condition(DONOR, pd.Series(["x", None, "y", "y"])) is None
    assert split_by_condition(DONOR, None) is None


def test_missing_values_do_not_vary():
    assert constant_within(pd.Series([1.0, None, 2.0, 2.0]), DONOR)
    assert not constant_within(pd.Series([1.0, 2.0, 2.0, 2.0]), DONOR)


def test_the_reference_is_named_like_a_control_or_comes_first() -> None:
    assert reference_condition(["IFN", "Control", "LPS"]) == "Control"
    assert reference_condition(["LPS", "PMA"]) == "LPS"
