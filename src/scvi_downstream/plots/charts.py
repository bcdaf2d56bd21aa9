"""Charts of rows and columns: heat maps, dot plots, points with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scvi_downstream.plots.panels import name_rows
from scvi_downstream.plots.style import MISSING, OKABE_ITO, SEQUENTIAL
from scvi_downstream.runtime.slow_types import Axes, AxesImage, PathCollection

# Rec. 601: how bright an eye sees red, green and blue.
BRIGHTNESS = (0.299, 0.587, 0.114)
HIGHER, LOWER = OKABE_ITO[3], OKABE_ITO[0]
"""Colours of what is raised and lowered."""


def heat_map(
    axes: Axes,
    table: pd.DataFrame,
    *,
    limits: tuple[float, float],
    cmap: str | None = SEQUENTIAL,
    texts: pd.DataFrame | None = None,
    rotation: float = 90,
    aspect: Literal["auto", "equal"] = "auto",
) -> AxesImage:
    """A coloured cell a value, the rows and columns named; missing values show the background.

    Parameters
    ----------
    table
        ``n_rows`` × ``n_columns`` values; its index and columns are the names.
    limits
        Values of the first and the last colour.
    texts
        What to write in the cells, of the same shape, as ``table.map("{:.2f}".format)``; white in dark cells. Empty
        texts are left out.
    rotation
        Of the names of the columns, degrees; slanting ones end at their column.
    aspect
        ``"equal"`` for square cells.

    Returns
    -------
    The image, for a colour bar.
    """
    values = table.to_numpy(dtype=np.float64)
    low, high = limits
    image = axes.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect=aspect, interpolation="none")
    slanting: dict[str, Any] = {} if rotation in (0, 90) else {"ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(
        range(values.shape[1]), table.columns.astype(str), rotation=rotation, fontsize="small", **slanting
    )
    axes.set_yticks(range(len(values)), table.index.astype(str), fontsize="small")
    axes.tick_params(length=0)
    if texts is not None:
        rgba = np.asarray(image.to_rgba(values))
        # missing values are transparent: the paper shines through
        bright = 1 - rgba[..., 3] * (1 - rgba[..., :3] @ BRIGHTNESS)
        for (row, column), text in np.ndenumerate(texts.to_numpy()):
            if text:
                color = "black" if bright[row, column] > 0.5 else "white"
                axes.text(column, row, text, ha="center", va="center", fontsize="small", color=color)
    return image


def dot_plot(
    axes: Axes,
    values: pd.DataFrame,
    shares: pd.DataFrame,
    *,
    largest: float,
    limits: tuple[float, float] = (0.0, 1.0),
    cmap: str | None = SEQUENTIAL,
    **marker: Any,
) -> PathCollection:
    """Dots at rows × columns: the colour is a value, the area a share; no dot where either is missing.

    Parameters
    ----------
    values
        ``n_rows`` × ``n_columns``; its index and columns are the names.
    shares
        Of the same shape, 0 to 1.
    largest
        Area of the dot of share 1, points².
    limits
        Values of the first and the last colour.
    marker
        Of Matplotlib's ``scatter``; an array has one item a dot, row by row.

    Returns
    -------
    The dots, for a colour bar.
    """
    x, y = np.meshgrid(np.arange(values.shape[1]), np.arange(len(values)))
    look: dict[str, Any] = {"edgecolors": "#666666", "linewidths": 0.4} | marker
    dots = axes.scatter(
        x.ravel(), y.ravel(), s=largest * shares.to_numpy().ravel(), c=values.to_numpy().ravel(),
        cmap=cmap, vmin=limits[0], vmax=limits[1], **look,
    )  # fmt: skip
    axes.set_xticks(range(values.shape[1]), values.columns.astype(str), rotation=90)
    name_rows(axes, values.index)
    axes.set_xlim(-0.7, values.shape[1] - 0.3)
    return dots


def draw_volcano(axes: Axes, points: pd.DataFrame, called: str, *, sizes: tuple[float, float]) -> None:
    """Points of columns ``x`` and ``y``: grey, on top the called ones, red where ``x`` is above 0 and blue below.

    ``called`` names a boolean column; ``sizes`` are the areas of points that are not called and called, points².
    """
    for is_called, size in zip((False, True), sizes, strict=True):
        part = points[points[called] == is_called]
        colors = np.where(part["x"] > 0, HIGHER, LOWER) if is_called else MISSING
        axes.scatter(part["x"], part["y"], s=size, c=colors, linewidths=0, alpha=0.8, rasterized=True)
    axes.axvline(0, color="#999999", linewidth=0.5, zorder=0)


def legend_areas(axes: Axes, shares: Mapping[str, float], *, largest: float) -> list[PathCollection]:
    """Handles of a legend of ``dot_plot``: a grey dot of the area of each share."""
    return [
        axes.scatter([], [], s=largest * share, color="#888888", label=name) for name, share in shares.items()
    ]


def draw_intervals(
    axes: Axes,
    places: ArrayLike,
    values: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    vertical: bool = False,
    fmt: str = "o",
    **style: Any,
) -> None:
    """A point with its interval in each of the ``n`` rows, or columns where ``vertical``.

    Parameters
    ----------
    places
        ``(n,)`` positions across the intervals.
    values, low, high
        ``(n,)`` points and ends, in the units of the axis; NaN ends draw the point alone.
    fmt, style
        Of Matplotlib's ``errorbar``, as ``color``, ``ms``, ``lw``, ``label``; ``fmt="none"`` draws no points.
    """
    middle, start, end = (np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (values, low, high))
    # heavy tails can put a mean outside its own bootstrap interval, where no bar has a length
    reach = np.maximum([middle - start, end - middle], 0)
    if vertical:
        axes.errorbar(places, middle, yerr=reach, fmt=fmt, **style)
    else:
        axes.errorbar(middle, places, xerr=reach, fmt=fmt, **style)
