from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from scvi_downstream.datasets.json_dataset import JSONDataset
from scvi_downstream.runtime.errors import InputError

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)


@pytest.mark.thorough
@settings(max_examples=50, deadline=None)
@given(data=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values))
def test_round_trip(data: dict) -> None:
    data = json.loads(json.dumps(data).encode("utf-8", "ignore"))
    with tempfile.TemporaryDirectory() as folder:
        dataset = JSONDataset(filepath=Path(folder) / "scores.json")
        dataset.save(data)
        assert dataset.load() == data


def test_numpy_and_pandas_become_plain_and_what_is_not_finite_null(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=tmp_path / "scores.json")
    dataset.save(
        {
            "float32": np.float32(0.5),
            "int64": np.int64(3),
            "bool": np.bool_(True),
            "array": np.array([[1.0, np.nan], [np.inf, -np.inf]]),
            "nan": math.nan,
            "NA": pd.NA,
            "labels": pd.Categorical(["B", None]),
            "series": pd.Series([1, 2]),
            "tuple": (1, "a"),
            "path": Path("data"),
            "time": pd.Timestamp("2026-01-01"),
            7: {"x"},
        }
    )
    assert dataset.load() == {
        "float32": 0.5,
        "int64": 3,
        "bool": True,
        "array": [[1.0, None], [None, None]],
        "nan": None,
        "NA": None,
        "labels": ["B", None],
        "series": [1, 2],
        "tuple": [1, "a"],
        "path": "data",
        "time": "2026-01-01T00:00:00",
        "7": ["x"],
    }
    assert json.loads(dataset.preview()) == dataset.load()


def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=tmp_path / "scores.json")
    dataset.save({"elbo": 1.0})
    with pytest.raises(DatasetError, match="a object cannot be written as JSON"):
        dataset.save({"elbo": object()})
    assert dataset.load() == {"elbo": 1.0}


def test_truncated_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"elbo": ')
    with pytest.raises(DatasetError, match=r"scores\.json cannot be read as JSON") as raised:
        JSONDataset(filepath=tmp_path / "scores.json").load()
    assert isinstance(raised.value.__cause__, InputError)
