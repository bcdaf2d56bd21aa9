"""The leaderboard as a table of dots and bars, after the results table of scIB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing matplotlib for that would slow every command
    Axes = Figure = Any

_CMAP = "YlGnBu"
_TITLES = {
    "scib_isolated_labels": "Isolated\nlabels",
    "scib_leiden_nmi": "Leiden\nNMI",
    "scib_leiden_ari": "Leiden\nARI",
    "scib_kmeans_nmi": "k-means\nNMI",
    "scib_kmeans_ari": "k-means\nARI",
    "scib_silhouette_label": "Silhouette\nlabel",
    "scib_clisi": "cLISI",
    "scib_bras": "BRAS",
    "scib_ilisi": "iLISI",
    "scib_kbet": "kBET",
    "scib_graph_connectivity": "Graph\nconnect.",
    "scib_pcr_comparison": "PCR\ncomp.",
    "scib_bio_conservation": "Bio\nconservation",
    "scib_batch_correction": "Batch\ncorrection",
    "scib_total": "Total",
    "elbo_test": "ELBO\n(nats/cell)",
    "marginal_ll_test": "log p(x)\n(nats/cell)",
    "seconds": "Training\n(s)",
    "peak_memory_mb": "Peak memory\n(MB)",
}


@dataclass(frozen=True)
class Group:
    """Columns under one heading, drawn alike."""

    title: str
    columns: tuple[str, ...]
    width: float
    draw: Callable[[Axes, float, float, pd.Series], None]


def plot_leaderboard(leaderboard: pd.DataFrame, champion: dict[str, Any]) -> Figure:
    """Metrics as dots, aggregates and costs as bars, held-out likelihood (nats per cell) as coloured cells.

    Parameters
    ----------
    leaderboard
        One row a model or baseline, the best first.
    champion
        ``model`` is marked with a star; ``reason`` is written below.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    groups = [
        Group(
            group.title, tuple(column for column in group.columns if column in board), group.width, group.draw
        )
        for group in _groups()
    ]
    groups = [group for group in groups if group.columns]
    longest = max(len(str(name)) for name in board.index)
    label_width = 0.55 + 0.12 * longest
    width = label_width + sum(group.width * len(group.columns) + 0.3 for group in groups)
    width = max(width, 6.0)
    notes = _notes(board, champion, int(width / 0.07))
    foot = 0.35 + 0.17 * len(notes)
    figure = new_figure(width + 0.3, len(board) * 0.46 + 1.0 + foot)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.15 / (width + 0.3), 0, width / (width + 0.3), 1))
    height = len(board) * 0.46 + 1.0 + foot
    top = height - 1.0
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    rows = top - 0.46 * (np.arange(len(board)) + 0.5)
    for y, name in zip(rows, board.index, strict=True):
        best = name == champion.get("model")
        axes.text(
            0.02,
            y,
            f"★ {name}" if best else str(name),
            va="center",
            fontsize=10,
            weight="bold" if best else "normal",
        )
        axes.plot([0, width], [y - 0.23, y - 0.23], color="#DDDDDD", lw=0.7)
    axes.plot([0, width], [top, top], color="black", lw=1)
    x = label_width
    for group in groups:
        span = group.width * len(group.columns)
        axes.text(
            x + span / 2, height - 0.18, group.title, ha="center", va="center", fontsize=9.5, weight="bold"
        )
        axes.plot([x + 0.06, x + span - 0.06], [height - 0.34, height - 0.34], color="#666666", lw=0.8)
        for position, column in enumerate(group.columns):
            left = x + position * group.width
            axes.text(
                left + group.width / 2, top + 0.07, _TITLES[column], ha="center", va="bottom", fontsize=8
            )
            group.draw(axes, left, group.width, pd.Series(board[column].to_numpy(dtype=float), index=rows))
        x += span + 0.3
    for position, note in enumerate(notes):
        axes.text(0.02, foot - 0.22 - 0.17 * position, note, va="center", fontsize=8, color="#333333")
    return figure


def _groups() -> tuple[Group, ...]:
    metrics = [column for column in _TITLES if column.startswith("scib_")]
    return (
        Group("Bio conservation", tuple(metrics[:7]), 0.66, _draw_dots),
        Group("Batch correction", tuple(metrics[7:12]), 0.66, _draw_dots),
        Group("scIB scores", tuple(metrics[12:]), 0.95, _draw_bars_to_one),
        Group("Test cells", ("elbo_test", "marginal_ll_test"), 0.85, _draw_cells),
        Group("Cost", ("seconds", "peak_memory_mb"), 0.95, _draw_bars),
    )


def _notes(board: pd.DataFrame, champion: dict[str, Any], characters: int) -> list[str]:
    from textwrap import wrap

    notes = [f"★ {champion['reason']}"] if champion.get("reason") else []
    if "left_out" in board:
        notes += [f"Left out: {reason}" for reason in board["left_out"].dropna().unique()]
    notes.append("Colours run from the worst to the best of each column; no value: –.")
    return [line for note in notes for line in wrap(note, characters)]


def _relative(values: pd.Series) -> pd.Series:
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else values * 0 + 0.5


def _shade(share: float) -> tuple[Any, str]:
    import matplotlib as mpl

    return mpl.colormaps[_CMAP](0.08 + 0.8 * share), "white" if share > 0.55 else "black"


def _missing(axes: Axes, x: float, y: float) -> None:
    axes.text(x, y, "–", ha="center", va="center", fontsize=9, color="#888888")


def _draw_dots(axes: Axes, left: float, width: float, values: pd.Series) -> None:
    middle = left + width / 2
    for (y, value), share in zip(values.items(), _relative(values), strict=True):
        if np.isnan(value):
            _missing(axes, middle, y)
            continue
        face, ink = _shade(share)
        axes.scatter(middle, y, s=560, color=face, edgecolors="#999999", linewidths=0.4)
        axes.text(middle, y, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=ink)


def _draw_bars_to_one(axes: Axes, left: float, width: float, values: pd.Series) -> None:
    _draw_bars(axes, left, width, values, longest=1.0, shown="{:.2f}")


def _draw_bars(
    axes: Axes,
    left: float,
    width: float,
    values: pd.Series,
    *,
    longest: float | None = None,
    shown: str = "{:,.0f}",
) -> None:
    reach = longest or values.max()
    for (y, value), share in zip(values.items(), _relative(values), strict=True):
        if np.isnan(value):
            _missing(axes, left + width / 2, y)
            continue
        face, _ = _shade(share) if longest else ("#BBBBBB", "black")
        length = (width - 0.12) * value / reach if reach > 0 else 0.0
        axes.barh(y, width - 0.12, 0.3, left=left + 0.06, color="#F2F2F2")
        axes.barh(y, length, 0.3, left=left + 0.06, color=face)
        text = shown.format(value) if longest or value >= 10 else f"{value:.1f}"
        inside = length > 0.55 * (width - 0.12) and longest is not None and share > 0.55
        axes.text(
            left + 0.12, y, text, ha="left", va="center", fontsize=8, color="white" if inside else "black"
        )


def _draw_cells(axes: Axes, left: float, width: float, values: pd.Series) -> None:
    from matplotlib.patches import Rectangle

    for (y, value), share in zip(values.items(), _relative(values), strict=True):
        if np.isnan(value):
            _missing(axes, left + width / 2, y)
            continue
        face, ink = _shade(share)
        axes.add_patch(Rectangle((left + 0.04, y - 0.17), width - 0.08, 0.34, facecolor=face))
        axes.text(
            left + width / 2,
            y,
            f"{value:,.1f}".replace("-", "−"),
            ha="center",
            va="center",
            fontsize=8,
            color=ink,
        )
