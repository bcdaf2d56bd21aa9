"""``ParquetDataset`` and ``CSVDataset`` load and save tables: all that pandas knows, and for people."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from kedro.io.core import get_filepath_str
from kedro_datasets import pandas as kedro_pandas

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, TablePreview, table_preview
from scvi_downstream.datasets.whole_files import WholeFile, reading

_FIELD = re.compile(r'("(?:[^"]|"")*"|[^,"\r\n]*)(?:,|\r?\n|$)')
_CATEGORIES = "categories"
_NUMBERS = ("boolean", "empty", "floating", "integer", "mixed-integer-float")


class ParquetDataset(WholeFile, kedro_pandas.ParquetDataset):
    """``ParquetDataset`` keeps everything: the index and its name, categories and their order.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        latent:
          type: scvi_downstream.datasets.ParquetDataset
          filepath: data/07_model_output/latent.parquet

    Using the Python API:

    >>> import pandas as pd
    >>> from scvi_downstream.datasets import ParquetDataset
    >>> dataset = ParquetDataset(filepath=tmp_path / "latent.parquet")
    >>> dataset.save(pd.DataFrame({"cluster": pd.Categorical(["b", "a"], ["b", "a"])}))
    >>> dataset.load()["cluster"].cat.categories.tolist()
    ['b', 'a']
    """

    KIND = "a table"

    def _read(self) -> pd.DataFrame:
        return _with_categories(super()._read())

    def _write(self, data: pd.DataFrame) -> None:
        super()._write(_noting_categories(data))

    def preview(self, nrows: int = 10) -> TablePreview:
        """Head of the table; the rest is not read."""
        if not self._exists():
            return NO_PREVIEW
        path = Path(self._get_load_path())
        with reading(path, self.KIND):
            return table_preview(_head_of_parquet(path, nrows=nrows))


class CSVDataset(WholeFile, kedro_pandas.CSVDataset):
    """``CSVDataset`` is for people: a named index is the first column, categories are text, and text stays text.

    The index comes back with ``load_args: {index_col: …}``. Text and the names of text columns are quoted, numbers
    and the names of their columns are not, so that the cluster ``"0"`` does not come back as a number.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        markers:
          type: scvi_downstream.datasets.CSVDataset
          filepath: data/07_model_output/markers.csv

    Using the Python API:

    >>> import pandas as pd
    >>> from scvi_downstream.datasets import CSVDataset
    >>> dataset = CSVDataset(filepath=tmp_path / "markers.csv")
    >>> dataset.save(pd.DataFrame({"cluster": ["0", "1"], "lfc": [1.5, 2.0]}))
    >>> dataset.load()["cluster"].tolist()
    ['0', '1']
    """

    KIND = "a table"
    DEFAULT_LOAD_ARGS: ClassVar[dict[str, Any]] = {
        "keep_default_na": False,  # a gene may be called NA
        "na_values": [""],
    }
    DEFAULT_SAVE_ARGS: ClassVar[dict[str, Any]] = {"quoting": csv.QUOTE_NONNUMERIC, "lineterminator": "\n"}

    def _read(self, **more: Any) -> pd.DataFrame:
        path = get_filepath_str(self._get_load_path(), self._protocol)
        with self._fs.open(path, "r", encoding="utf-8", newline="") as file:
            header = file.readline()
            while header.count('"') % 2 and (line := file.readline()):
                header += line
            if not header.strip():
                return pd.DataFrame()
            fields = [field[1:-1] for field in _FIELD.findall(header) if field.startswith('"')]
            text = {field.replace('""', '"'): "str" for field in fields}
            file.seek(0)
            return pd.read_csv(file, **{"dtype": text, **self._load_args, **more})

    def _write(self, data: pd.DataFrame) -> None:
        named = any(name is not None for name in data.index.names)
        written = data.reset_index() if named else data
        header = [
            str(name)
            if _holds_numbers(written.iloc[:, at]) and _may_be_bare(str(name))
            else _quoted(str(name))
            for at, name in enumerate(written.columns)
        ]
        path = get_filepath_str(self._get_save_path(), self._protocol)
        with self._fs.open(path, "w", encoding="utf-8", newline="") as file:
            file.write(",".join(header) + "\n")
            written.to_csv(file, header=False, index=False, **self._save_args)

    def preview(self, nrows: int = 10) -> TablePreview:
        """Head of the table; the rest is not read."""
        if not self._exists():
            return NO_PREVIEW
        with reading(Path(self._get_load_path()), self.KIND):
            return table_preview(self._read(nrows=nrows))


def _head_of_parquet(path: Path, nrows: int) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=nrows)
        first = next(batches, None)
        if first is None:
            return file.read().to_pandas()
        return pa.Table.from_batches([first]).to_pandas()


def _noting_categories(table: pd.DataFrame) -> pd.DataFrame:
    """The table, with a note of the categories that Parquet forgets: numbers, and all without rows."""
    forgotten = {
        str(name): {
            "values": column.cat.categories.tolist(),
            "dtype": str(column.cat.categories.dtype),
            "ordered": bool(column.cat.ordered),
        }
        for name, column in table.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
        and column.cat.categories.dtype.kind in "biufOU"
        and (table.empty or column.cat.categories.dtype.kind in "biuf")
    }
    if not forgotten:
        return table
    noted = table.copy(deep=False)
    noted.attrs = table.attrs | {_CATEGORIES: forgotten}
    return noted


def _with_categories(table: pd.DataFrame) -> pd.DataFrame:
    for name, noted in table.attrs.pop(_CATEGORIES, {}).items():
        if name in table:
            categories = pd.Index(noted["values"], dtype=noted["dtype"])
            table[name] = pd.Categorical(table[name], categories=categories, ordered=noted["ordered"])
    return table


def _holds_numbers(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return pd.api.types.infer_dtype(column, skipna=True) in _NUMBERS


def _may_be_bare(name: str) -> bool:
    return bool(name) and not re.search(r'[,"\r\n]', name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
