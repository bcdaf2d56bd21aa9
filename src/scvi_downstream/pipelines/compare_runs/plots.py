"""Models of several runs, score by score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.compare_runs.table import LIKELIHOODS, comparable_groups
from scvi_downstream.plots.panels import legend_dots, shortened
from scvi_downstream.plots.style import category_colors, empty_figure, new_figure
from scvi_downstream.runtime.slow_types import Axes, Figure

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
_LONGEST_RUN = 50
NARROWEST = 0.1
"""Range of scores between 0 and 1 that fills a panel at least, so that noise does not look like a finding."""


def plot_runs(tracked_runs: pd.DataFrame) -> Figure:
    """One row a model of a run, one panel a score, one colour a run.

    Parameters
    ----------
    tracked_runs
        ``run_id``, ``run``, ``model`` and ``metric.<score>``; runs in their order. Likelihoods are drawn as differences
        to the best on the same cells and genes.
    """
    scores = tracked_runs.rename(columns=lambda name: str(name).removeprefix("metric."))
    panels = [name for name in _TITLES if name in scores and scores[name].notna().any()]
    rows = scores[scores["model"].notna()]
    if not panels or rows.empty:
        return empty_figure("No model of these runs has a score to compare.")
    rows = rows[rows[panels].notna().any(axis=1)]
    shown = _keep_best(rows, panels[0])
    codes, run_ids = pd.factorize(shown["run_id"].astype(str))
    y = np.arange(len(shown)) + 0.6 * codes  # a gap between runs
    starts = np.flatnonzero(np.diff(codes)) + 1
    colors = category_colors(list(run_ids))
    figure = new_figure(2.1 * len(panels) + 2.2, max(0.23 * (y.max() + 1) + 1.5 + 0.2 * len(run_ids), 2.8))
    axes_of = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, name in zip(axes_of, panels, strict=True):
        values = shown[name].astype(np.float64)
        if name in LIKELIHOODS:
            groups = comparable_groups(tracked_runs, name)
            values = values - values.groupby(groups.loc[values.index]).transform("max")
        _draw_score(axes, name, values, y, [colors[run_ids[code]] for code in codes])
        for start in starts:
            axes.axhline((y[start] + y[start - 1]) / 2, color="#CCCCCC", linewidth=0.7)
    axes_of[0].set_yticks(y, [shortened(model, LONGEST_NAME) for model in shown["model"]], fontsize="small")
    axes_of[0].set_ylim(y.max() + 0.7, -0.7)
    names = shown["run"][~shown["run_id"].duplicated()]
    labels = [shortened(name, _LONGEST_RUN) for name in names]
    figure.legend(
        legend_dots(axes_of[0], colors), labels, loc="outside lower left", ncols=1, fontsize="small"
    )
    left = len(rows) - len(shown)
    more = f" ({left} that score lower are not drawn)" if left else ""
    figure.suptitle(f"Models of runs{more}")
    return figure


def _keep_best(rows: pd.DataFrame, criterion: str) -> pd.DataFrame:
    """At most so many rows that they can be read: the best of each run."""
    if len(rows) <= MOST_ROWS:
        return rows
    each = max(1, MOST_ROWS // rows["run_id"].nunique())
    of_run = rows.groupby("run_id", sort=False)[criterion]
    return rows[of_run.rank(ascending=False, method="first", na_option="bottom") <= each]


def _draw_score(axes: Axes, name: str, values: pd.Series, y: np.ndarray, colors: list[str]) -> None:
    if name in LIKELIHOODS:
        label = "nats per cell below the best\non the same cells and genes"
        axes.axvline(0, color="#888888", linewidth=0.8)
    elif name == "seconds":
        label = "seconds"
        axes.set_xscale("log")
    else:
        label = "of at most 1, higher is better"
        low, high = values.min(), values.max()
        middle, half = (high + low) / 2, max(0.6 * (high - low), NARROWEST / 2)
        axes.set_xlim(middle - half, middle + half)
    axes.set_xlabel(label, fontsize="small")
    axes.scatter(values, y, s=28, color=colors, zorder=3)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(_TITLES[name])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize="small")
