"""Where cells of a condition are denser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import (
    DIVERGING,
    OKABE_ITO,
    bare_umap_axes,
    empty_figure,
    new_figure,
    point_size,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 3
LIMIT = 3.0


def plot_sample_abundance(
    umap: pd.DataFrame, sample_density_ratios: pd.DataFrame, sample_abundance: pd.DataFrame
) -> Figure:
    """Log-ratio of densities on the UMAP, and the probability of the condition by group; one row a condition.

    Parameters
    ----------
    umap
        Cells × ``UMAP1``, ``UMAP2``.
    sample_density_ratios
        Cells × conditions, natural logarithms.
    sample_abundance
        ``group``, ``condition``, ``reference``, ``probability``, ``p``, ``reason``.
    """
    usable = sample_density_ratios.columns[sample_density_ratios.notna().any()].tolist()[:MAX_PANELS]
    if not usable:
        return empty_figure("No differential abundance: there are no two conditions of 2 samples each.")
    n_groups = sample_abundance["group"].nunique()
    figure = new_figure(9.4, len(usable) * max(3.6, 0.26 * n_groups + 1.2))
    panels = figure.subplots(len(usable), 2, squeeze=False)
    xy = umap.loc[sample_density_ratios.index, ["UMAP1", "UMAP2"]].to_numpy()
    for (left, right), condition in zip(panels, usable, strict=True):
        groups = sample_abundance[
            (sample_abundance["condition"].astype(str) == condition) & sample_abundance["reason"].isna()
        ]
        reference = str(groups["reference"].iloc[0])
        _scatter(left, xy, sample_density_ratios[condition].to_numpy(), f"{condition} against {reference}")
        _bars(right, groups, condition)
    return figure


def _scatter(axes: Axes, xy: np.ndarray, values: np.ndarray, title: str) -> None:
    order = np.argsort(np.abs(values), kind="stable")
    points = axes.scatter(
        xy[order, 0],
        xy[order, 1],
        s=point_size(len(xy)),
        c=values[order],
        cmap=DIVERGING,
        vmin=-LIMIT,
        vmax=LIMIT,
        linewidths=0,
        rasterized=True,
    )
    bare_umap_axes(axes, title)
    axes.figure.colorbar(
        points, ax=axes, label="log-ratio of densities of u", extend="both", shrink=0.7, aspect=16, pad=0.02
    )


def _bars(axes: Axes, groups: pd.DataFrame, condition: str) -> None:
    y = np.arange(len(groups))
    away = groups["probability"].to_numpy() - 0.5
    axes.barh(y, away, left=0.5, color=np.where(away > 0, OKABE_ITO[3], OKABE_ITO[0]), height=0.7)
    axes.axvline(0.5, color="#555555", linewidth=0.8)
    reach = max(np.abs(away).max() * 1.7, 0.05)
    for position, value, p in zip(y, away, groups["p_adjusted"], strict=True):
        axes.annotate(
            f"p = {p:.2g}" if np.isfinite(p) else "",
            (0.5 + value, position),
            xytext=(3 if value >= 0 else -3, 0),
            textcoords="offset points",
            ha="left" if value >= 0 else "right",
            va="center",
            fontsize=7,
        )
    axes.set_yticks(y, groups["group"].astype(str), fontsize=8)
    axes.set(
        ylim=(len(groups) - 0.4, -0.6),
        xlim=(0.5 - reach, 0.5 + reach),
        xlabel=f"probability of {condition} given u (0.5: as frequent)",
        title="by group (p corrected over groups)",
    )
