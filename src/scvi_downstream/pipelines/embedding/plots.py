"""UMAP panels coloured by the study's keys, chosen columns and quality."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.plots.style import bare_umap_axes, new_figure, scatter_categories, scatter_values
from scvi_downstream.plots.umap import colorings

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure


PANELS_A_ROW = 2
PANEL_WIDTH, PANEL_HEIGHT = 6.0, 4.0


def plot_embedding(
    umap: pd.DataFrame, counts: AnnData, qc_metrics: pd.DataFrame, keys: Keys, options: EmbeddingOptions
) -> Figure:
    """One UMAP panel a colouring.

    Parameters
    ----------
    umap
        `n_cells` × ``UMAP1``, ``UMAP2``.
    counts
        obs of the same cells.
    qc_metrics
        Quality of the same cells.
    keys
        The study's obs columns.
    options
        ``color_by`` adds columns.

    Raises
    ------
    InputError
        When a column of ``color_by`` does not exist.
    """
    panels = colorings(counts, qc_metrics, keys, options)
    n_columns = min(PANELS_A_ROW, max(len(panels), 1))
    n_rows = max(ceil(len(panels) / n_columns), 1)
    figure = new_figure(PANEL_WIDTH * n_columns, PANEL_HEIGHT * n_rows)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    xy = umap.to_numpy()
    for axes, (title, values) in zip(grid, panels.items(), strict=False):
        aligned = values.reindex(umap.index)
        if isinstance(aligned.dtype, pd.CategoricalDtype):
            scatter_categories(axes, xy, aligned)
        else:
            scatter_values(axes, xy, aligned.to_numpy(), title)
        bare_umap_axes(axes, title)
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure
