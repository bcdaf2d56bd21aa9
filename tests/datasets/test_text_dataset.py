from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from scvi_downstream.datasets.text_dataset import TextDataset


@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_round_trip_keeps_line_ends(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = TextDataset(filepath=Path(folder) / "methods.md")
        dataset.save(text)
        assert dataset.load() == text


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "methods.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"methods\.md cannot be read as UTF-8 text"):
        TextDataset(filepath=tmp_path / "methods.md").load()
