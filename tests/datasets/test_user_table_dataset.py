from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from scvi_downstream.datasets.user_table_dataset import UserTableDataset
from scvi_downstream.runtime.errors import InputError

TABLE = pd.DataFrame({"sample": ["007", "008"], "age": [61, 55], "dose": [0.5, None], "sex": ["f", None]})


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as raised:
        UserTableDataset(source=str(path)).load()
    assert isinstance(raised.value.__cause__, InputError)
    return str(raised.value.__cause__)


@pytest.mark.parametrize(
    ("name", "separator"),
    [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t"), ("t.txt", "\t"), ("t.csv.gz", ","), ("t.tsv.gz", "\t")],
)
def test_text_tables(tmp_path: Path, name: str, separator: str) -> None:
    TABLE.to_csv(tmp_path / name, sep=separator, index=False)
    pd.testing.assert_frame_equal(UserTableDataset(source=str(tmp_path / name)).load(), TABLE)


def test_parquet(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(UserTableDataset(source=str(tmp_path / "t.parquet")).load(), TABLE)


def test_row_names_become_the_index_and_a_byte_order_mark_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeff,age\nAAAC-1,61\nAAAG-1,55\n", encoding="utf-8")
    loaded = UserTableDataset(source=str(tmp_path / "t.csv")).load()
    assert loaded.index.tolist() == ["AAAC-1", "AAAG-1"]
    assert loaded["age"].tolist() == [61, 55]
    (tmp_path / "t.csv").write_text("\ufeffsample,age\ns1,61\n", encoding="utf-8")
    assert UserTableDataset(source=str(tmp_path / "t.csv")).load().columns.tolist() == ["sample", "age"]


@pytest.mark.parametrize("source", [None, ""])
def test_no_table(source: str | None) -> None:
    dataset = UserTableDataset(source=source)
    assert dataset.load() is None
    assert dataset.exists()
    assert dataset.preview() is None


def test_a_node_gets_none_for_no_table() -> None:
    catalog = DataCatalog({"metadata": UserTableDataset(), "said": MemoryDataset()})
    pipeline = Pipeline([Node(lambda table: f"got {table}", "metadata", "said", name="ask")])
    SequentialRunner().run(pipeline, catalog)
    assert catalog.load("said") == "got None"


def test_preview(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    preview = UserTableDataset(source=str(tmp_path / "t.csv")).preview(nrows=1)
    assert preview["columns"] == ["sample", "age", "dose", "sex"]
    assert preview["data"] == [["007", 61, "0.5", "f"]]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_bytes("sample,größe\n".encode("utf-16"))
    assert "is not UTF-8 text" in refusal(tmp_path / "samples.csv")
    assert "the closest is 'samples.csv'" in refusal(tmp_path / "sample.csv")
    (tmp_path / "empty.csv").touch()
    assert "empty.csv is empty" in refusal(tmp_path / "empty.csv")
    (tmp_path / "t.xlsx").touch()
    assert "must end in .csv, .tsv or .parquet" in refusal(tmp_path / "t.xlsx")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 half")
    assert "t.parquet cannot be read as a table" in refusal(tmp_path / "t.parquet")


def test_is_never_written() -> None:
    with pytest.raises(DatasetError, match="read only"):
        UserTableDataset(source="t.csv").save(TABLE)
