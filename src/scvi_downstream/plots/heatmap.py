"""Markers across single cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.normalization import log_normalize
from scvi_downstream.plots.dotplot import top_markers
from scvi_downstream.plots.style import DIVERGING, category_colors, empty_figure, new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_GENES = 60
MAX_GENES_PER_CLUSTER = 6
MAX_CELLS = 1500
LIMIT = 2.5
NARROW = 0.03


def plot_heatmap(counts: AnnData, clusters: pd.DataFrame, markers: pd.DataFrame) -> Figure:
    """Markers × cells, cells by cluster: log expression as z-scores over the cells of the study.

    Clusters are drawn from in proportion to their size, but each shows 20 cells where it has them.

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
        return empty_figure("No heat map: no gene passes the marker filters in any cluster.")
    groups = clusters["leiden"].astype("category").cat.remove_unused_categories()
    expression = log_normalize(counts, counts.var_names.get_indexer(genes["gene"]))
    mean = np.asarray(expression.mean(axis=0)).ravel()
    squared = expression.multiply(expression).mean(axis=0)
    std = np.sqrt(np.maximum(np.asarray(squared).ravel() - mean**2, 0))
    cells = _choose_cells(groups.cat.codes.to_numpy())
    z_scores = (expression[cells].toarray() - mean) / np.where(std > 0, std, 1)
    codes = groups.cat.codes.to_numpy()[cells]

    figure = new_figure(9, 0.135 * len(genes) + 1.6)
    figure.set_layout_engine("constrained", h_pad=0.01, hspace=0)
    bar, axes = figure.subplots(2, 1, height_ratios=[0.16, 0.135 * len(genes)], sharex=True)
    names = [str(name) for name in groups.cat.categories]
    _color_bar(bar, codes, names)
    image = axes.imshow(
        z_scores.T, aspect="auto", cmap=DIVERGING, vmin=-LIMIT, vmax=LIMIT, interpolation="nearest"
    )
    axes.set_yticks(range(len(genes)), genes["gene"], fontsize=6)
    axes.set(xticks=[], xlabel=f"{len(cells):,} of {len(groups):,} cells, by Leiden cluster")
    for edge in np.flatnonzero(np.diff(codes)) + 0.5:
        axes.axvline(edge, color="white", linewidth=0.6)
    for edge in np.flatnonzero(genes["group"].to_numpy()[1:] != genes["group"].to_numpy()[:-1]) + 0.5:
        axes.axhline(edge, color="white", linewidth=0.6)
    figure.colorbar(image, ax=axes, label="log expression, z-score", shrink=0.6, pad=0.01, extend="both")
    return figure


def _choose_cells(codes: np.ndarray) -> np.ndarray:
    """Positions of at most about ``MAX_CELLS`` cells, sorted by cluster, the same at every call."""
    rng = np.random.default_rng(0)
    share = min(1.0, MAX_CELLS / len(codes))
    chosen = []
    for code in np.unique(codes):
        inside = np.flatnonzero(codes == code)
        wanted = min(len(inside), max(round(share * len(inside)), 20))
        chosen.append(np.sort(rng.choice(inside, wanted, replace=False)))
    return np.concatenate(chosen)


def _color_bar(axes: Axes, codes: np.ndarray, names: list[str]) -> None:
    """The clusters' colours above the cells, each with its name."""
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(list(category_colors(names).values()))
    axes.imshow(
        codes[None], aspect="auto", cmap=colors, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest"
    )
    axes.set_axis_off()
    for position, code in enumerate(np.unique(codes)):
        inside = np.flatnonzero(codes == code)
        # Names of neighbouring narrow clusters would touch, so every other one stands higher.
        height = -1.5 if len(inside) < NARROW * len(codes) and position % 2 else -0.7
        axes.text(inside.mean(), height, names[code], ha="center", va="bottom", fontsize=8)
