"""Shares of clusters or cell types in every sample."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, category_colors, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 20
PANELS_A_ROW = 5
PANEL_WIDTH, PANEL_HEIGHT = 2.2, 2.3
JITTER = 0.08
CALLED, QUIET = OKABE_ITO[3], "#333333"


def draw_composition(
    composition: pd.DataFrame,
    tests: pd.DataFrame,
    by_sample: Mapping[str, pd.Series],
    blocks: pd.Series | None,
    condition_key: str | None,
    fdr: float,
) -> Figure:
    """One panel a group: share of each sample's cells against one annotation.

    The annotation is the condition or, where that was not tested, the one with the smallest p-value. Without
    tests, bars show the shares of each sample or condition.

    Parameters
    ----------
    composition
        One row a sample and group.
    tests
        One row an annotation, contrast and group.
    by_sample
        Annotation → value of each sample.
    blocks
        Block of each sample: its samples are joined by a line; or ``None``.
    condition_key, fdr
        Of the study.
    """
    if composition.empty:
        return empty_figure("No composition: no cell has a group.")
    usable = tests[tests["column"].astype(str).isin(list(by_sample))]
    if usable.empty:
        return _bars(composition)
    columns = usable["column"].astype(str)
    column = condition_key if condition_key in set(columns) else columns[usable["p"].idxmin()]
    mine = usable[columns == column]
    first = mine[mine["contrast"] == mine["contrast"].iloc[0]].sort_values("p", kind="stable")
    values = by_sample[str(column)]
    drawn = composition[composition["sample"].astype(str).isin(values.index)]
    groups = first["group"].astype(str).tolist()[:MAX_PANELS]
    n_columns = min(PANELS_A_ROW, len(groups))
    n_rows = ceil(len(groups) / n_columns)
    figure = new_figure(max(PANEL_WIDTH * n_columns, 5), PANEL_HEIGHT * n_rows + 0.7)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, group in zip(panels, groups, strict=False):
        share = drawn[drawn["group"].astype(str) == group].set_index("sample")["proportion"] * 100
        share.index = share.index.astype(str)
        _panel(axes, share, values.reindex(share.index), blocks)
        p = float(first.loc[first["group"].astype(str) == group, "p_adjusted"].iloc[0])
        called = p <= fdr
        axes.set_title(
            f"{group}\nadjusted p = {p:.2g}{' *' if called else ''}",
            fontsize=8,
            color=CALLED if called else QUIET,
            weight="bold" if called else "normal",
        )
        axes.set_ylim(bottom=0)
    for axes in panels[len(groups) :]:
        axes.remove()
    figure.supylabel(f"share of each {composition['by'].iloc[0]}'s cells (%)", fontsize=9)
    figure.supxlabel(str(column), fontsize=9)
    contrast = first["contrast"].iloc[0]
    within = f", lines join samples of one {blocks.name}" if blocks is not None else ""
    figure.suptitle(f"Composition by {column} ({contrast}){within}; * adjusted p ≤ {fdr:g}", fontsize=9)
    return figure


def _panel(axes: Axes, share: pd.Series, values: pd.Series, blocks: pd.Series | None) -> None:
    if not isinstance(values.dtype, pd.CategoricalDtype):
        axes.scatter(values, share, s=16, color=OKABE_ITO[0], linewidths=0)
        return
    levels = list(values.cat.remove_unused_categories().cat.categories)
    colors = category_colors([str(level) for level in levels])
    rng = np.random.default_rng(0)
    known = values.notna().to_numpy()
    share, values = share[known], values[known]
    x = values.cat.set_categories(levels).cat.codes.to_numpy() + rng.uniform(-JITTER, JITTER, len(values))
    if blocks is not None:
        of_block = blocks.reindex(share.index).astype(str).to_numpy()
        for block in np.unique(of_block):
            inside = np.flatnonzero(of_block == block)
            inside = inside[np.argsort(x[inside])]
            axes.plot(x[inside], share.to_numpy()[inside], color="#BBBBBB", linewidth=0.8, zorder=1)
    axes.scatter(x, share, s=16, c=[colors[str(value)] for value in values], linewidths=0, zorder=2)
    means = share.groupby(values.astype(str).to_numpy()).mean()
    for position, level in enumerate(levels):
        axes.hlines(
            means[str(level)], position - 0.25, position + 0.25, color="black", linewidth=1.2, zorder=3
        )
    shown = [str(level) if len(str(level)) <= 12 else str(level)[:11] + "…" for level in levels]
    axes.set_xticks(range(len(levels)), shown, rotation=45 if len(levels) > 3 else 0, fontsize=7)
    axes.set_xlim(-0.5, len(levels) - 0.5)


def _bars(composition: pd.DataFrame) -> Figure:
    """Stacked bars, one a sample or condition."""
    wide = composition.pivot_table(
        index="sample", columns="group", values="proportion", sort=False, observed=True
    )
    colors = category_colors([str(name) for name in wide.columns])
    figure = new_figure(8, 0.28 * len(wide) + 0.22 * ceil(len(wide.columns) / 3) + 1.4)
    axes = figure.subplots()
    left = np.zeros(len(wide))
    for group in wide.columns:
        axes.barh(range(len(wide)), wide[group] * 100, left=left, color=colors[str(group)], label=str(group))
        left += wide[group].to_numpy() * 100
    axes.set_yticks(range(len(wide)), wide.index.astype(str), fontsize=7)
    by = str(composition["by"].iloc[0])
    axes.set(
        xlabel="share of cells (%)", ylabel=by, xlim=(0, 100), title=f"Composition of each {by}, not tested"
    )
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=3)
    return figure
