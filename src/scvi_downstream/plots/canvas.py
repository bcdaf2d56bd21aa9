"""Where figures are drawn: laid out once, drawn once for pixels and page, each text shaped once."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from matplotlib._tight_bbox import adjust_bbox
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg, get_hinting_flag
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.transforms import Affine2D, Bbox
from PIL import Image

from scvi_downstream.plots.style_file import ENLARGED, dots_per_inch
from scvi_downstream.plots.svg import Page

MARGIN = 0.1  # around what is drawn, inches
PRINTED_DPI = 300
"""Of pixels in the SVG, such as crowds of points, on paper."""
# zlib's fastest: files are smaller all the same, as three channels are written instead of four.
COMPRESSION = 1


class _Written(NamedTuple):
    """One line of text, in pixels."""

    mask: np.ndarray
    left: int
    below: int
    size: tuple[float, float, float]


@lru_cache(maxsize=4096)
def _written(text: str, font: FontProperties, dpi: float, hinting: Any) -> _Written:
    """A text as an image of its ink, where that starts left of and below the start of its baseline, and its size."""
    face = get_font(findfont(font))
    face.clear()
    face.set_size(font.get_size_in_points(), dpi)
    face.set_text(text, 0.0, flags=hinting)
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
        return _written(s, prop.copy(), self.dpi, get_hinting_flag()).size

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
        mask, left, below, _ = _written(s, prop.copy(), self.dpi, get_hinting_flag())
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


class _Both(_Renderer):
    """Draws on pixels, and the same on a page of SVG."""

    def __init__(self, width: float, height: float, dpi: float, page: Page) -> None:
        super().__init__(width, height, dpi)
        self._page = page
        for name in ("draw_markers", "draw_path_collection", "draw_quad_mesh", "draw_image"):
            delattr(self, name)  # those of the class, below, in their place

    def open_group(self, s: str, gid: str | None = None) -> None:
        self._page.open_group(s, gid)

    def close_group(self, s: str) -> None:
        self._page.close_group(s)

    def start_rasterizing(self) -> None:
        self._page.start_rasterizing()

    def stop_rasterizing(self) -> None:
        self._page.stop_rasterizing()

    def draw_path(self, gc: Any, *given: Any) -> None:
        super().draw_path(gc, *given)
        self._page.draw_on("draw_path", gc, *given)

    def draw_markers(self, gc: Any, *given: Any) -> None:
        self._renderer.draw_markers(gc, *given)
        self._page.draw_on("draw_markers", gc, *given)

    def draw_path_collection(self, gc: Any, *given: Any, **named: Any) -> None:
        self._renderer.draw_path_collection(gc, *given, **named)
        self._page.draw_on("draw_path_collection", gc, *given, **named)

    def draw_quad_mesh(self, gc: Any, *given: Any) -> None:
        self._renderer.draw_quad_mesh(gc, *given)
        self._page.draw_on("draw_quad_mesh", gc, *given)

    def option_scale_image(self) -> bool:
        return True  # of heat maps the cells themselves come, with their frame

    def draw_image(self, gc: Any, x: float, y: float, im: np.ndarray, transform: Any = None) -> None:
        if transform is None:  # smoothed over pixels by Matplotlib
            transform = Affine2D().scale(*im.shape[1::-1])
        (left, bottom), (right, top) = (transform + Affine2D().translate(x, y)).transform([(0, 0), (1, 1)])
        if left > right:
            left, right, im = right, left, im[:, ::-1]
        if bottom > top:
            bottom, top, im = top, bottom, im[::-1]
        start = round(left), round(bottom)
        size = max(round(right) - start[0], 1), max(round(top) - start[1], 1)
        pixels = Image.fromarray(np.ascontiguousarray(im)).resize(size, Image.Resampling.NEAREST)
        self._renderer.draw_image(gc, *start, np.array(pixels))
        self._page.draw_cells(gc, im, (left, right), (bottom, top))

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
        super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        self._page.draw_text(gc, x, y, s, prop, angle, ismath, mtext)


class Pictures(NamedTuple):
    """A figure in pixels, and as a page that is as wide as a journal's column."""

    png: bytes
    svg: bytes


def pictures_of(figure: Figure) -> Pictures:
    """The figure as wide as it is, and as high as what is drawn and a margin of 0.1 inch; nothing is cut off."""
    canvas = figure.canvas if isinstance(figure.canvas, Canvas) else Canvas(figure)
    dpi = dots_per_inch()
    figure.set_dpi(dpi)
    lay_out(figure)
    width = figure.get_figwidth()
    drawn = figure.get_tightbbox(canvas.get_renderer()).padded(MARGIN)
    ends = np.array([[min(drawn.x0, 0), drawn.y0], [max(drawn.x1, width), drawn.y1]])
    box = Bbox(np.stack([np.floor(ends[0] * dpi), np.ceil(ends[1] * dpi)]) / dpi)
    finer = max(PRINTED_DPI / (dpi * ENLARGED), 1.0)
    restore = adjust_bbox(figure, box, canvas.get_renderer(), dpi)
    try:
        across, up = np.round(np.array(box.size) * dpi)
        page = Page(across, up, dpi, finer)
        renderer = _Both(across, up, dpi, page)
        figure.draw(renderer)
    finally:
        restore()
    content = BytesIO()
    picture = Image.fromarray(np.asarray(renderer.buffer_rgba())[..., :3])
    picture.save(content, "png", compress_level=COMPRESSION, dpi=(dpi * ENLARGED,) * 2)
    return Pictures(content.getvalue(), page.content(width / ENLARGED * 25.4))


def lighter(png: bytes) -> bytes:
    """The picture in 256 colours, which look the same on a page and take a third of the bytes."""
    content = BytesIO()
    with Image.open(BytesIO(png)) as picture:
        colors = picture.convert("RGB").quantize(
            256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
    colors.save(content, "png")
    return content.getvalue()
