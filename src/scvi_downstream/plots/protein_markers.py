"""Denoised proteins by group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import SEQUENTIAL, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGEST = 160.0


def plot_protein_markers(
    groups: pd.Series, denoised: pd.DataFrame, foreground: pd.DataFrame, names: list[str]
) -> Figure:
    """Dots: colour is the group's mean denoised protein, area the mean probability of the foreground.

    Parameters
    ----------
    groups
        Group of each of the ``n_cells`` cells.
    denoised, foreground
        ``n_cells`` × ``n_proteins``.
    names
        Proteins to draw.
    """
    labels = groups.astype("category").cat.remove_unused_categories()
    if not names or len(labels.cat.categories) == 0:
        return empty_figure("there are no proteins to draw")
    labels = labels.astype(str)
    logged = np.log1p(denoised.loc[groups.index, names])
    means = logged.groupby(labels.to_numpy()).mean()
    shares = foreground.loc[groups.index, names].groupby(labels.to_numpy()).mean()
    lowest, highest = means.min(), means.max()
    scaled = (means - lowest) / (highest - lowest).where(highest > lowest, 1.0)
    width = max(len(names) * 0.42, 2.0)
    margin = 0.09 * max(len(name) for name in means.index)
    figure = new_figure(width + margin + 2.6, max(0.32 * len(means) + 2.2, 4.4))
    axes = figure.subplots()
    x, y = np.meshgrid(np.arange(len(names)), np.arange(len(means)))
    dots = axes.scatter(
        x.ravel(), y.ravel(), s=_LARGEST * shares.to_numpy().ravel(), c=scaled.to_numpy().ravel(),
        cmap=SEQUENTIAL, vmin=0, vmax=1, edgecolors="#666666", linewidths=0.4,
    )  # fmt: skip
    axes.set_xticks(np.arange(len(names)), names, rotation=90)
    axes.set_yticks(np.arange(len(means)), means.index)
    axes.set(xlim=(-0.6, len(names) - 0.4), ylim=(len(means) - 0.4, -0.6), title="Denoised proteins by group")
    axes.set_ylabel(str(groups.name) if groups.name else "group")
    figure.colorbar(
        dots,
        ax=axes,
        label="mean log1p denoised,\nlowest to highest group",
        shrink=0.9,
    )
    handles = [
        axes.scatter([], [], s=_LARGEST * share, c="#888888", label=f"{share:.0%}".replace("%", " %"))
        for share in (0.1, 0.5, 1.0)
    ]
    figure.legend(
        handles=handles, title="mean probability\nof foreground", loc="outside lower center", ncols=3
    )
    return figure
