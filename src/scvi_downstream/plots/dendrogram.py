"""The top of the Ward tree, coloured by cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scvi_downstream.plots.style import category_colors, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOVE_THE_CUT = "#888888"
INCHES_A_LEAF = 0.36


def draw_dendrogram(
    linkage: np.ndarray, sizes: np.ndarray, clusters: np.ndarray, cut_height: float
) -> Figure:
    """Dendrogram with a colour a cluster.

    Parameters
    ----------
    linkage
        ``(n_leaves - 1, 4)``, as scipy has it.
    sizes
        ``(n_leaves,)`` cells below each leaf.
    clusters
        ``(2 * n_leaves - 1,)`` cluster of each node, leaves first; -1 above the cut.
    cut_height
        Height of the cut; NaN where there is none.
    """
    from scipy.cluster.hierarchy import dendrogram

    n_leaves = len(sizes)
    names = [str(i) for i in range(clusters.max() + 1)]
    colors = category_colors(names)
    node_colors = [colors[str(cluster)] if cluster >= 0 else ABOVE_THE_CUT for cluster in clusters]
    figure = new_figure(max(6.0, INCHES_A_LEAF * n_leaves), 4.6)
    axes = figure.subplots()
    drawn = dendrogram(linkage, ax=axes, link_color_func=lambda node: node_colors[node], no_labels=True)
    for link in axes.collections:
        link.set_linewidth(1.6)
    ticks = 5 + 10 * np.arange(n_leaves)
    axes.set_xticks(ticks, [f"{clusters[leaf]}  ({sizes[leaf]:,})" for leaf in drawn["leaves"]], rotation=90)
    for label, leaf in zip(axes.get_xticklabels(), drawn["leaves"], strict=True):
        label.set_color(node_colors[leaf])
    if np.isfinite(cut_height):
        axes.axhline(cut_height, color="black", ls=":", lw=1, label=f"cut into {len(names)} clusters")
        axes.legend(loc="upper right")
    axes.set(title="Hierarchical clustering", xlabel="cluster (cells)", ylabel="Ward distance (latent units)")
    return figure
