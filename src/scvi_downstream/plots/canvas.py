"""Where figures are drawn: laid out once, drawn once, each text shaped once."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg, get_hinting_flag
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties, findfont, get_font
from PIL import Image

DPI = 120
MARGIN = 0.1  # around what is drawn, inches
# zlib's fastest: files are smaller all the same, as three channels are written instead of four.
COMPRESSION = 1


class _Written(NamedTuple):
    """One line of text, in pixels."""

    mask: np.ndarray
    left: int
    below: int
    size: tuple[float, float, float]


@lru_cache(maxsize=4096)
def _written(text: str, font: FontProperties, dpi: float) -> _Written:
    """A text as an image of its ink, where that starts left of and below the start of its baseline, and its size."""
    face = get_font(findfont(font))
    face.clear()
    face.set_size(font.get_size_in_points(), dpi)
    face.set_text(text, 0.0, flags=get_hinting_flag())
    width, height = face.get_width_height()
    descent = face.get_descent()
    face.draw_glyphs_to_bitmap(antialiased=True)
    left, _ = face.get_bitmap_offset()
    size = (width / 64, height / 64, descent / 64)
    return _Written(face.get_image(), left // 64, ceil(descent / 64) + 1, size)


@lru_cache(maxsize=256)
def _line(font: FontProperties, dpi: float) -> tuple[float | None, ...]:
    """Ascent, descent and gap of a font's lines, pixels; ``None`` where the font does not say."""
    face = get_font(findfont(font))
    table = face.get_sfnt_table("OS/2")
    if table is None:
        return None, None, None
    scale = font.get_size_in_points() * dpi / 72 / face.units_per_EM
    return table["sTypoAscender"] * scale, -table["sTypoDescender"] * scale, table["sTypoLineGap"] * scale


class _Renderer(RendererAgg):
    """Draws a text as one image that is kept: Matplotlib shapes it anew each time, and hints it glyph by glyph."""

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> Any:
        if ismath:
            return super().get_text_width_height_descent(s, prop, ismath)
        return _written(s, prop.copy(), self.dpi).size

    def _get_font_height_metrics(self, prop: FontProperties) -> tuple[float | None, ...]:
        return _line(prop.copy(), self.dpi)

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
        if ismath or angle not in (0, 90):
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        mask, left, below, _ = _written(s, prop.copy(), self.dpi)
        x, y = round(x), round(y)
        if angle == 0:
            self._renderer.draw_text_image(mask, x + left, y + below, 0, gc)
        else:
            turned = np.ascontiguousarray(np.rot90(mask))
            self._renderer.draw_text_image(turned, x + below - turned.shape[1], y - left, 0, gc)


class Canvas(FigureCanvasAgg):
    """Canvas of a figure, which keeps its renderer while the size stays."""

    _last: tuple[float, ...] = ()

    def get_renderer(self) -> _Renderer:
        """The renderer of the figure's present size."""
        size = (*self.get_width_height(physical=True), self.figure.dpi)
        if size != self._last:
            self.renderer, self._last = _Renderer(*size), size
        return self.renderer


def lay_out(figure: Figure | SubFigure) -> None:
    """Give everything its place, once: what is added later no longer moves it."""
    root = figure.figure
    engine = root.get_layout_engine()
    if engine is not None:
        if root.axes:  # or else the engine warns that there is nothing to place
            engine.execute(root)
        root.set_layout_engine("none")


def as_png(figure: Figure) -> bytes:
    """The figure as PNG at 120 dots an inch, cut to what is drawn and a margin of 0.1 inch."""
    canvas = figure.canvas if isinstance(figure.canvas, Canvas) else Canvas(figure)
    figure.set_dpi(DPI)
    lay_out(figure)
    drawn = figure.get_tightbbox(canvas.get_renderer()).padded(MARGIN)
    figure.savefig(BytesIO(), format="rgba", dpi=DPI, bbox_inches=drawn)
    content = BytesIO()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    picture.save(content, "png", compress_level=COMPRESSION, dpi=(DPI, DPI))
    return content.getvalue()


def lighter(png: bytes) -> bytes:
    """The picture in 256 colours, which look the same on a page and take a third of the bytes."""
    content = BytesIO()
    with Image.open(BytesIO(png)) as picture:
        colors = picture.convert("RGB").quantize(
            256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
    colors.save(content, "png")
    return content.getvalue()
