"""``MatplotlibDataset`` saves figures as PNG and SVG; same figure, same bytes."""

from __future__ import annotations

import base64
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from kedro.io.core import get_filepath_str
from kedro_datasets import matplotlib as kedro_matplotlib

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, ImagePreview
from scvi_downstream.datasets.whole_files import WholeFile
from scvi_downstream.runtime.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PREVIEW_BYTES = 2_000_000


class MatplotlibDataset(WholeFile, kedro_matplotlib.MatplotlibDataset):
    """``MatplotlibDataset`` saves a figure as PNG and SVG and what it shows as a table, and loads the PNG's bytes.

    ``<stem>.svg`` and ``<stem>_data.csv`` stand beside the PNG, which is the file of the dataset: what someone deletes
    of the two others is there again when the figure is made anew.

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
    >>> (tmp_path / "qc.svg").exists()
    True
    """

    KIND = "a figure"

    def save(self, data: Figure) -> None:
        """Write both pictures or neither, and what they show as a table; a figure of no data has no table."""
        from scvi_downstream.plots.canvas import pictures_of

        pictures, path = pictures_of(data), self._get_save_path()
        if self._protocol == "file":
            # the PNG comes last: the record of a figure is of this one
            with replacing(Path(path)) as png, replacing(Path(path).with_suffix(".svg")) as svg:
                svg.write_bytes(pictures.svg)
                png.write_bytes(pictures.png)
        else:
            for place, content in ((path.with_suffix(".svg"), pictures.svg), (path, pictures.png)):
                with self._fs.open(get_filepath_str(place, self._protocol), "wb") as file:
                    file.write(content)
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

    def _read(self) -> bytes:
        return self._content()

    def preview(self) -> ImagePreview:
        """The figure, unless it is too large for a page."""
        if not self._exists() or Path(self._get_load_path()).stat().st_size > _PREVIEW_BYTES:
            return NO_PREVIEW
        return ImagePreview(base64.b64encode(self._read()).decode())
