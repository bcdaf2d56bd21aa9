"""Why these clusters: stability of resolutions, silhouette of k, agreement of clusterings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.plots.style import (
    OKABE_ITO,
    SEQUENTIAL,
    bare_umap_axes,
    category_colors,
    new_figure,
    scatter_categories,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BLUE, ORANGE = OKABE_ITO[:2]
GREY = "#888888"
REASON_WIDTH = 150


def plot_clustering(
    leiden_stability: pd.DataFrame,
    kmeans_silhouette: pd.DataFrame,
    cluster_agreement: pd.DataFrame,
    clustering_summary: dict[str, Any],
) -> Figure:
    """Three panels, with the recommendation above them.

    Parameters
    ----------
    leiden_stability
        ``resolution, replicate, n_clusters, ari``.
    kmeans_silhouette
        ``k, silhouette, inertia, chosen``.
    cluster_agreement
        ``clustering_a, clustering_b, ari, nmi``.
    clustering_summary
        ``recommended_resolution``, ``reason``, ``min_stability``, ``n_clusters``.
    """
    from textwrap import fill

    figure = new_figure(14, 4.6)
    stability_axes, silhouette_axes, agreement_axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    _draw_stability(stability_axes, leiden_stability, clustering_summary)
    _draw_silhouette(silhouette_axes, kmeans_silhouette)
    _draw_agreement(agreement_axes, cluster_agreement)
    figure.suptitle(fill(clustering_summary["reason"], REASON_WIDTH), fontsize=10)
    return figure


def _draw_stability(axes: Axes, stability: pd.DataFrame, summary: dict[str, Any]) -> None:
    by_resolution = stability.groupby("resolution")["ari"]
    mean, low, high = by_resolution.mean(), by_resolution.min(), by_resolution.max()
    chosen = summary["recommended_resolution"]
    axes.fill_between(mean.index, low, high, color=BLUE, alpha=0.2, linewidth=0, label="range")
    axes.plot(mean.index, mean, color=BLUE, marker="o", label="mean")
    axes.plot(
        [chosen], [mean[chosen]], marker="o", ms=11, mfc="none", mec=ORANGE, mew=2, ls="", label="recommended"
    )
    axes.axhline(summary["min_stability"], color=GREY, ls=":", label="threshold")
    for resolution, value in mean.items():
        n_clusters = summary["n_clusters"][f"leiden_{resolution:g}"]
        axes.annotate(
            f"{n_clusters}",
            (resolution, value),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set(
        title="Leiden: stability (numbers: clusters)",
        xlabel="resolution",
        ylabel="ARI between halves of the cells",
        ylim=(min(0.0, float(low.min())), 1.09),
    )
    axes.legend(loc="lower left")


def _draw_silhouette(axes: Axes, silhouette: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(title="k-means: silhouette", xlabel="number of clusters k", ylabel="mean silhouette width")
    if silhouette["silhouette"].isna().all():
        axes.text(0.5, 0.5, "no k could be measured", ha="center", va="center", transform=axes.transAxes)
        return
    axes.plot(silhouette["k"], silhouette["silhouette"], color=BLUE, marker="o", ms=4)
    chosen = silhouette[silhouette["chosen"]]
    axes.plot(
        chosen["k"],
        chosen["silhouette"],
        marker="o",
        ms=11,
        mfc="none",
        mec=ORANGE,
        mew=2,
        ls="",
        label="chosen",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = float(silhouette["silhouette"].min()), float(silhouette["silhouette"].max())
    axes.set_ylim(min(0.0, 1.1 * low), 1.12 * high)
    axes.legend(loc="lower right")


def _draw_agreement(axes: Axes, agreement: pd.DataFrame) -> None:
    axes.set(title="agreement (ARI)")
    if agreement.empty:
        axes.text(
            0.5, 0.5, "no two clusterings to compare", ha="center", va="center", transform=axes.transAxes
        )
        return
    rows = list(dict.fromkeys(agreement["clustering_a"]))
    columns = list(dict.fromkeys([*rows, *agreement["clustering_b"]]))
    ari = agreement.set_index(["clustering_a", "clustering_b"])["ari"]
    table = pd.DataFrame(np.nan, index=columns, columns=columns)
    for (a, b), value in ari.items():
        table.loc[a, b] = table.loc[b, a] = value
    table = table[[name for name in columns if name in rows or name not in ("label", "batch")]]
    axes.set_facecolor("#F2F2F2")
    axes.imshow(table.to_numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(table.to_numpy()):
        if np.isfinite(value):
            axes.text(
                j,
                i,
                f"{value:.2f}".replace("-0.00", "0.00"),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if value < 0.6 else "black",
            )
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=45, ha="right")
    axes.set_yticks(range(len(table)), table.index)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


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
