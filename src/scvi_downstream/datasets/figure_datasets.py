"""``MatplotlibDataset`` saves figures as PNG; same figure, same bytes."""

from __future__ import annotations

import base64
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from kedro.io.core import get_filepath_str
from kedro_datasets import matplotlib as kedro_matplotlib

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, ImagePreview
from scvi_downstream.datasets.whole_files import WholeFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PREVIEW_BYTES = 2_000_000


class MatplotlibDataset(WholeFile, kedro_matplotlib.MatplotlibDataset):
    """``MatplotlibDataset`` saves a figure as PNG and what it shows as ``<stem>_data.csv``, and loads the PNG's bytes.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        qc_figure:
          type: scvi_downstream.datasets.MatplotlibDataset
          filepath: data/08_reporting/qc.png

    Using the Python API:

    >>> from matplotlib.figure import Figure
    >>> from scvi_downstream.datasets import MatplotlibDataset
    >>> dataset = MatplotlibDataset(filepath=tmp_path / "qc.png")
    >>> dataset.save(Figure())
    >>> dataset.load()[1:4]
    b'PNG'
    """

    KIND = "a figure"

    def save(self, data: Figure) -> None:
        """Write the picture, and what it shows as a table; a picture of no data has no table."""
        path = self._get_save_path()
        super().save(data)
        self._save_table(data, path.with_name(f"{path.stem}_data.csv"))

    def _save_table(self, figure: Figure, path: PurePath) -> None:
        from scvi_downstream.datasets.table_datasets import CSVDataset
        from scvi_downstream.plots.drawn_data import drawn_data

        table, dataset = drawn_data(figure), CSVDataset(filepath=str(path))
        dataset._fs, dataset._protocol = self._fs, self._protocol
        if not table.empty:
            dataset.save(table)
        elif dataset.exists():
            self._fs.rm(str(path))

    def _write(self, data: Figure) -> None:
        from scvi_downstream.plots.canvas import as_png

        with self._fs.open(get_filepath_str(self._get_save_path(), self._protocol), "wb") as file:
            file.write(as_png(data))

    def _read(self) -> bytes:
        return self._content()

    def preview(self) -> ImagePreview:
        """The figure, unless it is too large for a page."""
        if not self._exists() or Path(self._get_load_path()).stat().st_size > _PREVIEW_BYTES:
            return NO_PREVIEW
        return ImagePreview(base64.b64encode(self._read()).decode())
