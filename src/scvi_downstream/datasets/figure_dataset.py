"""``FigureDataset`` saves matplotlib figures as PNG and Plotly figures as pages."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from scvi_downstream.datasets.kedro_previews import ImagePreview, PlotlyPreview
from scvi_downstream.datasets.text_files import NO_PREVIEW, reading
from scvi_downstream.runtime.atomic import replacing
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

_DPI = 120
_PREVIEW_BYTES = 2_000_000
_DIV = "figure"
_DRAWN = re.compile(rf'Plotly\.newPlot\(\s*"{_DIV}",\s*')


class FigureDataset(AbstractDataset):
    """``FigureDataset`` saves a figure; the suffix says which kind. The same figure gives the same bytes.

    ``.png`` takes a matplotlib figure and loads as bytes; ``.html`` takes a Plotly figure, becomes one page
    that needs no network, and loads as text.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        qc_figure:
          type: scvi_downstream.datasets.figure_dataset.FigureDataset
          filepath: data/08_reporting/qc.png

    Using the Python API:

    >>> from matplotlib.figure import Figure
    >>> from scvi_downstream.datasets import FigureDataset
    >>> dataset = FigureDataset(filepath=tmp_path / "qc.png")
    >>> dataset.save(Figure())
    >>> dataset.load()[1:4]
    b'PNG'
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        save_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Point to a file.

        Parameters
        ----------
        filepath
            Ends in ``.png`` or ``.html``.
        save_args
            For ``Figure.savefig`` or ``plotly.io.to_html``.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        if self._filepath.suffix not in (".png", ".html"):
            raise InputError(f"{self._filepath} must end in .png or .html")
        self._save_args = save_args or {}
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "save_args": self._save_args}

    def load(self) -> bytes | str:
        """Read the PNG's bytes or the page's text."""
        with reading(self._filepath, "a figure"):
            content = self._filepath.read_bytes()
            return content if self._filepath.suffix == ".png" else content.decode("utf-8")

    def save(self, data: Figure | PlotlyFigure) -> None:
        """Draw the figure; a file that is there is replaced when the new one is complete."""
        with replacing(self._filepath) as temporary:
            if self._filepath.suffix == ".png":
                self._draw(data, temporary)
            else:
                temporary.write_text(self._page(data), encoding="utf-8")

    def _exists(self) -> bool:
        return self._filepath.exists()

    @property
    def preview(self) -> Callable[[], ImagePreview] | Callable[[], PlotlyPreview]:
        """Preview of this kind of figure: Kedro-Viz reads the kind off the method's return annotation."""
        return self._preview_image if self._filepath.suffix == ".png" else self._preview_plotly

    def _draw(self, figure: Figure, path: Path) -> None:
        # matplotlib would write its version into the file.
        chosen: dict[str, Any] = {
            "dpi": _DPI,
            "bbox_inches": "tight",
            "metadata": {"Software": None},
        } | self._save_args
        figure.savefig(path, format="png", **chosen)

    def _page(self, figure: PlotlyFigure) -> str:
        from plotly.io import to_html

        config = {"responsive": True, "displaylogo": False}
        chosen: dict[str, Any] = {
            "include_plotlyjs": True,
            "full_html": True,
            "config": config,
        } | self._save_args
        return to_html(figure, div_id=_DIV, **chosen)

    def _preview_image(self) -> ImagePreview:
        if not self._exists() or self._filepath.stat().st_size > _PREVIEW_BYTES:
            return NO_PREVIEW
        return ImagePreview(base64.b64encode(self._filepath.read_bytes()).decode())

    def _preview_plotly(self) -> PlotlyPreview:
        if not self._exists():
            return NO_PREVIEW
        page = self._filepath.read_text(encoding="utf-8")
        drawn = _DRAWN.search(page, page.rfind(f'id="{_DIV}"'))
        if drawn is None or len(page) - drawn.end() > _PREVIEW_BYTES:
            return NO_PREVIEW
        decoder = json.JSONDecoder()
        traces, end = decoder.raw_decode(page, drawn.end())
        layout, _ = decoder.raw_decode(page, page.index("{", end))
        return PlotlyPreview({"data": traces, "layout": layout})
