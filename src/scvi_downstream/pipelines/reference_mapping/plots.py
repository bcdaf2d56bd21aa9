"""Query cells on the reference's UMAP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import (
    OKABE_ITO,
    bare_umap_axes,
    category_colors,
    draw_order,
    new_figure,
    point_size,
    scatter_values,
)
from scvi_downstream.runtime.options import UNKNOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BACKGROUND = "#DDDDDD"
MOST_NAMED = 40


def draw_mapping(
    joint_umap: pd.DataFrame,
    reference_labels: pd.Series | None,
    cells: pd.DataFrame,
    summary: Mapping[str, Any],
) -> Figure:
    """Joint UMAP by origin, by label (reference and transferred), by uncertainty, and cells flagged as unlike.

    Parameters
    ----------
    joint_umap
        ``UMAP1``, ``UMAP2`` and ``origin`` of both sets of cells, the reference first.
    reference_labels
        Of the reference's cells in their order, or ``None``.
    cells
        ``mapped_…`` of the query's cells in their order.
    summary
        ``reference``, ``n_unlike``, ``share_unlike``.
    """
    xy = joint_umap[["UMAP1", "UMAP2"]].to_numpy()
    is_query = (joint_umap["origin"] == "query").to_numpy()
    labelled = reference_labels is not None and "mapped_cell_type" in cells
    figure = new_figure(12, 8 if labelled else 4.2)
    grid = figure.subplots(2 if labelled else 1, 2).ravel()
    origin = pd.Series(
        np.where(is_query, f"query ({is_query.sum():,})", f"reference ({(~is_query).sum():,})")
    )
    order = draw_order(len(xy))
    colors = dict(zip(sorted(origin.unique(), reverse=True), ("#AAAAAA", OKABE_ITO[0]), strict=False))
    _points(grid[0], xy[order], origin.map(colors).to_numpy()[order])
    _legend(grid[0], colors)
    bare_umap_axes(grid[0], f"Mapped onto {summary['reference']}")
    if labelled:
        _draw_labels(grid[1], xy, is_query, reference_labels, cells)
        _points(grid[2], xy[~is_query], BACKGROUND)
        scatter_values(
            grid[2], xy[is_query], cells["mapped_uncertainty"].to_numpy(), "1 − probability of the label"
        )
        bare_umap_axes(grid[2], "Query: uncertainty of the label")
    _draw_flags(grid[-1], xy, is_query, cells["mapped_unlike"].to_numpy(bool), summary)
    return figure


def _draw_labels(
    axes: Axes, xy: np.ndarray, is_query: np.ndarray, reference_labels: pd.Series, cells: pd.DataFrame
) -> None:
    known = reference_labels.astype(object).where(reference_labels.notna(), UNKNOWN).astype(str)
    given = cells["mapped_cell_type"].astype(str)
    names = [str(name) for name in reference_labels.cat.categories]
    unknown = [UNKNOWN] if (known == UNKNOWN).any() or (given == UNKNOWN).any() else []
    colors = category_colors([*names, *unknown])
    _points(axes, xy[~is_query], known.map(colors).to_numpy(), alpha=0.25)
    _points(axes, xy[is_query], given.map(colors).to_numpy())
    if len(colors) <= MOST_NAMED:
        _legend(axes, colors)
    bare_umap_axes(axes, "Labels: reference pale, query full")


def _draw_flags(
    axes: Axes, xy: np.ndarray, is_query: np.ndarray, unlike: np.ndarray, summary: Mapping[str, Any]
) -> None:
    colors = {"reference": BACKGROUND, "query": OKABE_ITO[5], "query, unlike": OKABE_ITO[3]}
    query = xy[is_query]
    _points(axes, xy[~is_query], colors["reference"])
    _points(axes, query[~unlike], colors["query"])
    _points(axes, query[unlike], colors["query, unlike"], size=2.0)
    _legend(axes, colors)
    bare_umap_axes(
        axes,
        f"Unlike anything in the reference: {summary['n_unlike']:,} cells ({summary['share_unlike']:.1%})",
    )


def _points(
    axes: Axes, xy: np.ndarray, colors: np.ndarray | str, *, alpha: float = 1.0, size: float = 1.0
) -> None:
    x, y = xy.T
    axes.scatter(x, y, s=size * point_size(len(xy)), c=colors, alpha=alpha, linewidths=0, rasterized=True)


def _legend(axes: Axes, colors: Mapping[str, str]) -> None:
    handles = [
        axes.scatter([], [], s=25, c=color, label=name, linewidths=0) for name, color in colors.items()
    ]
    axes.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        ncols=-(-len(colors) // 16),
        handletextpad=0.2,
    )
