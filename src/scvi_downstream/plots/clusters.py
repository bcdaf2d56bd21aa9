"""Clusters and labels side by side on the UMAP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scvi_downstream.parameters import Keys
from scvi_downstream.plots.style import bare_umap_axes, new_figure, scatter_categories

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

_TITLES = {
    "leiden": "Leiden (recommended resolution)",
    "kmeans": "k-means",
    "hierarchical": "hierarchical (Ward)",
}


def plot_clusters(umap: pd.DataFrame, clusters: pd.DataFrame, counts: AnnData, keys: Keys) -> Figure:
    """UMAP panels of the recommended Leiden, k-means and Ward clusters beside the known labels.

    Parameters
    ----------
    umap
        `n_cells` × ``UMAP1``, ``UMAP2``.
    clusters
        ``leiden``, ``kmeans``, ``hierarchical`` of the same cells.
    counts
        obs holds the labels, if there are any.
    keys
        Name the labels.
    """
    panels = {title: clusters[name].reindex(umap.index) for name, title in _TITLES.items()}
    if keys.label_key:
        panels[keys.label_key] = counts.obs[keys.label_key].reindex(umap.index)
    figure = new_figure(12, 8)
    grid = figure.subplots(2, 2).ravel()
    for axes, (title, values) in zip(grid, panels.items(), strict=False):
        scatter_categories(axes, umap.to_numpy(), values, on_data=title in _TITLES.values())
        bare_umap_axes(axes, f"{title}: {values.nunique()} groups")
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure
