"""Models of several runs, score by score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import category_colors, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    Axes = Figure = Any


_TITLES = {
    "elbo_test": "ELBO",
    "marginal_ll_test": "log p(x)",
    "scib_total": "scIB total",
    "scib_bio_conservation": "Bio conservation",
    "scib_batch_correction": "Batch correction",
    "seconds": "Training",
}
MOST_ROWS = 45
LONGEST_NAME = 30
NARROWEST = 0.1
"""Range of scores between 0 and 1 that fills a panel at least, so that noise does not look like a finding."""


def plot_run_comparison(scores: pd.DataFrame, groups: Mapping[str, pd.Series]) -> Figure:
    """One row a model of a run, one panel a score, one colour a run.

    Parameters
    ----------
    scores
        ``run_id``, ``run``, ``model`` and scores; runs in their order.
    groups
        Likelihood → group of each row, within which it may be compared: drawn is the difference to the best of it.
    """
    panels = [name for name in _TITLES if name in scores and scores[name].notna().any()]
    rows = scores[scores["model"].notna()]
    if not panels or rows.empty:
        return empty_figure("No model of these runs has a score to compare.")
    rows = rows[rows[panels].notna().any(axis=1)]
    shown = _shortened(rows, panels[0])
    y, separators = _positions(shown)
    colors = category_colors([str(run) for run in shown["run_id"].unique()])
    ink = [colors[str(run)] for run in shown["run_id"]]
    names = shown.drop_duplicates("run_id").set_index("run_id")["run"]
    height = 0.23 * (y.max() + 1) + 1.5 + 0.2 * len(names)
    figure = new_figure(2.1 * len(panels) + 2.2, max(height, 2.8))
    axes_of = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, name in zip(axes_of, panels, strict=True):
        _draw(axes, name, shown[name], groups.get(name), y, ink)
        for separator in separators:
            axes.axhline(separator, color="#CCCCCC", linewidth=0.7)
    axes_of[0].set_yticks(y, [_short(str(model)) for model in shown["model"]], fontsize=8)
    axes_of[0].set_ylim(y.max() + 0.7, -0.7)
    handles = [axes_of[0].scatter([], [], s=28, color=colors[str(run)]) for run in names.index]
    figure.legend(
        handles, [_short(str(name), 50) for name in names], loc="outside lower left", ncols=1, fontsize=8
    )
    left = len(rows) - len(shown)
    figure.suptitle(
        "Models of runs" + (f" ({left} that score lower are not drawn)" if left else ""), fontsize=10
    )
    return figure


def _shortened(rows: pd.DataFrame, criterion: str) -> pd.DataFrame:
    """At most so many rows that they can be read: the best of each run."""
    if len(rows) <= MOST_ROWS:
        return rows
    each = max(1, MOST_ROWS // rows["run_id"].nunique())
    rank = rows.groupby("run_id", sort=False)[criterion].rank(
        ascending=False, method="first", na_option="bottom"
    )
    return rows[rank <= each]


def _positions(rows: pd.DataFrame) -> tuple[np.ndarray, list[float]]:
    """Rows with a gap between runs, and where the gaps are."""
    codes = pd.factorize(rows["run_id"])[0]
    y = np.arange(len(rows)) + 0.6 * codes
    starts = np.flatnonzero(np.diff(codes)) + 1
    return y, [float((y[start] + y[start - 1]) / 2) for start in starts]


def _draw(
    axes: Axes, name: str, values: pd.Series, group: pd.Series | None, y: np.ndarray, ink: list[str]
) -> None:
    drawn = values.astype(np.float64)
    if group is not None:
        drawn = drawn - drawn.groupby(group.loc[drawn.index]).transform("max")
        axes.set_xlabel("nats per cell below the best\non the same cells and genes", fontsize=7.5)
        axes.axvline(0, color="#888888", linewidth=0.8)
    elif name == "seconds":
        axes.set_xlabel("seconds", fontsize=7.5)
        axes.set_xscale("log")
    else:
        middle, half = (drawn.max() + drawn.min()) / 2, max(0.6 * (drawn.max() - drawn.min()), NARROWEST / 2)
        axes.set_xlim(middle - half, middle + half)
        axes.set_xlabel("of at most 1, higher is better", fontsize=7.5)
    axes.scatter(drawn, y, s=28, color=ink, zorder=3)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(_TITLES[name], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7.5)


def _short(name: str, longest: int = LONGEST_NAME) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
