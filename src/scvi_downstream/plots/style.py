"""The one style: sizes of figures, colour-blind-safe colours, point sizes, legends that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scvi_downstream.plots.style_file import ENLARGED, dots_per_inch, palette, style_settings, use_style
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

if TYPE_CHECKING:
    from matplotlib.axis import Axis

# Okabe & Ito (2008), the first colours of the shipped style: for what has a meaning, such as raised and lowered.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MISSING = "#BBBBBB"
SEQUENTIAL = None
"""Colour map of what begins at zero: ``image.cmap`` of the style."""
DIVERGING = "RdBu_r"
ONE_COLUMN, TWO_COLUMNS = (mm / 25.4 * ENLARGED for mm in (89, 183))
"""Widths of all figures, inches: one column of a journal's page, or two."""
# A figure that asks for more is as wide as two columns.
_FITS_ONE_COLUMN = 1.25 * ONE_COLUMN


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in the style, laid out so that labels and legends fit.

    Parameters
    ----------
    width, height
        That the contents ask for, inches of the drawing; it becomes as wide as one column, or as two.
    """
    from matplotlib.figure import Figure

    from scvi_downstream.plots.canvas import Canvas

    use_style()
    width = ONE_COLUMN if width <= _FITS_ONE_COLUMN else TWO_COLUMNS
    figure = Figure(figsize=(width, height), layout="constrained", dpi=dots_per_inch())
    Canvas(figure)  # by itself a figure makes, and keeps, a canvas for each text that is measured
    return figure


def empty_figure(reason: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure(6, 2)
    figure.text(0.5, 0.5, reason, ha="center", va="center", wrap=True, color="#555555")
    return figure


def category_colors(categories: Sequence[str]) -> dict[str, str]:
    """A colour per category; ``unknown`` is grey.

    Beyond the colours of the style, 21, they repeat in lighter shades, so such figures also label the points.
    """
    from matplotlib.colors import to_hex, to_rgb

    known, names = palette(), [str(category) for category in categories]
    colors = dict.fromkeys(names, MISSING)
    for position, name in enumerate(name for name in names if name != "unknown"):
        shade, index = divmod(position, len(known))
        base = np.array(to_rgb(known[index]))
        colors[name] = to_hex(1 - (1 - base) * 0.65**shade)
    return colors


def column_colors(counts: AnnData, column: str) -> dict[str, str]:
    """Colour of every category of an obs column, the same whichever part of it a figure shows.

    Those that the input brought in ``uns["<column>_colors"]``, which the preparation has checked, or else by place
    among all categories.
    """
    names = [str(name) for name in counts.obs[column].astype("category").cat.categories]
    given = counts.uns.get(f"{column}_colors")
    return category_colors(names) if given is None else dict(zip(names, map(str, given), strict=True))


def ramp(steps: int = 32) -> list[str]:
    """Colours of numbers, from the lowest to the highest."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in colormaps[style_settings()["image.cmap"]](np.linspace(0, 1, steps))]


def point_size(n_cells: int) -> float:
    """Marker area in points² so that few cells are seen and many do not blot."""
    return float(np.clip(12_000 / max(n_cells, 1), 0.5, 14))


def draw_order(n_cells: int) -> np.ndarray:
    """A fixed random order, so that no category hides another."""
    return np.random.default_rng(0).permutation(n_cells)


def scatter_categories(
    axes: Axes,
    xy: np.ndarray,
    values: pd.Series,
    *,
    on_data: bool = False,
    colors: Mapping[str, str] | None = None,
) -> None:
    """Scatter ``(n_cells, 2)`` points coloured by category, with a legend beside and optionally names on the data.

    ``colors`` are those of :func:`column_colors`, grey for what it does not name; ``None``: by place among all
    categories of ``values``, also those that no cell has.
    """
    from matplotlib.colors import to_rgba_array

    whole = values.astype("category")
    colors = category_colors(whole.cat.categories) if colors is None else colors
    categories = whole.cat.remove_unused_categories()
    names = [str(name) for name in categories.cat.categories]
    colors = {name: colors.get(name, MISSING) for name in names}
    order = draw_order(len(xy))
    codes = categories.cat.codes.to_numpy()
    point_colors = to_rgba_array([*(colors[name] for name in names), MISSING])[codes]
    x, y = xy[order].T
    axes.scatter(x, y, s=point_size(len(xy)), c=point_colors[order], linewidths=0, rasterized=True)
    if on_data:
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
        for code, name in enumerate(names):
            x, y = np.median(xy[codes == code], axis=0)
            axes.text(x, y, name, ha="center", va="center", fontsize="small", weight="bold", bbox=box)
    handles = [axes.scatter([], [], s=25, c=colors[name], label=name, linewidths=0) for name in names]
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    axes.legend(handles=handles, ncols=ceil(len(names) / 16), handletextpad=0.2, **beside)


def scatter_values(
    axes: Axes, xy: np.ndarray, values: np.ndarray, label: str, *, cmap: str | None = SEQUENTIAL
) -> None:
    """Scatter ``(n_cells, 2)`` points coloured by a number, the highest on top, with a colour bar."""
    order = np.argsort(np.nan_to_num(values, nan=-np.inf), kind="stable")
    (x, y), size = xy[order].T, point_size(len(xy))
    points = axes.scatter(x, y, s=size, c=values[order], cmap=cmap, linewidths=0, rasterized=True)
    axes.figure.colorbar(points, cax=axes.inset_axes((1.03, 0.1, 0.035, 0.8)), label=label)


def bare_umap_axes(axes: Axes, title: str) -> None:
    """UMAP axes carry names but no ticks: their scale has no meaning."""
    axes.set(title=title, xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])


def plain_log_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of each decade on a short axis, 1 and 3 or 1 alone on a longer one.

    Parameters
    ----------
    axis
        Logarithmic axis that already shows its data.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    steps = (1, 2, 5) if decades < 1.7 else (1, 3) if decades < 3 else (1,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


# Where a name may stand, in points from its point: near places first.
DIRECTIONS = ((0.9, 0.6), (-0.9, 0.6), (0.9, -0.6), (-0.9, -0.6), (0, 1.1), (0, -1.1), (1.2, 0), (-1.2, 0))
OFFSETS = np.concatenate([radius * np.array(DIRECTIONS) for radius in (6, 13, 22, 34, 48)])


def label_points(axes: Axes, xy: np.ndarray, names: Sequence[str], *, avoid: np.ndarray) -> int:
    """Write each name beside its point where it covers the fewest other points and no other name.

    The first names are placed first; one that fits nowhere is left out.

    Places are found in pixels, so this lays the figure out: draw everything else before.

    Parameters
    ----------
    axes
        Axes that already show the points.
    xy
        ``(n_points, 2)`` data coordinates.
    names
        ``n_points`` texts.
    avoid
        ``(n_others, 2)`` data coordinates of points that names should not cover.

    Returns
    -------
    Number of names written.
    """
    from scvi_downstream.plots.canvas import lay_out

    lay_out(axes.figure)
    frame, offsets = axes.get_window_extent(), OFFSETS * axes.figure.dpi / 72
    to_data = axes.transData.inverted().transform
    pixels, others = (axes.transData.transform(np.reshape(each, (-1, 2))) for each in (xy, avoid))
    paper = {"boxstyle": "square,pad=0", "facecolor": "white", "alpha": 0.7, "linewidth": 0}
    taken = np.empty((0, 2, 2))  # lower left and upper right corners
    lines: list[ArrayLike] = []
    for pixel, (x, y), name in zip(pixels, to_data(pixels), names, strict=True):
        text = axes.text(x, y, name, fontsize="small", ha="center", va="center", bbox=paper)
        text.set_in_layout(False)
        box = text.get_window_extent()
        half = np.array([box.width / 2 + 1, box.height / 2])
        middles = pixel + offsets + np.sign(offsets) * (half[0], 0)
        low, high = middles - half, middles + half
        overlap = (low[:, None] < taken[:, 1]) & (taken[:, 0] < high[:, None])
        free = ((low >= frame.min) & (high <= frame.max)).all(axis=1) & ~overlap.all(axis=2).any(axis=1)
        if not free.any():
            text.remove()
            continue
        covered = ((low[:, None] < others) & (others < high[:, None])).all(axis=2).sum(axis=1)
        best = np.where(free, covered, np.inf).argmin()
        text.set_position(tuple(to_data(middles[best])))
        lines += [*to_data([pixel, np.clip(pixel, low[best], high[best])]), (np.nan, np.nan)]
        taken = np.append(taken, [[low[best], high[best]]], axis=0)
    x, y = np.array(lines).reshape(-1, 2).T
    axes.plot(x, y, color="#777777", linewidth=0.4, zorder=2.5, scalex=False, scaley=False)
    return len(taken)
