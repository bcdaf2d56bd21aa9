"""Whether pseudotimes agree, with each other and with known time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import DIVERGING, MISSING, category_colors, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK = 0.6


def plot_agreement(matrix: pd.DataFrame) -> Figure:
    """Rank correlations between orderings; grey where they share too few cells.

    Parameters
    ----------
    matrix
        ``n_orderings`` × the same, Spearman's correlation in [-1, 1] or NaN.
    """
    if len(matrix) < 2:
        return empty_figure("No agreement to show: there is one ordering only.")
    n, names = len(matrix), [str(name).replace("_", " ") for name in matrix.columns]
    longest = max(map(len, names))
    side = 0.46 * n
    figure = new_figure(side + 0.075 * longest + 1.6, side + 0.055 * longest + 0.9)
    axes = figure.subplots()
    axes.set_facecolor("#DDDDDD")
    values = matrix.to_numpy(np.float64)
    image = axes.imshow(values, cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "n/a"
        color = "white" if abs(value) > DARK else "#222222"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(n), names, fontsize=8)
    axes.tick_params(length=0)
    axes.set_title("Agreement of pseudotimes", fontsize=10)
    figure.colorbar(image, ax=axes, label="Spearman's ρ", shrink=0.8, aspect=16, pad=0.03)
    return figure


def plot_time_agreement(agreement: pd.DataFrame, time_name: str = "known time") -> Figure:
    """Rank correlation of every pseudotime with known time, with intervals, rows by representation.

    Parameters
    ----------
    agreement
        ``representation``, ``method``, ``spearman``, ``low``, ``high``; where ``within_batch_spearman``,
        ``within_batch_low`` and ``within_batch_high`` are there too, they are drawn hollow.
    time_name
        Of the known time.
    """
    known = agreement[agreement["spearman"].notna()]
    if known.empty:
        return empty_figure("No known time to compare with, or no pseudotime.")
    best = known.groupby("representation", sort=False)["spearman"].max().sort_values(ascending=False)
    known = known.assign(place=known["representation"].map({name: i for i, name in enumerate(best.index)}))
    known = known.sort_values(["place", "spearman"], ascending=[True, False], kind="stable").reset_index(
        drop=True
    )
    colors = category_colors(sorted(known["method"].astype(str).unique()))
    y = known.index.to_numpy() + 0.6 * known["place"].to_numpy()
    figure = new_figure(6.6, 0.27 * float(y.max() + 1) + 1.5)
    axes = figure.subplots()
    shades = known["method"].astype(str).map(colors).tolist()
    _intervals(axes, known, y, shades, "", filled=True)
    hollow = "within_batch_spearman" in known and known["within_batch_spearman"].notna().any()
    if hollow:
        _intervals(axes, known, y + 0.28, shades, "within_batch_", filled=False)
        for filled, label in ((True, "all cells"), (False, "within batches")):
            axes.scatter(
                [], [], s=30, facecolors="#444444" if filled else "white", edgecolors="#444444", label=label
            )
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.3)
    axes.set_yticks(
        y,
        [f"{row.representation} · {str(row.method).replace('_', ' ')}" for row in known.itertuples()],
        fontsize=8,
    )
    axes.invert_yaxis()
    lowest = min(0.0, float(known[[name for name in known if name.endswith("low")]].min().min()))
    axes.set_xlim(max(lowest * 1.05, -1.02), 1.02)
    axes.axvline(0, color=MISSING, linewidth=1, zorder=0)
    axes.grid(axis="x", color="#EEEEEE", zorder=0)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"Spearman's ρ with {time_name}, 95 % interval\n(below 0: runs backwards)")
    return figure


def _intervals(
    axes: Axes, table: pd.DataFrame, y: np.ndarray, colors: list[str], prefix: str, *, filled: bool
) -> None:
    middle, low, high = (table[prefix + name].to_numpy(np.float64) for name in ("spearman", "low", "high"))
    axes.hlines(y, low, high, colors=colors, linewidth=1.6 if filled else 1.0, zorder=2)
    axes.scatter(
        middle,
        y,
        s=34 if filled else 22,
        c=colors if filled else "white",
        edgecolors=colors,
        linewidths=1.1,
        zorder=3,
    )
