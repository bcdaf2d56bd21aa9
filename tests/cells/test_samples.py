import pandas as pd

from scvi_downstream.cells.obs import constant_within, split_by_condition

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
