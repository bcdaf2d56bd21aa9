"""Reference and query on their joint UMAP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.models.saved import Reference
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.query import find_label_key, reference_labels
from scvi_downstream.plots.panels import legend_dots, panel_grid
from scvi_downstream.plots.style import (
    OKABE_ITO,
    bare_umap_axes,
    category_colors,
    draw_order,
    point_size,
    scatter_values,
)
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import Axes, Figure

BACKGROUND = "#DDDDDD"
# More labels than this do not fit beside a panel.
MOST_NAMED = 40
NAMES_IN_A_COLUMN = 16


def plot_mapping(
    reference: Reference,
    joint_umap: pd.DataFrame,
    mapped_cell_types: pd.DataFrame,
    mapping_summary: dict[str, Any],
    options: ReferenceMappingOptions,
    preparation: PreparationOptions,
) -> Figure:
    """Joint UMAP by origin, by label (reference and transferred), by uncertainty, and cells flagged as unlike.

    Parameters
    ----------
    reference, options, preparation
        obs of the reference's counts holds the labels, ``label_key``; what stands for no label.
    joint_umap
        ``UMAP1``, ``UMAP2`` and ``origin`` of both sets of cells, the reference first.
    mapped_cell_types, mapping_summary
        ``mapped_…`` of the query's cells in their order; ``reference``, ``n_unlike``, ``share_unlike``.
    """
    label_key = find_label_key(reference, options.label_key)
    labels = reference_labels(reference, label_key, preparation.unknown_labels)
    cells, summary = mapped_cell_types, mapping_summary
    xy = joint_umap[["UMAP1", "UMAP2"]].to_numpy()
    is_query = (joint_umap["origin"] == "query").to_numpy()
    known, query = xy[~is_query], xy[is_query]
    labelled = labels is not None and "mapped_cell_type" in cells
    figure, panels = panel_grid(4 if labelled else 2, columns=2, width=6, height=4 if labelled else 4.2)
    by_origin, *by_label, flags = panels
    gray, blue = "#AAAAAA", OKABE_ITO[0]
    order = draw_order(len(xy))
    _draw_points(by_origin, xy[order], np.where(is_query, blue, gray)[order])
    _draw_legend(by_origin, {f"reference ({len(known):,})": gray, f"query ({len(query):,})": blue})
    bare_umap_axes(by_origin, f"Mapped onto {summary['reference']}")
    if labelled:
        by_type, by_uncertainty = by_label
        _draw_labels(by_type, known, query, pd.Series(labels), cells["mapped_cell_type"])
        _draw_points(by_uncertainty, known, BACKGROUND)
        uncertainty = cells["mapped_uncertainty"].to_numpy()
        scatter_values(by_uncertainty, query, uncertainty, "1 − probability of the label")
        bare_umap_axes(by_uncertainty, "Query: uncertainty of the label")
    unlike = cells["mapped_unlike"].to_numpy(bool)
    colors = {"reference": BACKGROUND, "query": OKABE_ITO[5], "query, unlike": OKABE_ITO[3]}
    _draw_points(flags, known, colors["reference"])
    _draw_points(flags, query[~unlike], colors["query"])
    _draw_points(flags, query[unlike], colors["query, unlike"], size=2.0)
    _draw_legend(flags, colors)
    n_unlike = f"{summary['n_unlike']:,} cells ({summary['share_unlike']:.1%})"
    bare_umap_axes(flags, f"Unlike anything in the reference: {n_unlike}")
    return figure


def _draw_labels(
    axes: Axes, known: np.ndarray, query: np.ndarray, labels: pd.Series, given: pd.Series
) -> None:
    """Labels of the reference's cells at ``known``, and those that the query's cells were given."""
    own, called = labels.astype(object).where(labels.notna(), UNKNOWN).astype(str), given.astype(str)
    # as `analysed` has the colours of the called types
    types = map(str, [*given.astype("category").cat.categories, *labels.cat.categories])
    colors = category_colors([*dict.fromkeys(name for name in types if name != UNKNOWN), UNKNOWN])
    _draw_points(axes, known, own.map(colors).to_numpy(), alpha=0.25)
    _draw_points(axes, query, called.map(colors).to_numpy())
    shown = {name: color for name, color in colors.items() if name in {*own, *called}}
    if len(shown) <= MOST_NAMED:
        _draw_legend(axes, shown)
    bare_umap_axes(axes, "Labels: reference pale, query full")


def _draw_points(
    axes: Axes, xy: np.ndarray, colors: np.ndarray | str, *, alpha: float = 1.0, size: float = 1.0
) -> None:
    x, y = xy.T
    axes.scatter(x, y, s=size * point_size(len(xy)), c=colors, alpha=alpha, linewidths=0, rasterized=True)


def _draw_legend(axes: Axes, colors: Mapping[str, str]) -> None:
    handles = legend_dots(axes, colors, size=25, linewidths=0)
    columns = -(-len(colors) // NAMES_IN_A_COLUMN)
    place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    axes.legend(handles=handles, ncols=columns, handletextpad=0.2, **place)
