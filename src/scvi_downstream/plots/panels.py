"""Grids of panels, and what panels share: cells on the UMAP, names of rows, handles of legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import (
    MISSING,
    bare_umap_axes,
    new_figure,
    point_size,
    scatter_categories,
    scatter_values,
)
from scvi_downstream.runtime.slow_types import Axes, Figure, PathCollection


def panel_grid(
    n: int,
    *,
    columns: int,
    width: float,
    height: float,
    more_width: float = 0.0,
    more_height: float = 0.0,
    least_width: float = 0.0,
    **settings: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure of ``n`` panels, row by row; the unused places of the last row stay empty.

    Where panels share their x axis, the lowest panel of every column shows its ticks.

    Parameters
    ----------
    n
        Number of panels; with 0 the figure is empty.
    columns
        Most panels in a row.
    width, height
        Size of one panel, inches.
    more_width, more_height
        Room for what belongs to the whole figure: labels, titles, legends, colour bars, inches.
    least_width
        Of the figure, inches: its title or legend is cut off in a narrower one.
    settings
        Of Matplotlib's ``subplots``, as ``sharex``, ``width_ratios`` or ``gridspec_kw``.

    Returns
    -------
    The figure, and its ``n`` panels.
    """
    columns = max(min(columns, n), 1)
    rows = max(ceil(n / columns), 1)
    figure = new_figure(max(width * columns + more_width, least_width), height * rows + more_height)
    places = figure.subplots(rows, columns, squeeze=False, **settings).ravel().tolist()
    for unused in places[n:]:
        unused.remove()
    panels = places[:n]
    if settings.get("sharex"):
        for lowest in panels[-columns:]:
            lowest.tick_params(labelbottom=True)
    return figure, panels


def umap_panel(
    axes: Axes, xy: np.ndarray, values: pd.Series, title: str, *, label: str = "", **settings: Any
) -> None:
    """Cells on the UMAP, coloured by category or by number; cells without a number are grey beneath.

    Parameters
    ----------
    xy
        ``(n_cells, 2)`` coordinates.
    values
        ``n_cells`` numbers, or categories of any other type.
    label
        Of the colour bar; the title where it is not given.
    settings
        Of ``scatter_categories`` or ``scatter_values``.
    """
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        scatter_categories(axes, xy, values, **settings)
    else:
        scatter_known(axes, xy, values.to_numpy(np.float64, na_value=np.nan), label or title, **settings)
    bare_umap_axes(axes, title)


def scatter_known(axes: Axes, xy: np.ndarray, values: np.ndarray, label: str, **settings: Any) -> None:
    """Cells coloured by a number, those without one in grey beneath and counted for the legend.

    Parameters
    ----------
    xy
        ``(n_cells, 2)`` coordinates.
    values
        ``(n_cells,)`` numbers, NaN where there is none.
    label
        Of the colour bar.
    settings
        Of ``scatter_values``.
    """
    known = np.isfinite(values)
    if not known.all():
        (x, y), size, name = xy[~known].T, point_size(len(xy)), f"none ({(~known).sum():,} cells)"
        axes.scatter(x, y, s=size, c=MISSING, linewidths=0, rasterized=True, label=name)
    if known.any():
        scatter_values(axes, xy[known], values[known], label, **settings)


def empty_panel(axes: Axes, reason: str) -> None:
    """Say in one panel why there is nothing to draw, as ``empty_figure`` does in a whole figure."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", color="#555555", transform=axes.transAxes)


def name_rows(axes: Axes, names: Iterable[object], *, margin: float = 0.6, **text: Any) -> None:
    """Name the rows at 0, 1, 2, … of a horizontal chart, the first on top.

    Parameters
    ----------
    margin
        Distance of the outer rows from the ends of the axis, rows.
    text
        Of the names, as ``fontsize``.
    """
    shown = [str(name) for name in names]
    axes.set_yticks(range(len(shown)), shown, **text)
    axes.set_ylim(len(shown) - 1 + margin, -margin)


def legend_dots(
    axes: Axes, colors: Mapping[str, str], *, size: float = 28, **marker: Any
) -> list[PathCollection]:
    """Handles of a legend, a dot a name of ``colors`` in its colour; ``size`` is the area in points²."""
    return [axes.scatter([], [], s=size, color=color, label=name, **marker) for name, color in colors.items()]


def joint_legend(panels: Sequence[Axes], **settings: Any) -> None:
    """One legend of the figure for all of the panels, each label once; ``settings`` are those of Matplotlib's."""
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    panels[0].figure.legend(handles.values(), handles.keys(), **settings)


def shortened(name: object, longest: int) -> str:
    """The text of ``name``, with an ellipsis where it has more than ``longest`` characters."""
    text = str(name)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
