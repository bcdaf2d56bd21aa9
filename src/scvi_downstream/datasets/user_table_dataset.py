"""``UserTableDataset`` reads the user's own table of cells or samples."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError
from kedro.utils import find_kedro_project

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, TablePreview, table_preview
from scvi_downstream.datasets.whole_files import reading
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:  # every command asks for the paths below
    import pandas as pd


def user_path(source: str) -> Path:
    """A path from the current folder, or from the project's when it is not there; ``~`` is home."""
    path = Path(source).expanduser()
    if path.is_absolute() or path.exists():
        return path.absolute()
    project = find_kedro_project(Path.cwd())
    if project is not None and (Path(project) / path).exists():
        return Path(project) / path
    return path.absolute()


_TEXT = (".csv", ".tsv", ".txt")


class UserTableDataset(AbstractDataset):
    r"""``UserTableDataset`` reads a CSV, TSV or Parquet table; without a source it loads ``None``.

    A column becomes a number only when no digit is lost by it: sample ``007`` stays text. A first column
    without a name, as R and pandas write their row names, becomes the index.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        metadata:
          type: scvi_downstream.datasets.UserTableDataset
          source: samples.tsv

    Using the Python API:

    >>> from scvi_downstream.datasets import UserTableDataset
    >>> _ = (tmp_path / "samples.csv").write_text("sample,age\n007,61\n008,55\n")
    >>> UserTableDataset(source=str(tmp_path / "samples.csv")).load()["sample"].tolist()
    ['007', '008']
    """

    def __init__(self, *, source: str | None = None, metadata: dict[str, Any] | None = None) -> None:
        """Point to the user's file.

        Parameters
        ----------
        source
            Path of the table, from the current folder or the project's; ``None`` or empty when there is none.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._source = source or None
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"source": self._source}

    def load(self) -> pd.DataFrame | None:
        """Read the table, when there is one."""
        return None if self._source is None else self._read()

    def save(self, data: Any) -> NoReturn:
        """Refuse: what the user brings is never written."""
        raise DatasetError(f"{self._source} belongs to the user and is read only")

    def _exists(self) -> bool:
        return self._source is None or user_path(self._source).exists()

    def preview(self, nrows: int = 10) -> TablePreview:
        """Head of the table."""
        if self._source is None or not self._exists():
            return NO_PREVIEW
        return table_preview(self._read(nrows=nrows))

    def _read(self, nrows: int | None = None) -> pd.DataFrame:
        import pandas as pd

        path = user_path(str(self._source))
        with reading(path, "a table"):
            if path.suffix in (".parquet", ".pq"):
                return pd.read_parquet(path).head(nrows) if nrows else pd.read_parquet(path)
            if path.with_suffix("").suffix not in _TEXT and path.suffix not in _TEXT:
                raise InputError(
                    f"{path} is of an unknown format; the table must end in .csv, .tsv or .parquet"
                )
            return _read_text(path, nrows)


def _read_text(path: Path, nrows: int | None) -> pd.DataFrame:
    import pandas as pd

    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            header = file.readline()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save the table as 'CSV UTF-8'") from error
    if not header.strip():
        raise InputError(f"{path} is empty; its first line must hold the names of the columns")
    separator = max("\t,;", key=header.count)
    table = pd.read_csv(path, sep=separator, dtype="str", encoding="utf-8-sig", nrows=nrows)
    if str(table.columns[0]).startswith("Unnamed: 0"):
        table = table.set_index(table.columns[0]).rename_axis(None)
    return table.apply(_number_if_exact)


def _number_if_exact(column: pd.Series) -> pd.Series:
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce")
    present = column.dropna()
    if numbers.notna().sum() < len(present) or present.str.contains(r"^[+-]?0\d", regex=True).any():
        return column
    return numbers
