from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image

from scvi_downstream.plots.canvas import Canvas, lay_out, pictures_of
from scvi_downstream.plots.style import new_figure
from scvi_downstream.plots.style_file import dots_per_inch

TEXTS = st.text("AgjTy0259-−.,'_★αfi %", min_size=1, max_size=12).filter(str.strip)


def drawing(canvas: type[FigureCanvasAgg] = Canvas) -> Figure:
    figure = Figure(figsize=(4, 3), layout="constrained", dpi=120)
    canvas(figure)
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label="a line")
    axes.set(title="two\nlines", xlabel="below", ylabel=r"$\log_2$ beside")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def ink(renderer: RendererAgg, text: str, font: FontProperties, angle: float) -> np.ndarray:
    """Left, right, top and bottom end of what is drawn."""
    renderer.draw_text(renderer.new_gc(), 200, 200, text, font, angle)
    rows, columns = np.nonzero(np.asarray(renderer.buffer_rgba())[..., 3])
    return np.array([columns.min(), columns.max(), rows.min(), rows.max()])


@given(
    TEXTS,
    st.sampled_from([6, 7, 8, 9, 10]),
    st.sampled_from(["normal", "bold"]),
    st.sampled_from([0, 90, 45]),
)
def test_a_text_is_as_large_and_stands_where_matplotlib_has_it(text, size, weight, angle) -> None:
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    canvas = Canvas(Figure(figsize=(4, 4), dpi=100))
    stock = RendererAgg(400, 400, 100)
    ours = canvas.get_renderer()
    assert ours.get_text_width_height_descent(text, font, False) == (
        stock.get_text_width_height_descent(text, font, False)
    )
    np.testing.assert_allclose(ink(ours, text, font, angle), ink(stock, text, font, angle), atol=1)


def test_lines_of_text_are_as_far_apart_as_matplotlib_has_them() -> None:
    extents = []
    for canvas in (FigureCanvasAgg, Canvas):
        figure = drawing(canvas)
        extents.append(figure.axes[0].title.get_window_extent().bounds)
    np.testing.assert_allclose(*extents)


def test_the_picture_shows_what_matplotlib_draws() -> None:
    stock = BytesIO()
    drawing(FigureCanvasAgg).savefig(stock, dpi=dots_per_inch(), bbox_inches="tight")
    one, other = (
        255 - np.asarray(Image.open(png).convert("L"), float)
        for png in (stock, BytesIO(pictures_of(drawing()).png))
    )
    # the same ink, on a page that is as wide as the figure and as high as what is drawn
    one, other = (each[:, each.any(axis=0)] for each in (one, other))
    assert abs(one.shape[1] - other.shape[1]) <= 3  # letters of Matplotlib's are hinted
    width = min(one.shape[1], other.shape[1])
    one, other = one[:, :width], other[:, :width]
    # a text may stand beside by a pixel: stripes of eight hold the same ink but for what crosses their rims
    one, other = (np.add.reduceat(each.sum(axis=0), range(0, each.shape[1], 8)) for each in (one, other))
    assert np.abs(one - other).sum() < 0.1 * one.sum()


def test_a_figure_is_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = new_figure(3, 2)
    axes, done = figure.subplots(), []
    engine = figure.get_layout_engine()
    execute = engine.execute
    monkeypatch.setattr(engine, "execute", lambda drawn: done.append(drawn) or execute(drawn))
    lay_out(figure)
    place = axes.get_position().bounds
    axes.set_ylabel("added\nafterwards")
    pictures_of(figure)
    assert done == [figure]
    assert axes.get_position().bounds == place
