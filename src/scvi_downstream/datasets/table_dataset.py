"""``TableDataset`` loads and saves tables as Parquet or CSV."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset

from scvi_downstream.datasets.kedro_previews import TablePreview
from scvi_downstream.datasets.text_files import NO_PREVIEW, reading, table_preview
from scvi_downstream.runtime.atomic import replacing
from scvi_downstream.runtime.errors import InputError

_FIELD = re.compile(r'("(?:[^"]|"")*"|[^,"\r\n]*)(?:,|\r?\n|$)')
_CATEGORIES = "categories"
_NUMBERS = ("boolean", "empty", "floating", "integer", "mixed-integer-float")


class TableDataset(AbstractDataset):
    """``TableDataset`` saves a ``pandas.DataFrame``; the suffix says in which format.

    ``.parquet`` keeps everything: the index and its name, categories and their order. ``.csv`` is for people:
    a named index becomes the first column (and the index again with ``load_args: {index_col: …}``),
    categories become text, and text stays text. Text and the names of text columns are quoted, numbers and
    the names of their columns are not, so that the cluster ``"0"`` does not come back as a number.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        latent:
          type: scvi_downstream.datasets.table_dataset.TableDataset
          filepath: data/07_model_output/latent.parquet

    Using the Python API:

    >>> import pandas as pd
    >>> from scvi_downstream.datasets import TableDataset
    >>> dataset = TableDataset(filepath=tmp_path / "markers.csv")
    >>> dataset.save(pd.DataFrame({"cluster": ["0", "1"], "lfc": [1.5, 2.0]}))
    >>> dataset.load()["cluster"].tolist()
    ['0', '1']
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        load_args: dict[str, Any] | None = None,
        save_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Point to a file.

        Parameters
        ----------
        filepath
            Ends in ``.parquet`` or ``.csv``.
        load_args
            For ``pandas.read_parquet`` or ``pandas.read_csv``.
        save_args
            For ``DataFrame.to_parquet`` or ``DataFrame.to_csv``.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        if self._filepath.suffix not in (".parquet", ".csv"):
            raise InputError(f"{self._filepath} must end in .parquet or .csv")
        self._load_args = load_args or {}
        self._save_args = save_args or {}
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "load_args": self._load_args, "save_args": self._save_args}

    def load(self) -> pd.DataFrame:
        """Read the whole table."""
        with reading(self._filepath, "a table"):
            if self._filepath.suffix == ".parquet":
                return _with_categories(pd.read_parquet(self._filepath, **self._load_args))
            return _read_csv(self._filepath, **self._load_args)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table; a file that is there is replaced when the new one is complete."""
        with replacing(self._filepath) as temporary:
            if self._filepath.suffix == ".parquet":
                _noting_categories(data).to_parquet(temporary, **self._save_args)
            else:
                _write_csv(data, temporary, **self._save_args)

    def _exists(self) -> bool:
        return self._filepath.exists()

    def preview(self, nrows: int = 10) -> TablePreview:
        """Head of the table; the rest is not read."""
        if not self._exists():
            return NO_PREVIEW
        with reading(self._filepath, "a table"):
            head = _head_of_parquet if self._filepath.suffix == ".parquet" else _read_csv
            return table_preview(head(self._filepath, nrows=nrows))


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


def _write_csv(table: pd.DataFrame, path: Path, **save_args: Any) -> None:
    named = [name for name in table.index.names if name is not None]
    written = table.reset_index() if named else table
    header = [
        str(name) if _holds_numbers(written.iloc[:, at]) and _may_be_bare(str(name)) else _quoted(str(name))
        for at, name in enumerate(written.columns)
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(header) + "\n")
        chosen = {"quoting": csv.QUOTE_NONNUMERIC, "lineterminator": "\n"} | save_args
        written.to_csv(file, header=False, index=False, **chosen)


def _read_csv(path: Path, **load_args: Any) -> pd.DataFrame:
    with path.open(encoding="utf-8", newline="") as file:
        header = file.readline()
        while header.count('"') % 2 and (line := file.readline()):
            header += line
    if not header.strip():
        return pd.DataFrame()
    text = [field[1:-1].replace('""', '"') for field in _FIELD.findall(header) if field.startswith('"')]
    chosen = {
        "dtype": dict.fromkeys(text, "str"),
        "keep_default_na": False,  # a gene may be called NA
        "na_values": [""],
        "float_precision": "round_trip",
    } | load_args
    return pd.read_csv(path, encoding="utf-8", **chosen)


def _holds_numbers(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return pd.api.types.infer_dtype(column, skipna=True) in _NUMBERS


def _may_be_bare(name: str) -> bool:
    return bool(name) and not re.search(r'[,"\r\n]', name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
