import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.reference_mapping.query import (
    called_types,
    find_label_key,
    most_probable,
    reference_labels,
)
from scvi_downstream.runtime.errors import InputError


def test_label_key_is_the_one_named_then_the_models_then_the_studys(reference) -> None:
    assert find_label_key(reference, None) is None
    reference.counts.uns["scvi_downstream"] = {"keys": {"label_key": "line"}}
    assert find_label_key(reference, None) == "line"
    reference.model.setup["labels_key"] = "plate"
    assert find_label_key(reference, None) == "plate"
    assert find_label_key(reference, "line") == "line"
    with pytest.raises(
        InputError, match=r"'lines' is not in the obs of the reference atlas; the closest is 'line'"
    ):
        find_label_key(reference, "lines")


def test_cells_without_a_label_lend_none(reference) -> None:
    labels = reference_labels(reference, "line")
    assert labels.categories.tolist() == ["B", "T"]
    assert labels.isna().sum() == 10
    reference.model.setup["unlabeled_category"] = "B"
    assert reference_labels(reference, "line").categories.tolist() == ["T"]
    assert reference_labels(reference, None) is None


def test_uncertain_cells_are_unknown() -> None:
    probabilities = pd.DataFrame([[0.9, 0.1], [0.45, 0.55]], columns=["B", "T"], index=["q0", "q1"])
    best = most_probable(probabilities, "nearest_type", "probability")
    assert best["nearest_type"].tolist() == ["B", "T"]
    assert called_types(best["nearest_type"].array, np.array([False, True])).tolist() == ["B", "unknown"]
