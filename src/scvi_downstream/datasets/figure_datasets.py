"""``MatplotlibDataset`` saves figures as PNG, ``HTMLDataset`` Plotly figures as pages; same figure, same bytes."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kedro.io.core import get_filepath_str
from kedro_datasets import matplotlib as kedro_matplotlib
from kedro_datasets import plotly as kedro_plotly

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, ImagePreview, PlotlyPreview
from scvi_downstream.datasets.whole_files import WholeFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PREVIEW_BYTES = 2_000_000
_DIV = "figure"
_DRAWN = re.compile(rf'Plotly\.newPlot\(\s*"{_DIV}",\s*')


class MatplotlibDataset(WholeFile, kedro_matplotlib.MatplotlibDataset):
    """``MatplotlibDataset`` saves a figure as PNG and loads its bytes.

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


class HTMLDataset(WholeFile, kedro_plotly.HTMLDataset):
    """``HTMLDataset`` saves a Plotly figure as a page that needs no network, and loads its text.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        umap_3d_page:
          type: scvi_downstream.datasets.HTMLDataset
          filepath: data/08_reporting/umap_3d.html

    Using the Python API:

    >>> from plotly.graph_objects import Figure
    >>> from scvi_downstream.datasets import HTMLDataset
    >>> dataset = HTMLDataset(filepath=tmp_path / "umap_3d.html")
    >>> dataset.save(Figure())
    >>> dataset.load()[:6]
    '<html>'
    """

    KIND = "a figure"
    DEFAULT_SAVE_ARGS: ClassVar[dict[str, Any]] = {
        "include_plotlyjs": True,
        "div_id": _DIV,
        "config": {"responsive": True, "displaylogo": False},
    }

    def _read(self) -> str:
        return self._content().decode("utf-8")

    def preview(self) -> PlotlyPreview:
        """The figure, unless it is too large for a page."""
        if not self._exists():
            return NO_PREVIEW
        page = self._read()
        drawn = _DRAWN.search(page, page.rfind(f'id="{_DIV}"'))
        if drawn is None or len(page) - drawn.end() > _PREVIEW_BYTES:
            return NO_PREVIEW
        decoder = json.JSONDecoder()
        traces, end = decoder.raw_decode(page, drawn.end())
        layout, _ = decoder.raw_decode(page, page.index("{", end))
        return PlotlyPreview({"data": traces, "layout": layout})
