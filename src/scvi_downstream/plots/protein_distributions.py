"""Proteins before and after the background is taken away."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
_MOST = 12
_BINS = 40


def plot_protein_distributions(
    proteins: pd.DataFrame, denoised: pd.DataFrame, foreground: pd.DataFrame, names: list[str]
) -> Figure:
    """Histograms of log1p of the counts, parted by whether they are of the foreground, and of the denoised values.

    Parameters
    ----------
    proteins, denoised, foreground
        ``n_cells`` × ``n_proteins``; cells with no count of any protein are left out.
    names
        Proteins to draw; the first twelve are.
    """
    measured = proteins.to_numpy().sum(axis=1) > 0
    names = names[:_MOST]
    if not names or not measured.any():
        return empty_figure("there are no proteins to draw")
    columns, rows = min(_COLUMNS, len(names)), ceil(len(names) / _COLUMNS)
    figure = new_figure(max(2.7 * columns, 5.5), 2.1 * rows + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        counted = np.log1p(proteins[name].to_numpy(dtype=np.float64)[measured])
        without = np.log1p(denoised.loc[proteins.index, name].to_numpy(dtype=np.float64)[measured])
        is_foreground = foreground.loc[proteins.index, name].to_numpy()[measured] > 0.5
        bins = np.linspace(0, max(counted.max(), without.max(), 1e-6), _BINS + 1)
        axes.hist(
            [counted[~is_foreground], counted[is_foreground]], bins, stacked=True, color=["#BBBBBB", OKABE_ITO[0]],
            label=["counted, background", "counted, foreground (probability above 0.5)"],
        )  # fmt: skip
        axes.hist(without, bins, histtype="step", color=OKABE_ITO[3], linewidth=1.4, label="denoised")
        # most cells have none left, which would flatten the rest
        axes.set_ylim(0, 1.1 * max(np.histogram(counted, bins)[0].max(), 1))
        axes.set(title=name, xlabel="log1p of counts", ylabel="cells")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if columns > 2 else 1)
    return figure
