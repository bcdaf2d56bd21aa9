"""Proteins on the UMAP, as counted and as denoised."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import bare_umap_axes, empty_figure, new_figure, scatter_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAIRS_A_ROW = 3
_MOST = 12


def plot_protein_umap(
    umap: pd.DataFrame, proteins: pd.DataFrame, denoised: pd.DataFrame, names: list[str]
) -> Figure:
    """Two panels a protein: log1p of the counts, and of the denoised value without background.

    Parameters
    ----------
    umap
        ``n_cells`` × 2.
    proteins, denoised
        ``n_cells`` × ``n_proteins``; a cell with no count of any protein was not measured and is grey.
    names
        Proteins to draw; the first twelve are.
    """
    names = names[:_MOST]
    if not names:
        return empty_figure("there are no proteins to draw")
    columns = 2 * min(_PAIRS_A_ROW, len(names))
    rows = ceil(len(names) / _PAIRS_A_ROW)
    figure = new_figure(3.0 * columns, 2.6 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.08})
    xy = umap.loc[proteins.index].to_numpy()
    measured = proteins.to_numpy().sum(axis=1) > 0
    for axes in grid.flat:
        axes.set_axis_off()
    for i, name in enumerate(names):
        row, pair = divmod(i, _PAIRS_A_ROW)
        for axes, values, title in (
            (grid[row, 2 * pair], proteins[name], f"{name}: counted"),
            (grid[row, 2 * pair + 1], denoised.loc[proteins.index, name], f"{name}: denoised"),
        ):
            axes.set_axis_on()
            logged = np.log1p(values.to_numpy(dtype=np.float64))
            drawn = measured if title.endswith("counted") else np.ones_like(measured)
            if not drawn.all():
                axes.scatter(*xy[~drawn].T, s=2, c="#DDDDDD", linewidths=0, rasterized=True)
            scatter_values(axes, xy[drawn], logged[drawn], "log1p")
            bare_umap_axes(axes, title)
    if not measured.all():
        figure.supxlabel("grey: proteins not measured", fontsize=9, color="#555555")
    return figure
