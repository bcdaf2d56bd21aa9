"""Where cells go: fate probabilities, and genes that go with them."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import (
    MISSING,
    OKABE_ITO,
    bare_umap_axes,
    empty_figure,
    new_figure,
    point_size,
    scatter_values,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREFIX = "fate_"
NOT_FATES = ("fate_entropy",)
PANELS_A_ROW = 3
MAX_STATES = 9
MAX_GENES = 10
TERMINAL = OKABE_ITO[3]


def plot_fates(
    umap: pd.DataFrame,
    fates: pd.DataFrame,
    drivers: pd.DataFrame | None = None,
    *,
    top_genes: int = MAX_GENES,
) -> Figure:
    """A row a terminal state: its probability on the UMAP, and the genes that go with it.

    Parameters
    ----------
    umap
        ``n_cells`` × ``UMAP1``, ``UMAP2``.
    fates
        ``fate_<terminal state>`` in [0, 1] by cell, NaN where unknown; ``terminal_state`` of the terminal cells, if
        there, gives them a rim.
    drivers
        ``terminal_state``, ``gene`` (or ``symbol``), ``correlation``, ``ci_lower``, ``ci_upper``, ``rank``; ``None`` or
        empty: maps only.
    top_genes
        Genes a state.
    """
    states = [
        name.removeprefix(PREFIX) for name in fates if name.startswith(PREFIX) and name not in NOT_FATES
    ]
    if not states:
        return empty_figure("No fates: no terminal state was found.")
    certain = fates[[PREFIX + state for state in states]].sum().sort_values(ascending=False).index
    shown = [name.removeprefix(PREFIX) for name in certain[:MAX_STATES]]
    left = (
        f"{len(states) - len(shown)} states that fewer cells reach are not drawn"
        if len(states) > len(shown)
        else ""
    )
    with_genes = drivers is not None and len(drivers) > 0
    figure, pairs = _grid(len(shown), with_genes=with_genes)
    aligned = fates.reindex(umap.index)
    for (left_axes, right_axes), state in zip(pairs, shown, strict=True):
        _draw_map(left_axes, umap.to_numpy(np.float64), aligned, state)
        if drivers is not None and right_axes is not None:
            _draw_genes(right_axes, drivers[drivers["terminal_state"].astype(str) == state], state, top_genes)
    if left:
        figure.suptitle(left, fontsize=8)
    return figure


def _grid(n_states: int, *, with_genes: bool) -> tuple[Figure, list[tuple[Axes, Axes | None]]]:
    states_a_row = (2 if with_genes else PANELS_A_ROW) if n_states > 1 else 1
    n_rows = ceil(n_states / states_a_row)
    figure = new_figure((6.9 if with_genes else 4.3) * states_a_row, 3.6 * n_rows)
    widths = [4.2, 2.2] if with_genes else [1]
    grid = figure.subplots(
        n_rows, states_a_row * len(widths), squeeze=False, width_ratios=widths * states_a_row
    )
    flat = grid.reshape(n_rows * states_a_row, len(widths))
    for spare in flat[n_states:].ravel():
        spare.remove()
    return figure, [(row[0], row[1] if with_genes else None) for row in flat[:n_states]]


def _draw_map(axes: Axes, xy: np.ndarray, fates: pd.DataFrame, state: str) -> None:
    values = fates[PREFIX + state].to_numpy(np.float64)
    known = np.isfinite(values)
    if not known.all():
        axes.scatter(
            xy[~known, 0], xy[~known, 1], s=point_size(len(xy)), c=MISSING, linewidths=0, rasterized=True,
            label=f"none ({(~known).sum():,} cells)",
        )  # fmt: skip
    scatter_values(axes, xy[known], values[known], "probability")
    if axes.collections:
        axes.collections[-1].set_clim(0, 1)
    if "terminal_state" in fates:
        terminal = (fates["terminal_state"].astype(str) == state).to_numpy()
        axes.scatter(
            xy[terminal, 0], xy[terminal, 1], s=point_size(len(xy)) + 8, facecolors="none",
            edgecolors=TERMINAL, linewidths=0.6, label=f"terminal ({terminal.sum():,} cells)", rasterized=True,
        )  # fmt: skip
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.06), ncols=2, handletextpad=0.2)
    bare_umap_axes(axes, f"fate: {state}")


def _draw_genes(axes: Axes, drivers: pd.DataFrame, state: str, top_genes: int) -> None:
    top = drivers[drivers["correlation"].notna()].sort_values("rank").head(top_genes)
    names = top["symbol" if "symbol" in top else "gene"].astype(str)
    y = np.arange(len(top))
    if {"ci_lower", "ci_upper"} <= set(top):
        axes.hlines(y, top["ci_lower"], top["ci_upper"], colors=MISSING, linewidth=2)
    axes.scatter(top["correlation"], y, s=22, c=OKABE_ITO[0], zorder=3)
    axes.set_yticks(y, names, fontsize=7, style="italic")
    axes.set_ylim(max(len(top), 5) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_title(f"genes with fate {state}", fontsize=8)
    axes.set_xlabel("correlation (95 %)", fontsize=8)
