from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from scvi_downstream.datasets.table_datasets import CSVDataset, ParquetDataset
from scvi_downstream.runtime.errors import InputError

DATASETS = {"csv": CSVDataset, "parquet": ParquetDataset}
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=6)
floats = st.floats(width=64)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    cells = draw(st.lists(text.filter(bool), min_size=0, max_size=8, unique=True))
    n = len(cells)
    categories = draw(st.lists(text, min_size=1, max_size=4, unique=True))
    codes = draw(st.lists(st.integers(-1, len(categories) - 1), min_size=n, max_size=n))
    return pd.DataFrame(
        {
            "cluster": pd.Categorical.from_codes(
                codes, categories=pd.Index(categories, dtype="str"), ordered=draw(st.booleans())
            ),
            "k": pd.Categorical.from_codes([n % 2] * n, [30, 5], ordered=True),
            "lfc": np.array(draw(st.lists(floats, min_size=n, max_size=n)), dtype=np.float64),
            "latent_1": np.array(
                draw(st.lists(st.floats(width=32), min_size=n, max_size=n)), dtype=np.float32
            ),
            "n": np.array(
                draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n)), dtype=np.int64
            ),
            "significant": np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool),
            'a "name", quoted': pd.array(draw(st.lists(text, min_size=n, max_size=n)), dtype="str"),
        },
        index=pd.Index(cells, dtype="str", name="cell"),
    )


@pytest.mark.thorough
@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_parquet_keeps_everything(table: pd.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dataset = ParquetDataset(filepath=Path(folder) / "table.parquet")
        dataset.save(table)
        pd.testing.assert_frame_equal(dataset.load(), table, check_exact=True)


@pytest.mark.thorough
@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_csv_keeps_text_numbers_and_the_named_index(table: pd.DataFrame) -> None:
    table = table.drop(columns="k").astype({"cluster": "str"})
    expected = table.replace({"cluster": {"": np.nan}, 'a "name", quoted': {"": np.nan}})
    with tempfile.TemporaryDirectory() as folder:
        dataset = CSVDataset(filepath=Path(folder) / "table.csv", load_args={"index_col": "cell"})
        dataset.save(table)
        loaded = dataset.load()
    empty = {"lfc": float, "latent_1": float, "n": int, "significant": bool} if table.empty else {}
    loaded = loaded.astype(empty | {"latent_1": np.float32})
    pd.testing.assert_frame_equal(loaded, expected, check_exact=True)


def test_numbers_as_text_stay_text_in_csv(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"cluster": ["0", "10"], "gene": ["NA", "1"], "score": [0.1 + 0.2, np.nan], "none": [None, None]}
    )
    dataset = CSVDataset(filepath=tmp_path / "markers.csv")
    dataset.save(table)
    loaded = dataset.load()
    assert loaded["cluster"].tolist() == ["0", "10"]
    assert loaded["gene"].tolist() == ["NA", "1"]
    assert loaded["score"][0] == 0.1 + 0.2
    assert np.isnan(loaded["score"][1])
    assert loaded["none"].isna().all()
    assert (tmp_path / "markers.csv").read_text().splitlines()[:2] == [
        '"cluster","gene",score,none',
        f'"0","NA",{0.1 + 0.2},""',
    ]


def test_unnamed_index_is_left_out_of_csv_and_a_named_one_is_the_first_column(tmp_path: Path) -> None:
    dataset = CSVDataset(filepath=tmp_path / "leaderboard.csv")
    dataset.save(pd.DataFrame({"a": [1]}, index=["x"]))
    assert dataset.load().columns.tolist() == ["a"]
    dataset.save(pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="model")))
    assert dataset.load().columns.tolist() == ["model", "a"]


def test_csv_of_another_program_is_read(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("gene,lfc\r\nCD3D,1.5\r\n")
    loaded = CSVDataset(filepath=tmp_path / "table.csv").load()
    assert loaded.to_dict("list") == {"gene": ["CD3D"], "lfc": [1.5]}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_without_rows_keep_their_columns(tmp_path: Path, suffix: str) -> None:
    dataset = DATASETS[suffix](filepath=tmp_path / f"de.{suffix}")
    dataset.save(pd.DataFrame({"gene": pd.Series(dtype="str"), "lfc": pd.Series(dtype=float)}))
    assert dataset.load().columns.tolist() == ["gene", "lfc"]
    assert dataset.preview()["data"] == []
    dataset.save(pd.DataFrame())
    assert dataset.load().empty


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_preview_is_a_short_head_with_the_index(tmp_path: Path, suffix: str) -> None:
    dataset = DATASETS[suffix](filepath=tmp_path / f"t.{suffix}")
    assert dataset.preview() is None
    table = pd.DataFrame(
        {"p": [1e-12, np.nan, 0.123456], "n": [1, 2, 3]}, index=pd.Index(list("abc"), name="cell")
    )
    dataset.save(pd.concat([table] * 100))
    preview = dataset.preview(nrows=3)
    assert preview["columns"] == ["cell", "p", "n"]
    assert preview["data"] == [["a", "1e-12", 1], ["b", "", 2], ["c", "0.1235", 3]]


def test_same_table_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for suffix in ("csv", "parquet"):
            DATASETS[suffix](filepath=tmp_path / f"{name}.{suffix}").save(pd.DataFrame({"x": [1.0, 2.0]}))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table.{suffix}"
    DATASETS[suffix](filepath=path).save(pd.DataFrame({"x": range(100), "y": ["a", "b"] * 50}))
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b'"') if suffix == "csv" else len(content) // 2])
    with pytest.raises(DatasetError, match=f"{path} cannot be read as a table") as raised:
        DATASETS[suffix](filepath=path).load()
    assert isinstance(raised.value.__cause__, InputError)


def test_missing_file_suggests_the_closest(tmp_path: Path) -> None:
    (tmp_path / "markers.csv").write_text("a\n")
    with pytest.raises(
        DatasetError, match=r"marker\.csv does not exist in .*; the closest is 'markers\.csv'"
    ):
        CSVDataset(filepath=tmp_path / "marker.csv").load()


def test_failed_write_keeps_the_old_table(tmp_path: Path) -> None:
    dataset = ParquetDataset(filepath=tmp_path / "table.parquet")
    dataset.save(pd.DataFrame({"x": [1]}))
    with pytest.raises(DatasetError):
        dataset.save(pd.DataFrame({"x": [1, "mixed", object()]}))
    assert dataset.load()["x"].tolist() == [1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.parquet"]
