"""The leaderboard as a table of dots and bars, after the results table of scIB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import shorten, wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.board_columns import (
    draw_costs,
    draw_differences,
    draw_dots,
    draw_likelihoods,
    draw_shares,
    with_interval,
)
from scvi_downstream.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing matplotlib for that would slow every command
    Axes = Figure = Any

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
    "behind_best": "on the\nsame cells",
    "seconds": "Training\n(s)",
    "peak_memory_mb": "Peak memory\n(MB)",
}
_MOST_ROWS = 40
_ROW, _DENSE_ROW, _DENSE_FROM = 0.46, 0.34, 15
_HEAD = 1.0


@dataclass(frozen=True)
class Group:
    """Columns under one heading, drawn alike."""

    title: str
    columns: tuple[str, ...]
    width: float
    draw: Callable[[Axes, float, float, pd.DataFrame, float], None]


def plot_leaderboard(leaderboard: pd.DataFrame, champion: dict[str, Any]) -> Figure:
    """Metrics as dots, aggregates and costs as bars, held-out likelihood (nats per cell) as coloured cells.

    Parameters
    ----------
    leaderboard
        One row a model, trial or baseline, the best first; of more than 40 the first are drawn, and the champion.
        ``<metric>_low`` and ``<metric>_high`` become whiskers, ``failed`` is written across its row, and where ``kind``
        is ``baseline`` the name is slanted.
    champion
        ``model`` is marked with a star; ``reason`` is written below.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    shown = _first_rows(board, champion)
    row = _ROW if len(shown) < _DENSE_FROM else _DENSE_ROW
    groups = _groups(shown)
    label_width = 0.55 + 0.11 * max(len(str(name)) for name in shown.index)
    width = max(label_width + sum(group.width * len(group.columns) + 0.3 for group in groups), 6.0)
    notes = _notes(board, len(shown), champion, int(width / 0.07))
    foot = 0.35 + 0.17 * len(notes)
    height = len(shown) * row + _HEAD + foot
    figure, axes = _blank_axes(width, height)
    top = height - _HEAD
    rows = top - row * (np.arange(len(shown)) + 0.5)
    axes.plot([0, width], [top, top], color="black", lw=1)
    _write_names(axes, shown, rows, champion)
    for y in rows:
        axes.plot([0, width], [y - row / 2, y - row / 2], color="#DDDDDD", lw=0.7)
    reasons = shown["failed"] if "failed" in shown else pd.Series(np.nan, index=shown.index)
    failed = reasons.notna().to_numpy()
    left = label_width
    for group in groups:
        _draw_group(axes, group, shown[~failed], rows[~failed], (left, top, row))
        left += group.width * len(group.columns) + 0.3
    for y, reason in zip(rows[failed], reasons[failed], strict=True):
        text = shorten(f"failed: {reason}", max(int((width - label_width) / 0.075), 12), placeholder=" …")
        axes.text(label_width, y, text, va="center", fontsize=8, color="#A33C00")
    for position, note in enumerate(notes):
        axes.text(0.02, foot - 0.22 - 0.17 * position, note, va="center", fontsize=8, color="#333333")
    return figure


def _first_rows(board: pd.DataFrame, champion: dict[str, Any]) -> pd.DataFrame:
    if len(board) <= _MOST_ROWS:
        return board
    first = np.arange(len(board)) < _MOST_ROWS
    return board[first | (board.index == champion.get("model"))]


def _blank_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in inches over the whole of it."""
    figure = new_figure(width + 0.3, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.15 / (width + 0.3), 0, width / (width + 0.3), 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def _write_names(axes: Axes, board: pd.DataFrame, rows: np.ndarray, champion: dict[str, Any]) -> None:
    kinds = board["kind"] if "kind" in board else pd.Series("model", index=board.index)
    for y, name, kind in zip(rows, board.index, kinds, strict=True):
        best = name == champion.get("model")
        axes.text(
            0.02,
            y,
            f"★ {name}" if best else str(name),
            va="center",
            fontsize=10,
            weight="bold" if best else "normal",
            style="italic" if kind == "baseline" else "normal",
        )


def _draw_group(
    axes: Axes, group: Group, board: pd.DataFrame, rows: np.ndarray, place: tuple[float, float, float]
) -> None:
    left, top, row = place
    span = group.width * len(group.columns)
    heading, line = top + _HEAD - 0.18, top + _HEAD - 0.34
    axes.text(left + span / 2, heading, group.title, ha="center", va="center", fontsize=9.5, weight="bold")
    axes.plot([left + 0.06, left + span - 0.06], [line, line], color="#666666", lw=0.8)
    for position, column in enumerate(group.columns):
        start = left + position * group.width
        axes.text(start + group.width / 2, top + 0.07, _TITLES[column], ha="center", va="bottom", fontsize=8)
        group.draw(axes, start, group.width, with_interval(board, column, rows), row)


def _groups(board: pd.DataFrame) -> list[Group]:
    """Those that the board has columns for."""
    metrics = [column for column in _TITLES if column.startswith("scib_")]
    likelihood_width = 1.25 if "elbo_test_low" in board else 0.85
    groups = (
        Group("Bio conservation", tuple(metrics[:7]), 0.66, draw_dots),
        Group("Batch correction", tuple(metrics[7:12]), 0.66, draw_dots),
        Group("scIB scores", tuple(metrics[12:]), 0.95, draw_shares),
        Group("Test cells", ("elbo_test", "marginal_ll_test"), likelihood_width, draw_likelihoods),
        Group("Behind the best", ("behind_best",), 1.4, draw_differences),
        Group("Cost", ("seconds", "peak_memory_mb"), 0.95, draw_costs),
    )
    there = (
        Group(group.title, tuple(name for name in group.columns if name in board), group.width, group.draw)
        for group in groups
    )
    return [group for group in there if group.columns]


def _notes(board: pd.DataFrame, shown: int, champion: dict[str, Any], characters: int) -> list[str]:
    star = "★ " if champion.get("model") else ""
    notes = [f"{star}{champion['reason']}"] if champion.get("reason") else []
    if "left_out" in board:
        notes += [f"Left out: {reason}" for reason in board["left_out"].dropna().unique()]
    if shown < len(board):
        notes.append(f"The first {shown} of {len(board)} rows; all are in the table.")
    key = "Colours run from the worst to the best of each column; no value: –."
    if any(str(column).endswith("_low") for column in board):
        key += " Lines on the bars and ± are 95 % intervals over cells."
    if "kind" in board and board["kind"].eq("baseline").any():
        key += " Baselines are in italics."
    return [line for note in [*notes, key] for line in wrap(note, characters)]
