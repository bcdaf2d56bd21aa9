"""How many cells of each cluster express its markers, and how strongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.normalization import log_normalize
from scvi_downstream.plots.style import SEQUENTIAL, empty_figure, new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_GENES = 48
MAX_GENES_PER_CLUSTER = 5
DOT_AREA = 110


def plot_dotplot(counts: AnnData, clusters: pd.DataFrame, markers: pd.DataFrame) -> Figure:
    """Clusters × their best markers: dot size is the share of cells with a count, colour the mean expression.

    Parameters
    ----------
    counts
        Raw counts of all genes.
    clusters
        Cells × clusterings, of which ``leiden`` is drawn.
    markers
        Markers by grouping, group and rank.
    """
    genes = top_markers(markers, MAX_GENES, MAX_GENES_PER_CLUSTER)
    if genes.empty:
        return empty_figure("No dot plot: no gene passes the marker filters in any cluster.")
    groups = clusters["leiden"].astype("category").cat.remove_unused_categories()
    names = [str(name) for name in groups.cat.categories]
    expression = log_normalize(counts, counts.var_names.get_indexer(genes["gene"]))
    member = np.eye(len(names))[:, groups.cat.codes.to_numpy()]
    member /= member.sum(axis=1, keepdims=True)
    fraction = member @ (expression > 0).astype(np.float64)
    mean = member @ expression
    spread = np.ptp(mean, axis=0)
    scaled = (mean - mean.min(axis=0)) / np.where(spread > 0, spread, 1)

    figure = new_figure(0.24 * len(genes) + 2.6, max(0.27 * len(names) + 1.6, 3.2))
    axes = figure.add_subplot()
    x, y = np.meshgrid(np.arange(len(genes)), np.arange(len(names)))
    dots = axes.scatter(
        x,
        y,
        s=fraction * DOT_AREA,
        c=scaled,
        cmap=f"{SEQUENTIAL}_r",
        vmin=0,
        vmax=1,
        linewidths=0.3,
        edgecolors="#555555",
    )
    axes.set_xticks(range(len(genes)), genes["gene"], rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names)
    axes.set(
        xlim=(-0.7, len(genes) - 0.3),
        ylim=(len(names) - 0.4, -0.6),
        ylabel="Leiden cluster",
        xlabel="marker genes, by the cluster above",
    )
    _bracket(axes, genes["group"].tolist())
    sizes = (0.25, 0.5, 0.75, 1.0)
    handles = [
        axes.scatter([], [], s=share * DOT_AREA, color="#888888", label=f"{share:.0%}") for share in sizes
    ]
    axes.legend(
        handles=handles,
        title="cells with\na count",
        loc="upper left",
        bbox_to_anchor=(1, 1.02),
        labelspacing=0.9,
    )
    inches = 0.24 * len(genes)
    bar = axes.inset_axes((1 + 0.2 / inches, 0, 0.12 / inches, 0.42))
    figure.colorbar(dots, cax=bar, label="mean log expression,\nscaled per gene")
    return figure


def top_markers(markers: pd.DataFrame, max_genes: int, max_per_cluster: int) -> pd.DataFrame:
    """The best markers of each cluster, each gene once, ``max_genes`` at most in all.

    Parameters
    ----------
    markers
        Markers by grouping, group and rank.

    Returns
    -------
    Rows of ``markers`` in the order of clusters and ranks.
    """
    of_clusters = markers[markers["grouping"] == "clusters"]
    if of_clusters.empty:
        return of_clusters
    once = of_clusters.sort_values("rank", kind="stable").drop_duplicates("gene").sort_index()
    n_groups = once["group"].nunique()
    each = int(np.clip(max_genes // n_groups, 1, max_per_cluster))
    return once.groupby("group", sort=False).head(each).reset_index(drop=True)


def _bracket(axes: Axes, groups: list[str]) -> None:
    """A line and a name above the genes of each cluster."""
    top = axes.get_xaxis_transform()
    for group in dict.fromkeys(groups):
        places = [i for i, other in enumerate(groups) if other == group]
        axes.plot(
            [places[0] - 0.35, places[-1] + 0.35],
            [1.02, 1.02],
            transform=top,
            color="#333333",
            linewidth=1,
            clip_on=False,
        )
        axes.text(
            (places[0] + places[-1]) / 2, 1.035, group, transform=top, ha="center", va="bottom", fontsize=8
        )
