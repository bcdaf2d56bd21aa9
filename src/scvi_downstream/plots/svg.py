"""A page of SVG that is drawn along with the pixels: outlines, and pixels only for crowds of points."""

from __future__ import annotations

import base64
from functools import lru_cache
from io import BytesIO, StringIO
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.textpath import TextToPath
from matplotlib.transforms import Affine2D, Bbox, TransformedPath
from PIL import Image

MOST_CELLS = 5000
"""Cells of a heat map up to which each is a rectangle."""
# Of pixels on a page: zlib's default makes them a tenth smaller in three times the time.
COMPRESSION = 3
# Which arguments after the graphics context are transforms of positions.
_TRANSFORMS = {
    "draw_path": (1,),
    "draw_markers": (1, 3),
    "draw_path_collection": (0, 4),
    "draw_quad_mesh": (0, 5),
}
# Neither date nor version: the same figure is the same file.
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@lru_cache(maxsize=4096)
def _outlines(font: Any, text: str) -> tuple[list[Any], dict[str, Any], list[Any]]:
    return TextToPath().get_glyphs_with_font(font, text)


class _Outlines(TextToPath):
    """Outlines of letters; a text is shaped once."""

    def get_glyphs_with_font(
        self,
        font: Any,
        s: str,
        glyph_map: Any = None,
        return_new_glyphs_only: Any = False,  # noqa: FBT002  (Matplotlib's own)
        **_: Any,
    ) -> tuple[list[Any], dict[str, Any], list[Any]]:
        glyphs, shapes, boxes = _outlines(font, s)
        known = glyph_map if return_new_glyphs_only else {}
        return glyphs, {name: shape for name, shape in shapes.items() if name not in known}, boxes


class Page(RendererSVG):
    """A page in the units of the pixels that are drawn along with it.

    Letters are outlines, each shape defined once: fonts embedded in an SVG are left aside by Illustrator, Inkscape and
    many a journal's workshop, and even a subset takes more room than the letters of a figure. Who wants to edit words
    sets ``svg.fonttype: none`` in a style file.

    Parameters
    ----------
    width, height, dpi
        Of the pixels beside it.
    finer
        How many times finer pixels on the page are than those.
    """

    def __init__(self, width: float, height: float, dpi: float, finer: float) -> None:
        self._dpi, self._finer = dpi, finer
        self._fine: RendererAgg | None = None
        self._written = StringIO()
        super().__init__(width, height, self._written, metadata=_NO_METADATA)
        self._text2path = _Outlines()

    def content(self, millimetres: float) -> bytes:
        """All that was drawn, on a page of this width."""
        self.finalize()
        drawn = f'width="{self.width:g}pt" height="{self.height:g}pt"'
        printed = f'width="{millimetres:g}mm" height="{millimetres * self.height / self.width:.2f}mm"'
        return self._written.getvalue().replace(drawn, printed, 1).encode()

    def start_rasterizing(self) -> None:
        """Draw on pixels from here on."""
        self._fine = RendererAgg(self.width * self._finer, self.height * self._finer, self._dpi * self._finer)

    def stop_rasterizing(self) -> None:
        """Put these pixels on the page, as far as there is ink."""
        assert self._fine is not None
        pixels, self._fine = Image.fromarray(np.asarray(self._fine.buffer_rgba())), None
        ink = pixels.getbbox(alpha_only=True)
        if ink is not None:
            self._embed(pixels.crop(ink), ink[0] / self._finer, ink[1] / self._finer)

    def draw_on(self, name: str, gc: Any, *given: Any, **named: Any) -> None:
        """Let a method of renderers draw here, or on finer pixels between start and end of rasterizing."""
        if self._fine is None:
            getattr(self, name)(gc, *given, **named)
            return
        larger = [
            each + Affine2D().scale(self._finer) if at in _TRANSFORMS[name] else each
            for at, each in enumerate(given)
        ]
        getattr(self._fine, name)(self._finer_context(gc), *larger, **named)

    def _finer_context(self, gc: Any) -> Any:
        finer = gc.__class__()
        finer.copy_properties(gc)
        finer.set_linewidth(gc.get_linewidth() * self._finer)
        if (frame := gc.get_clip_rectangle()) is not None:
            finer.set_clip_rectangle(Bbox(frame.get_points() * self._finer))
        path, placed = gc.get_clip_path()
        if path is not None:
            finer.set_clip_path(TransformedPath(path, placed + Affine2D().scale(self._finer)))
        return finer

    def draw_cells(
        self, gc: Any, cells: np.ndarray, across: tuple[float, float], up: tuple[float, float]
    ) -> None:
        """Draw a heat map, ``(n_rows, n_columns, 4)`` bytes with the lowest row first, between these ends, pixels."""
        clip = self._get_clip_attrs(gc)
        if clip:
            self.writer.start("g", clip)
        down = (self.height - up[0], self.height - up[1])
        if cells.shape[0] * cells.shape[1] <= MOST_CELLS:
            edges = (
                np.linspace(*ends, n + 1) for ends, n in zip((across, down), cells.shape[1::-1], strict=True)
            )
            self._draw_rectangles(cells, *edges)
        else:
            size = [round(abs(end - start) * self._finer) for start, end in (across, down)]
            pixels = Image.fromarray(np.ascontiguousarray(cells[::-1])).resize(size, Image.Resampling.NEAREST)
            self._embed(pixels, across[0], down[1])
        if clip:
            self.writer.end("g")

    def _draw_rectangles(self, cells: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """One path a colour; ``x`` and ``y`` are the edges of columns and rows."""
        x, y = x.round(2), y.round(2)
        places: dict[tuple[int, ...], list[str]] = {}
        for (row, column), color in zip(
            np.ndindex(cells.shape[:2]), cells.reshape(-1, 4).tolist(), strict=True
        ):
            outline = f"M{x[column]:g} {y[row]:g}H{x[column + 1]:g}V{y[row + 1]:g}H{x[column]:g}z"
            places.setdefault(tuple(color), []).append(outline)
        for (*color, alpha), outlines in places.items():
            look = {"fill": f"#{bytes(color).hex()}", "fill-opacity": f"{alpha / 255:.3g}"}
            self.writer.element("path", d="".join(outlines), attrib=look | {"shape-rendering": "crispEdges"})

    def _embed(self, pixels: Image.Image, x: float, y: float) -> None:
        """Put fine pixels where their upper left corner is at ``x``, ``y``."""
        packed = BytesIO()
        pixels.save(packed, "png", compress_level=COMPRESSION)
        width, height = (f"{size / self._finer:.2f}" for size in pixels.size)
        data = f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
        place = {"x": f"{x:.2f}", "y": f"{y:.2f}", "width": width, "height": height}
        self.writer.element("image", attrib=place | {"preserveAspectRatio": "none", "xlink:href": data})

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = None,
        mtext: Any = None,
    ) -> None:
        """As large as it is in pixels."""
        larger = prop.copy()
        larger.set_size(self._pixels(prop.get_size_in_points()))
        super().draw_text(gc, x, y, s, larger, angle, ismath, mtext)

    def draw_path_collection(self, gc: Any, *given: Any, **named: Any) -> None:
        """With widths of lines that are in points."""
        *before, widths, styles, antialiased, urls, position = given
        widths = [self._pixels(width) for width in widths]
        super().draw_path_collection(gc, *before, widths, styles, antialiased, urls, position, **named)

    def _get_style_dict(self, gc: Any, rgbFace: Any) -> dict[str, str]:
        style = super()._get_style_dict(gc, rgbFace)
        if "stroke-dasharray" in style:
            offset, lengths = gc.get_dashes()
            style["stroke-dasharray"] = ",".join(f"{self._pixels(each):g}" for each in lengths)
            style["stroke-dashoffset"] = f"{self._pixels(offset):g}"
        return style

    def _pixels(self, points: float) -> float:
        return points * self._dpi / 72
