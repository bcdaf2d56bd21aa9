"""Every annotation on the UMAP."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.parameters import MetadataAnalysisOptions
from scvi_downstream.plots.style import (
    MISSING,
    bare_umap_axes,
    empty_figure,
    new_figure,
    point_size,
    scatter_categories,
    scatter_values,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing it for that would slow every command
    Figure = Any

MAX_PANELS = 12
PANEL_WIDTH, PANEL_HEIGHT = 4.6, 3.2
PANELS_A_ROW = 3


def plot_metadata(umap: pd.DataFrame, annotations: pd.DataFrame, options: MetadataAnalysisOptions) -> Figure:
    """One UMAP panel an annotation, the first 12; cells without a value are grey.

    Parameters
    ----------
    umap
        `n_cells` × ``UMAP1``, ``UMAP2``.
    annotations
        The same cells × annotations, numbers or categories.
    options
        A column of more than ``max_categories`` categories is not drawn.
    """
    drawable = [
        name
        for name, values in annotations.items()
        if values.notna().any()
        and not (isinstance(values.dtype, pd.CategoricalDtype) and values.nunique() > options.max_categories)
    ]
    if not drawable:
        return empty_figure("No annotation to draw: every column is empty or has too many categories.")
    shown = drawable[:MAX_PANELS]
    n_columns = min(PANELS_A_ROW, len(shown))
    n_rows = ceil(len(shown) / n_columns)
    figure = new_figure(PANEL_WIDTH * n_columns, PANEL_HEIGHT * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, name in zip(grid, shown, strict=False):
        _panel(axes, umap, annotations[name].reindex(umap.index))
    for axes in grid[len(shown) :]:
        axes.remove()
    if len(drawable) > len(shown):
        figure.suptitle(f"The first {len(shown)} of {len(drawable)} annotations", fontsize=10)
    return figure


def _panel(axes: Any, umap: pd.DataFrame, values: pd.Series) -> None:
    xy = umap.to_numpy()
    missing = int(values.isna().sum())
    if isinstance(values.dtype, pd.CategoricalDtype):
        scatter_categories(axes, xy, values)
    else:
        unknown = xy[values.isna().to_numpy()]
        axes.scatter(*unknown.T, s=point_size(len(xy)), c=MISSING, linewidths=0, rasterized=True)
        scatter_values(axes, xy, values.to_numpy(dtype=float), str(values.name))
    title = f"{values.name} ({missing:,} cells without a value)" if missing else str(values.name)
    bare_umap_axes(axes, title)
