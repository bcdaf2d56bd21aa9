"""Figures of the comparison: leaderboard, quality against cost, batch correction, latent dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from textwrap import fill, shorten, wrap
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.comparison.batch_structure import LEVEL
from scvi_downstream.plots.panels import shortened
from scvi_downstream.plots.style import (
    MISSING,
    OKABE_ITO,
    TWO_COLUMNS,
    empty_figure,
    label_points,
    new_figure,
    plain_log_ticks,
)
from scvi_downstream.runtime.slow_types import Axes, Figure
from scvi_downstream.scoring.criteria import JUDGED_BY_LABELS, SAW_LABELS, direction, rows_by_model, unit

_BLUE, _ORANGE, _GREEN, _RED = OKABE_ITO[:4]
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
    "behind_best": "on the\nsame cells",
    "seconds": "Training\n(s)",
    "peak_memory_mb": "Memory\n(MB, peak)",
}
_MOST_ROWS = 40
# Inches: height of a row, of each of many rows, and of the headings.
_ROW, _DENSE_ROW, _DENSE_FROM = 0.46, 0.34, 15
_HEAD = 1.15
# Inches: beside the table, between groups, of a letter of a name, and the width below which headings stand upright.
_MARGIN, _GAP, _LETTER, _NARROW = 0.15, 0.12, 0.08, 0.6
_LEAST_NAME, _MOST_STRETCHED = 0.9, 1.6


@dataclass(frozen=True)
class Group:
    """Columns under one heading, each so many inches wide, drawn alike."""

    title: str
    columns: tuple[str, ...]
    width: float
    draw: Callable[[Axes, float, float, pd.DataFrame, float], None]


def plot_leaderboard(leaderboard: pd.DataFrame, champion: dict[str, Any]) -> Figure:
    """Metrics as dots, aggregates and costs as bars, held-out likelihood (nats per cell) as coloured cells.

    The table of dots and bars follows the results table of scIB (Luecken et al. 2022,
    doi:10.1038/s41592-021-01336-8).

    Parameters
    ----------
    leaderboard
        One row a model, trial or baseline, the best first; of more than 40 the first are drawn, and the champion.
        ``<metric>_low`` and ``<metric>_high`` become whiskers, ``failed`` is written across its row, and where ``kind``
        is ``baseline`` the name is slanted.
    champion
        ``model`` is marked with a star; ``reason`` is written below.
    """
    board = rows_by_model(leaderboard)
    shown = board[(np.arange(len(board)) < _MOST_ROWS) | (board.index == champion.get("model"))]
    row = _ROW if len(shown) < _DENSE_FROM else _DENSE_ROW
    groups = _choose_groups(shown)
    width = TWO_COLUMNS - 2 * _MARGIN
    of_names = 0.35 + _LETTER * max(len(str(name)) for name in shown.index)
    of_columns = sum(group.width * len(group.columns) for group in groups)
    room = width - _GAP * len(groups)
    label_width = min(of_names, max(room - of_columns, _LEAST_NAME))
    stretch = min((room - label_width) / of_columns, _MOST_STRETCHED) if groups else 1.0
    groups = [replace(group, width=group.width * stretch) for group in groups]
    notes = _write_notes(board, len(shown), champion, int(width / 0.065))
    foot = 0.35 + 0.17 * len(notes)
    height = len(shown) * row + _HEAD + foot
    figure, axes = _blank_axes(height)
    top = height - _HEAD
    rows = top - row * (np.arange(len(shown)) + 0.5)
    axes.plot([0, width], [top, top], color="black", lw=1)
    _write_names(axes, shown, rows, champion, int((label_width - 0.2) / _LETTER))
    for y in rows:
        axes.plot([0, width], [y - row / 2, y - row / 2], color="#DDDDDD", lw=0.7)
    reasons = shown["failed"] if "failed" in shown else pd.Series(np.nan, index=shown.index)
    failed = reasons.notna().to_numpy()
    left = label_width
    for group in groups:
        _draw_group(axes, group, shown[~failed], rows[~failed], (left, top, row))
        left += group.width * len(group.columns) + _GAP
    for y, reason in zip(rows[failed], reasons[failed], strict=True):
        text = shorten(f"failed: {reason}", max(int((width - label_width) / 0.075), 12), placeholder=" …")
        axes.text(label_width, y, text, va="center", fontsize="small", color="#A33C00")
    for position, note in enumerate(notes):
        axes.text(0.02, foot - 0.22 - 0.17 * position, note, va="center", fontsize="small", color="#333333")
    return figure


def _choose_groups(board: pd.DataFrame) -> list[Group]:
    """Those that the board has columns for."""
    metrics = [column for column in _TITLES if column.startswith("scib_")]
    likelihood_width = 0.92 if "elbo_test_low" in board else 0.65
    groups = (
        Group("Bio conservation", tuple(metrics[:7]), 0.33, _draw_dots),
        Group("Batch correction", tuple(metrics[7:12]), 0.33, _draw_dots),
        Group("scIB scores", tuple(metrics[12:]), 0.7, _draw_shares),
        Group("Test cells", ("elbo_test", "marginal_ll_test"), likelihood_width, _draw_likelihoods),
        Group("Behind the best", ("behind_best",), 0.9, _draw_differences),
        Group("Cost", ("seconds", "peak_memory_mb"), 0.4, _draw_costs),
    )
    there = ((group, tuple(name for name in group.columns if name in board)) for group in groups)
    return [replace(group, columns=columns) for group, columns in there if columns]


def _write_notes(board: pd.DataFrame, shown: int, champion: dict[str, Any], characters: int) -> list[str]:
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


def _blank_axes(height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in inches over the whole of it."""
    figure, width = new_figure(TWO_COLUMNS, height), TWO_COLUMNS - 2 * _MARGIN
    figure.set_layout_engine("none")
    axes = figure.add_axes((_MARGIN / TWO_COLUMNS, 0, width / TWO_COLUMNS, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def _write_names(
    axes: Axes, board: pd.DataFrame, rows: np.ndarray, champion: dict[str, Any], longest: int
) -> None:
    for y, name, kind in zip(rows, board.index, _kinds(board), strict=True):
        best = name == champion.get("model")
        short = shortened(name, longest)
        text, weight = (f"★ {short}", "bold") if best else (short, "normal")
        style = "italic" if kind == "baseline" else "normal"
        axes.text(0.02, y, text, va="center", weight=weight, style=style)


def _kinds(board: pd.DataFrame) -> pd.Series:
    return board["kind"] if "kind" in board else pd.Series("model", index=board.index)


def _draw_group(
    axes: Axes, group: Group, board: pd.DataFrame, rows: np.ndarray, place: tuple[float, float, float]
) -> None:
    left, top, row = place
    span = group.width * len(group.columns)
    heading, line = top + _HEAD - 0.18, top + _HEAD - 0.34
    axes.text(
        left + span / 2, heading, group.title, ha="center", va="center", fontsize="small", weight="bold"
    )
    axes.plot([left + 0.06, left + span - 0.06], [line, line], color="#666666", lw=0.8)
    for position, name in enumerate(group.columns):
        start = left + position * group.width
        upright = 90 if group.width < _NARROW else 0
        axes.text(
            start + group.width / 2, top + 0.07, _TITLES[name], ha="center", va="bottom", fontsize="small",
            rotation=upright, linespacing=1.0,
        )  # fmt: skip
        column = board.reindex(columns=[name, f"{name}_low", f"{name}_high"]).astype(float)
        column = column.set_axis(["value", "low", "high"], axis="columns").set_axis(rows)
        group.draw(axes, start, group.width, column, row)


def _draw_dots(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """One coloured dot a row with its number inside."""
    middle = left + width / 2
    for y, value, share in _rows(axes, middle, column):
        face, ink = _shade(share)
        size = 380 * min(row / _ROW, 1) ** 2
        axes.scatter(middle, y, s=size, color=face, edgecolors="#999999", linewidths=0.4)
        axes.text(middle, y, f"{value:.2f}", ha="center", va="center", fontsize="small", color=ink)


def _draw_shares(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """A number with half of its 95 % interval, above a bar from 0 to 1 that bears the interval as a line."""
    for y, value, share in _rows(axes, left + width / 2, column):
        low, high = column.loc[y, ["low", "high"]].clip(0, 1)
        known = np.isfinite(high - low)
        text = f"{value:.2f}" + (f" ± {(high - low) / 2:.2f}" if known else "")
        axes.text(left + 0.06, y + 0.2 * row, text, ha="left", va="center", fontsize="small")
        height = y - 0.22 * row
        axes.barh(height, width - 0.12, 0.3 * row, left=left + 0.06, color="#F2F2F2")
        axes.barh(height, (width - 0.12) * value, 0.3 * row, left=left + 0.06, color=_shade(share)[0])
        if known:
            ends = [left + 0.06 + (width - 0.12) * end for end in (low, high)]
            axes.plot(ends, [height, height], color="#D55E00", lw=2, solid_capstyle="butt", gid="interval")


def _draw_costs(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """Grey bars up to the largest value."""
    reach = column["value"].max()
    for y, value, _ in _rows(axes, left + width / 2, column):
        length = (width - 0.12) * value / reach if reach > 0 else 0.0
        axes.barh(y, width - 0.12, 0.65 * row, left=left + 0.06, color="#F2F2F2")
        axes.barh(y, length, 0.65 * row, left=left + 0.06, color="#BBBBBB")
        text = f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
        axes.text(left + 0.12, y, text, ha="left", va="center", fontsize="small")


def _draw_likelihoods(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """Coloured cells with the number and half of its interval."""
    from matplotlib.patches import Rectangle

    for y, value, share in _rows(axes, left + width / 2, column):
        face, ink = _shade(share)
        corner = left + 0.04, y - 0.39 * row
        axes.add_patch(Rectangle(corner, width - 0.08, 0.78 * row, facecolor=face, linewidth=0))
        low, high = column.loc[y, ["low", "high"]]
        text = f"{value:,.1f}".replace("-", "−")
        text += f" ± {(high - low) / 2:,.1f}" if np.isfinite(high - low) else ""
        axes.text(left + width / 2, y, text, ha="center", va="center", fontsize="small", color=ink)


def _draw_differences(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """Numbers with half of their interval, pale where the interval holds zero."""
    digits = 3 if column["value"].abs().max() < 2 else 1
    for y, value, _ in _rows(axes, left + width / 2, column):
        low, high = column.loc[y, ["low", "high"]]
        text = f"{value:,.{digits}f}".replace("-", "−")
        text += f" ± {(high - low) / 2:,.{digits}f}" if high > low else ""
        color = "#888888" if low <= 0 <= high else "black"
        axes.text(left + width / 2, y, text, ha="center", va="center", fontsize="small", color=color)


def _rows(axes: Axes, middle: float, column: pd.DataFrame) -> list[tuple[float, float, float]]:
    """Height, value and share of the way from the worst to the best; a dash is written for what is missing."""
    values = column["value"]
    spread = values.max() - values.min()
    shares = (values - values.min()) / spread if spread > 0 else values * 0 + 0.5
    for y in values.index[values.isna()]:
        axes.text(middle, y, "–", ha="center", va="center", color="#888888")
    return [(y, values[y], shares[y]) for y in values.index[values.notna()]]


def _shade(share: float) -> tuple[Any, str]:
    """Colour of a share of the way from the worst to the best, and of ink that can be read on it."""
    import matplotlib as mpl

    return mpl.colormaps[_CMAP](0.08 + 0.8 * share), "white" if share > 0.55 else "black"


_MARKERS: dict[str, dict[str, Any]] = {
    "model": {"marker": "o", "s": 42, "color": _BLUE},
    "trial": {"marker": "o", "s": 22, "facecolor": "white", "edgecolor": _BLUE, "linewidths": 1.2},
    "baseline": {"marker": "s", "s": 32, "color": "#777777"},
    "trained on the labels": {"marker": "D", "s": 30, "facecolor": "white", "edgecolor": "#777777", "linewidths": 1.2},
}  # fmt: skip
_STAR: dict[str, Any] = {"marker": "*", "s": 240, "color": _RED, "edgecolors": "white", "linewidths": 0.6}
_SIZE, _LARGE, _MANY = (7.2, 4.6), (9.2, 6.0), 10
_MOST_NAMES = 16
_CRITERIA = {
    "scib_total": "scIB total",
    "scib_bio_conservation": "Bio conservation",
    "scib_batch_correction": "Batch correction",
    "elbo_test": "ELBO of test cells",
    "elbo_validation": "ELBO of validation cells",
    "marginal_ll_test": "log p(x) of test cells",
}


def plot_pareto(leaderboard: pd.DataFrame, champion: dict[str, Any]) -> Figure:
    """The criterion that chose the champion against seconds of training, with the front drawn.

    Parameters
    ----------
    leaderboard
        One row a model, trial or baseline, with ``seconds``, ``pareto``, ``kind`` and, for intervals, ``behind_best``.
    champion
        ``criterion`` is the quality; ``model`` gets a star.
    """
    board = rows_by_model(leaderboard)
    criterion = champion.get("criterion")
    if criterion is None or not {criterion, "seconds", "pareto"} <= set(board):
        return empty_figure("There is no criterion to draw against the training time.")
    points = board[board[criterion].notna() & board["seconds"].gt(0)]
    kinds = _kinds(points)
    if criterion in JUDGED_BY_LABELS and "family" in points:
        kinds = kinds.mask(points["family"].isin(SAW_LABELS), "trained on the labels")
    figure = new_figure(*(_SIZE if len(points) <= _MANY else _LARGE))
    axes = figure.add_subplot()
    _draw_paired_intervals(axes, points, criterion)
    # steps: what quality can be had for at most so many seconds
    front = points[points["pareto"].astype(bool)].sort_values("seconds", kind="stable")
    steps: dict[str, Any] = {"drawstyle": "steps-post", "color": _ORANGE, "lw": 1.6, "zorder": 2}
    axes.plot(front["seconds"], front[criterion], label="Pareto front", **steps)
    for kind, style in _MARKERS.items():
        rows = points[kinds == kind]
        if len(rows):
            axes.scatter(rows["seconds"], rows[criterion], label=kind, zorder=3, **style)
    best = points[points.index == champion.get("model")]
    if len(best):
        axes.scatter(best["seconds"], best[criterion], label="champion", zorder=4, **_STAR)
    _name_axes(axes, criterion, points)
    _name_points(axes, points, kinds, criterion, champion.get("model"))
    return figure


def _draw_paired_intervals(axes: Axes, points: pd.DataFrame, criterion: str) -> None:
    """Of the differences to the best: what all models share on the same cells tells none from another."""
    if "behind_best" not in points:
        return
    sign = direction(criterion)
    upper = points[criterion] + sign * (points["behind_best"] - points["behind_best_low"])
    lower = points[criterion] - sign * (points["behind_best_high"] - points["behind_best"])
    axes.vlines(points["seconds"], lower, upper, color="#AAAAAA", lw=1.2, zorder=1)


def _name_axes(axes: Axes, criterion: str, points: pd.DataFrame) -> None:
    name = _CRITERIA.get(criterion, criterion.replace("_", " "))
    in_unit = f" ({unit(criterion).strip()})" if unit(criterion) else ""
    better = "more is better" if direction(criterion) > 0 else "less is better"
    title = "Quality against cost"
    if "behind_best" in points:
        title += "; lines: 95 % interval of the paired difference to the best"
    axes.set(xscale="log", xlabel="Training time (s)", ylabel=f"{name}{in_unit}, {better}", title=title)
    axes.margins(x=0.12, y=0.1)
    if direction(criterion) < 0:
        axes.invert_yaxis()
    plain_log_ticks(axes.xaxis)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.4)


def _name_points(
    axes: Axes, points: pd.DataFrame, kinds: pd.Series, criterion: str, best: str | None
) -> None:
    """The champion is named first, then the front, models and baselines, and trials while there is room."""
    urgency = np.select([points.index == best, points["pareto"].astype(bool), kinds != "trial"], [0, 1, 2], 3)
    worse = -direction(criterion) * points[criterion]
    order = points.assign(urgency=urgency, worse=worse).sort_values(["urgency", "worse"], kind="stable")
    places = order[["seconds", criterion]].to_numpy(dtype=float)
    names = [str(name) for name in order.index]
    label_points(axes, places[:_MOST_NAMES], names[:_MOST_NAMES], avoid=places)


MAX_BATCHES = 25
_LONGEST_NAME = 24


def plot_correction(correction: Mapping[str, Any]) -> Figure:
    """Same-batch neighbours against their null; beside it scib's aggregates of PCA and the best corrected model.

    Parameters
    ----------
    correction
        Answer of the pipeline: ``batches``, ``mixing``, ``sentences``.
    """
    rows = correction["batches"]
    if not rows:
        return empty_figure(fill(correction["sentences"][0], 70))
    overall, batches = rows[0], sorted(rows[1:], key=lambda row: -(row["effect"] or 0))
    shown = pd.DataFrame([overall, *batches[:MAX_BATCHES]])
    mixing = correction.get("mixing")
    figure = new_figure(9.2 if mixing else 6.4, max(0.27 * len(shown) + 1.8, 3.0))
    ratios = [1.7, 1] if mixing else [1]
    panels = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    _draw_excess(panels[0], shown, str(correction["permuted_within"]), len(rows) - len(shown))
    if mixing:
        _draw_mixing(panels[1], mixing)
    need = {
        True: "Correction is needed",
        False: "Correction is not needed",
        None: "Correction: cannot be told",
    }
    title = f"{need[correction['needed']]} (effect {correction['effect'] or 0:.2f} of 1, p = {correction['p']:.3g})"
    figure.suptitle(fill(title, 105 if mixing else 72))
    return figure


def _draw_excess(axes: Axes, rows: pd.DataFrame, within: str, left_out: int) -> None:
    y = np.arange(len(rows))[::-1]
    expected = {"color": MISSING, "lw": 7, "capstyle": "butt"}
    null = axes.hlines(y, rows["expected_low"], rows["expected_high"], label="expected, 95 %", **expected)
    handles = []
    for chosen, face, label in (
        (rows["p"] <= LEVEL, _RED, "observed, beyond chance"),
        (rows["p"] > LEVEL, "white", "observed, as by chance"),
    ):
        if chosen.any():
            look: dict[str, Any] = {"mfc": face, "mec": _RED, "ms": 6, "label": label}
            handles += axes.plot(rows.loc[chosen, "share"], y[chosen], "o", **look)
    names = ["all cells", *(shortened(name, _LONGEST_NAME) for name in rows["cells"][1:])]
    axes.set_yticks(y, [f"{name} ({n:,})" for name, n in zip(names, rows["n_cells"], strict=True)])
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(rows) - 0.4), xlabel="Neighbours of the same batch (share)")
    among = within if within == "all cells" else f"cells of the same {within}"
    axes.set_title(fill(f"PCA of uncorrected counts; batches permuted among {among}", 62), fontsize="small")
    if left_out:
        axes.text(1.0, -0.5, f"{left_out} more batches not drawn", ha="right", va="bottom", fontsize="small")
    space = {"columnspacing": 1.2, "handletextpad": 0.5}
    axes.figure.legend(handles=[*handles, null], loc="outside lower left", ncols=3, fontsize="small", **space)


def _draw_mixing(axes: Axes, mixing: Mapping[str, Any]) -> None:
    scores = ["batch", "bio"] if mixing["bio"] is not None else ["batch"]
    x = np.arange(len(scores))
    before, after = ([mixing[f"{score}{end}"] for score in scores] for end in ("_uncorrected", ""))
    axes.bar(x - 0.2, before, 0.38, color=MISSING, label="PCA, uncorrected")
    axes.bar(x + 0.2, after, 0.38, color=_BLUE, label=shortened(mixing["model"], _LONGEST_NAME))
    for position, (score, low, high) in enumerate(zip(scores, before, after, strict=True)):
        difference = mixing[f"{score}_difference"]
        text = f"{high - low:+.2f}" + (f" ± {difference['standard_error']:.2f}" if difference else "")
        axes.text(position, max(low, high) + 0.02, text, ha="center", va="bottom", fontsize="small")
    axes.set_xticks(x, ["Batch\ncorrection", "Bio\nconservation"][: len(scores)])
    axes.set(ylim=(0, 1.25), yticks=[0, 0.25, 0.5, 0.75, 1], xlim=(-0.6, len(scores) - 0.4))
    axes.set_ylabel("scib aggregate\n(higher is better)")
    axes.set_title("Before and after correction", fontsize="small")
    axes.legend(loc="upper left", ncols=2, fontsize="small", handletextpad=0.5)


_NOISE_BAND = "#0072B222"


def plot_dimensions(dimensions: Mapping[str, Any]) -> Figure:
    """One row a model: ELBO behind the best with its standard error, and scib's total where there is one.

    Parameters
    ----------
    dimensions
        Answer of the pipeline: ``grids``, ``reason``.
    """
    grids = dimensions["grids"]
    if not grids:
        return empty_figure(fill(str(dimensions["reason"]), 70))
    with_total = any(row["scib_total"] is not None for grid in grids for row in grid["differences"])
    figure = new_figure(9.4 if with_total else 5.6, 3.3 * len(grids))
    panels = figure.subplots(len(grids), 2 if with_total else 1, squeeze=False)
    for row, grid in zip(panels, grids, strict=True):
        tried = pd.DataFrame(grid["differences"])
        _draw_likelihood(row[0], grid, tried)
        if with_total:
            _draw_total(row[1], grid, tried["scib_total"].astype(float))
        for axes in row:
            _name_sizes(axes, tried)
    return figure


def _draw_likelihood(axes: Axes, grid: Mapping[str, Any], tried: pd.DataFrame) -> None:
    behind = pd.DataFrame(tried["behind_best"].tolist())
    style: dict[str, Any] = {"fmt": "o-", "color": _BLUE, "ms": 5, "lw": 1.2, "capsize": 3}
    label = "difference ± 1 SE, paired"
    axes.errorbar(behind.index, -behind["value"], yerr=behind["standard_error"], label=label, **style)
    for position in tried.index[tried["within_noise"]]:
        axes.axvspan(position - 0.4, position + 0.4, color=_NOISE_BAND, lw=0)
    chosen = grid["grid"].index(grid["recommended"])
    label = f"recommended: {grid['recommended']}"
    axes.plot(chosen, -behind["value"][chosen], "*", color=_RED, ms=15, zorder=4, label=label)
    axes.fill_between([], [], [], color=_NOISE_BAND, label="within noise of the best")
    axes.axhline(0, color="#888888", lw=0.8, ls=":")
    axes.set_ylabel("Held-out ELBO − best\n(nats per cell)")
    axes.set_title(f"{grid['title']}: ELBO of {grid['n_cells']:,} held-out cells")
    axes.legend(loc="best", fontsize="small")


def _draw_total(axes: Axes, grid: Mapping[str, Any], totals: pd.Series) -> None:
    axes.plot(totals.index, totals, "s-", color=_GREEN, ms=5, lw=1.2)
    chosen = grid["grid"].index(grid["recommended"])
    axes.plot(chosen, totals[chosen], "*", color=_RED, ms=15, zorder=4)
    axes.set(ylabel="scib total (higher is better)", title=f"{grid['title']}: integration")


def _name_sizes(axes: Axes, tried: pd.DataFrame) -> None:
    names, trainings = tried["n_latent"].astype(str), tried["trainings"]
    label = "Latent dimensions (n_latent)"
    if trainings.min() < trainings.max():
        names += "\n×" + trainings.astype(str)
        label += ", × seeds"
    elif trainings[0] > 1:
        label += f", mean of {trainings[0]} seeds"
    axes.set_xticks(names.index, names)
    axes.set(xlim=(-0.6, len(names) - 0.4), xlabel=label)
