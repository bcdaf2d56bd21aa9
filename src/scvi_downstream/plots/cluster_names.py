"""Clusters by the markers of known types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import UNKNOWN
from scvi_downstream.plots.style import DIVERGING, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERS = 400
LARGEST_COLORED = 8.0


def plot_cluster_names(
    marker_scores: pd.DataFrame, cluster_names: pd.DataFrame, naming_summary: Mapping[str, Any]
) -> Figure:
    """Heat map of clusters × types: how far markers exceed random genes; the chosen name is framed.

    Parameters
    ----------
    marker_scores
        ``cluster``, ``type``, ``z``, ``fdr``.
    cluster_names
        ``cluster``, ``name``, ``best_type``, ``n_cells``.
    naming_summary
        ``n_named``, ``n_clusters``.
    """
    from matplotlib.patches import Rectangle

    scores = marker_scores.assign(cluster=marker_scores["cluster"].astype(str))
    names = cluster_names.assign(cluster=cluster_names["cluster"].astype(str))
    clusters, types = names["cluster"].tolist(), list(dict.fromkeys(scores["type"]))
    table = scores.pivot_table(index="cluster", columns="type", values="z").loc[clusters, types]
    z = table.to_numpy()
    figure = new_figure(3.4 + 0.55 * len(types), 1.9 + 0.32 * len(clusters))
    axes = figure.subplots()
    limit = float(np.clip(np.abs(z).max(), 1, LARGEST_COLORED))
    image = axes.imshow(z, aspect="auto", cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
    if z.size <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(z):
            color = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
    for row, (name, best) in enumerate(zip(names["name"], names["best_type"], strict=True)):
        if name != UNKNOWN:
            axes.add_patch(
                Rectangle(
                    (types.index(best) - 0.5, row - 0.5), 1, 1, fill=False, linewidth=1.8, edgecolor="black"
                )
            )
    axes.set_xticks(range(len(types)), types, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(clusters)), clusters)
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(clusters)), [str(name) for name in names["name"]])
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)
    axes.set(
        xlabel="type in the marker table",
        ylabel="cluster",
        title=f"{naming_summary['n_named']} of {naming_summary['n_clusters']} clusters named (framed)",
    )
    figure.colorbar(
        image,
        ax=axes,
        label="markers against random genes\n(standard deviations)",
        extend="both" if np.abs(z).max() > limit else "neither",
        shrink=0.8,
        pad=0.02,
    )
    return figure
