"""The clusters on the UMAP, why these clusters, and Ward's dendrogram."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.clustering.options import leiden_column
from scvi_downstream.pipelines.clustering.ward import crown
from scvi_downstream.plots.charts import heat_map
from scvi_downstream.plots.panels import empty_panel, panel_grid, umap_panel
from scvi_downstream.plots.style import OKABE_ITO, TWO_COLUMNS, category_colors, column_colors, new_figure
from scvi_downstream.runtime.slow_types import AnnData, Figure
from scvi_downstream.scoring.criteria import CLUSTERINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE = OKABE_ITO[:2]
GREY = "#888888"
REASON_WIDTH = 150  # Characters of the recommendation that fit in a line above the panels.
LEAVES_SHOWN = 30
INCHES_A_LEAF = 0.36
_RING: dict[str, Any] = {"marker": "o", "ms": 11, "mfc": "none", "mec": ORANGE, "mew": 2, "ls": ""}


def plot_clusters(umap: pd.DataFrame, clusters: pd.DataFrame, counts: AnnData, keys: Keys) -> Figure:
    """UMAP panels of the recommended Leiden, k-means and Ward clusters beside the known labels.

    Parameters
    ----------
    umap, clusters
        `n_cells` × ``UMAP1``, ``UMAP2``; columns of ``CLUSTERINGS``, of the same cells.
    counts, keys
        obs holds the labels, if there are any.
    """
    panels = {title: clusters[name] for name, title in CLUSTERINGS.items()}
    if keys.label_key:
        panels[keys.label_key] = counts.obs[keys.label_key]
    figure, grid = panel_grid(len(panels), columns=2, width=6, height=4)
    for axes, (title, values) in zip(grid, panels.items(), strict=True):
        own = values.reindex(umap.index)
        named = title in CLUSTERINGS.values()
        colors = None if named else column_colors(counts, title)
        shown = f"{title}: {own.nunique()} groups"
        umap_panel(axes, umap.to_numpy(), own, shown, on_data=named, colors=colors)
    return figure


def plot_clustering(
    leiden_stability: pd.DataFrame,
    kmeans_silhouette: pd.DataFrame,
    cluster_agreement: pd.DataFrame,
    clustering_summary: dict[str, Any],
) -> Figure:
    """Three panels, with the recommendation above them.

    Parameters
    ----------
    leiden_stability, kmeans_silhouette, cluster_agreement
        ``resolution, replicate, n_clusters, ari``; ``k, silhouette, inertia, chosen``; ``clustering_a, clustering_b,
        ari, nmi``.
    clustering_summary
        ``recommended_resolution``, ``reason``, ``min_stability``, ``n_clusters``.
    """
    figure = new_figure(TWO_COLUMNS, 4.6)
    stability_axes, silhouette_axes, agreement_axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    _draw_stability(stability_axes, leiden_stability, clustering_summary)
    _draw_silhouette(silhouette_axes, kmeans_silhouette)
    _draw_agreement(agreement_axes, cluster_agreement)
    figure.suptitle(fill(clustering_summary["reason"], REASON_WIDTH))
    return figure


def _draw_stability(axes: Axes, stability: pd.DataFrame, summary: dict[str, Any]) -> None:
    by_resolution = stability.groupby("resolution")["ari"]
    mean, low, high = by_resolution.mean(), by_resolution.min(), by_resolution.max()
    chosen = summary["recommended_resolution"]
    axes.fill_between(mean.index, low, high, color=BLUE, alpha=0.2, linewidth=0, label="range")
    axes.plot(mean.index, mean, color=BLUE, marker="o", label="mean")
    axes.plot([chosen], [mean[chosen]], label="recommended", **_RING)
    axes.axhline(summary["min_stability"], color=GREY, ls=":", label="threshold")
    offset: dict[str, Any] = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center"}
    for resolution, value in mean.items():
        n_clusters = str(summary["n_clusters"][leiden_column(resolution)])
        axes.annotate(n_clusters, (resolution, value), fontsize="small", **offset)
    axes.set(title="Leiden: stability (numbers: clusters)", ylim=(min(0.0, float(low.min())), 1.09))
    axes.set(xlabel="resolution", ylabel="ARI between halves of the cells")
    axes.legend(loc="lower left")


def _draw_silhouette(axes: Axes, tried: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(title="k-means: silhouette", xlabel="number of clusters k", ylabel="mean silhouette width")
    if tried["silhouette"].isna().all():
        empty_panel(axes, "no k could be measured")
        return
    axes.plot(tried["k"], tried["silhouette"], color=BLUE, marker="o", ms=4)
    chosen = tried[tried["chosen"]]
    axes.plot(chosen["k"], chosen["silhouette"], label="chosen", **_RING)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low, high = float(tried["silhouette"].min()), float(tried["silhouette"].max())
    axes.set_ylim(min(0.0, 1.1 * low), 1.12 * high)
    axes.legend(loc="lower right")


def _draw_agreement(axes: Axes, agreement: pd.DataFrame) -> None:
    axes.set(title="agreement (ARI)")
    if agreement.empty:
        empty_panel(axes, "no two clusterings to compare")
        return
    rows = list(dict.fromkeys(agreement["clustering_a"]))
    columns = list(dict.fromkeys([*rows, *agreement["clustering_b"]]))
    table = pd.DataFrame(np.nan, index=columns, columns=columns)
    for a, b, ari in agreement[["clustering_a", "clustering_b", "ari"]].itertuples(index=False):
        table.loc[a, b] = table.loc[b, a] = ari
    table = table[[name for name in columns if name in rows or name not in ("label", "batch")]]
    texts = table.map("{:.2f}".format).replace({"-0.00": "0.00", "nan": ""})
    axes.set_facecolor("#F2F2F2")
    heat_map(axes, table, limits=(0, 1), texts=texts, rotation=45)
    axes.spines[:].set_visible(False)


def plot_dendrogram(linkage: pd.DataFrame, hierarchical: pd.DataFrame) -> Figure:
    """The top of the Ward tree with a colour a cluster, its leaves named by cluster and number of cells.

    ``linkage`` and ``hierarchical``, the clusters it was cut into, are of :func:`.cluster_hierarchical`.
    """
    from scipy.cluster.hierarchy import dendrogram

    n_clusters = hierarchical["hierarchical"].nunique()
    top = crown(linkage, n_clusters, LEAVES_SHOWN)
    colors = category_colors([str(i) for i in range(n_clusters)])
    node_colors = [colors.get(str(cluster), GREY) for cluster in top.clusters]
    figure = new_figure(max(6.0, INCHES_A_LEAF * len(top.sizes)), 4.6)
    axes = figure.subplots()
    drawn = dendrogram(top.linkage, ax=axes, link_color_func=lambda node: node_colors[node], no_labels=True)
    for link in axes.collections:
        link.set_linewidth(1.6)
    names = [f"{top.clusters[leaf]}  ({top.sizes[leaf]:,})" for leaf in drawn["leaves"]]
    axes.set_xticks(5 + 10 * np.arange(len(names)), names, rotation=90)
    for label, leaf in zip(axes.get_xticklabels(), drawn["leaves"], strict=True):
        label.set_color(node_colors[leaf])
    if n_clusters > 1:
        cut = f"cut into {n_clusters} clusters"
        axes.axhline(top.cut_height, color="black", ls=":", lw=1, label=cut)
        axes.legend(loc="upper right")
    axes.set(title="Hierarchical clustering", xlabel="cluster (cells)", ylabel="Ward distance (latent units)")
    return figure
