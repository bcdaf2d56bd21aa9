"""Effect against certainty for the comparisons that matter most."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.parameters import DeOptions
from scvi_downstream.plots.point_labels import label_points
from scvi_downstream.plots.style import MISSING, OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 12
PANELS_PER_ROW = 4
NAMES_PER_PANEL = 8
MIN_FRACTION_NAMED = 0.1  # of the cells of a group; rarer genes are drawn without a name
PRIORITY = {"condition": 0, "pairs": 1, "condition_by_type": 2, "clusters": 3, "labels": 3}
HIGHER, LOWER = OKABE_ITO[3], OKABE_ITO[0]


def plot_volcano(de_results: pd.DataFrame, options: DeOptions) -> Figure:
    """Volcano panels: median log2 fold change against −log10 of the posterior probability of no change.

    Conditions and chosen pairs come first, then clusters and labels; within each the comparisons with the
    most calls.

    Parameters
    ----------
    de_results
        The tests joined, one row a gene and comparison.
    options
        Number of posterior samples, which bounds the probabilities that can be told apart, and the FDR.
    """
    if de_results.empty:
        return empty_figure("No differential expression: no two groups have cells enough to be compared.")
    chosen = _choose(de_results)
    columns = min(PANELS_PER_ROW, len(chosen))
    rows = ceil(len(chosen) / columns)
    figure = new_figure(max(3.1 * columns, 4.5), 2.9 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(chosen) :]:
        axes.remove()
    drawn = [_panel(axes, table, options) for axes, table in zip(panels, chosen, strict=False)]
    highest = max(1.5, *(points["y"].max() for points in drawn))
    for axes in panels[: len(chosen)]:
        axes.set_ylim(-0.03 * highest, 1.2 * highest)
    figure.supxlabel("log2 fold change (posterior median)", fontsize=9)
    figure.supylabel("−log10 (1 − probability of differential expression)", fontsize=9)
    handles = [
        panels[0].scatter([], [], s=18, color=color, label=label)
        for color, label in (
            (HIGHER, f"higher (expected FDR ≤ {options.fdr:g})"),
            (LOWER, "lower"),
            (MISSING, "not called"),
        )
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    figure.draw_without_rendering()
    for axes, points in zip(panels, drawn, strict=False):
        named = points[points["seen"] & points["is_de"]].nlargest(NAMES_PER_PANEL, "strength")
        called = points.loc[points["is_de"], ["x", "y"]].to_numpy()
        label_points(axes, named[["x", "y"]].to_numpy(), named["gene"].tolist(), avoid=called)
    return figure


def _choose(de_results: pd.DataFrame) -> list[pd.DataFrame]:
    tables = [table for _, table in de_results.groupby(["grouping", "comparison"], sort=False, observed=True)]
    tables.sort(key=lambda table: (PRIORITY[table["grouping"].iloc[0]], -table["is_de"].sum()))
    return tables[:MAX_PANELS]


def _panel(axes: Axes, table: pd.DataFrame, options: DeOptions) -> pd.DataFrame:
    """Draw one comparison and return its points, with what decides which of them are named."""
    resolution = 0.5 / options.n_samples
    points = pd.DataFrame(
        {
            "gene": table["gene"],
            "x": table["lfc_median"],
            "y": -np.log10(np.maximum(1 - table["proba_de"], resolution)),
            "is_de": table["is_de"].astype(bool),
        }
    )
    for called, size in ((False, 4), (True, 9)):
        part = points[points["is_de"] == called]
        colors = np.where(part["x"] > 0, HIGHER, LOWER) if called else MISSING
        axes.scatter(part["x"], part["y"], s=size, c=colors, linewidths=0, alpha=0.8, rasterized=True)
    axes.axvline(0, color="#999999", linewidth=0.5, zorder=0)
    reach = max(points["x"].abs().max() * 1.15, 1)
    axes.set_xlim(-reach, reach)
    name = str(table["comparison"].iloc[0])
    short = name if len(name) <= 34 else name[:33] + "…"
    axes.set_title(f"{short}\n{int(points['is_de'].sum())} of {len(points)} genes called", fontsize=8)
    return points.assign(
        seen=table[["fraction1", "fraction2"]].max(axis=1) >= MIN_FRACTION_NAMED,
        strength=points["y"] + points["x"].abs() / reach,
    )
