"""The first objective of a search by every option that was varied."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.search import AXIS_LABELS, CONFIGURED, FINISHED, RECOMMENDED, trial_colors
from scvi_downstream.plots.style import empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

_COLUMNS = 3
_FEW = 6
_LOG_FROM = 20  # times the smallest value: the scale on which ranges like learning rates are drawn


def plot_search_options(search_trials: pd.DataFrame, search_summary: Mapping[str, Any]) -> Figure:
    """Score of each finished trial by its value of every option.

    Parameters
    ----------
    search_trials
        One row a trial: ``status``, the varied options, objectives, ``recommended``.
    search_summary
        ``objectives``, ``options`` that were varied, ``option_effects``.
    """
    options, objective = search_summary["options"], search_summary["objectives"][0]
    if not options:
        return empty_figure("No option was varied.")
    colors = np.array(trial_colors(search_trials))
    finished = (search_trials["status"] == "finished").to_numpy()
    columns = min(_COLUMNS, len(options))
    rows = ceil(len(options) / columns)
    figure = new_figure(3.6 * columns + 0.6, 2.9 * rows + 0.5)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    effects = {row["option"]: row for row in search_summary["option_effects"]}
    values = search_trials[objective].to_numpy(dtype=float)[finished]
    for axes, option in zip(panels.flat, options, strict=False):
        _draw(axes, search_trials[option][finished], values, colors[finished])
        axes.set(xlabel=option, title=_said(effects.get(option)))
    for axes in panels.flat[len(options) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel(AXIS_LABELS[objective])
    marks = (("finished", FINISHED), ("as configured", CONFIGURED), ("recommended", RECOMMENDED))
    handles = [
        panels[0, 0].scatter([], [], s=40, c=color, label=label, linewidths=0) for label, color in marks
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(marks))
    return figure


def _draw(axes: Axes, given: pd.Series, scores: np.ndarray, colors: np.ndarray) -> None:
    if pd.api.types.is_numeric_dtype(given) and not pd.api.types.is_bool_dtype(given):
        x = given.to_numpy(dtype=float)
        axes.scatter(x, scores, s=34, c=colors, linewidths=0, alpha=0.85)
        if (x > 0).all() and x.max() >= _LOG_FROM * x.min():
            axes.set_xscale("log")
        elif len(set(x)) <= _FEW:
            axes.set_xticks(sorted(set(x)))
        return
    names = [str(value) for value in given]
    order = sorted(set(names))
    places = np.array([order.index(name) for name in names], dtype=float)
    spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(places))
    axes.scatter(places + spread, scores, s=34, c=colors, linewidths=0, alpha=0.85)
    axes.set_xticks(range(len(order)), order)
    axes.set_xlim(-0.6, len(order) - 0.4)


def _said(effect: Mapping[str, Any] | None) -> str:
    if effect is None or effect["p_adjusted"] is None:
        return ""
    size = f"ρ {effect['rho']:+.2f}" if effect["kind"] == "continuous" else f"η² {effect['eta2']:.2f}"
    p = effect["p_adjusted"]
    return f"{size}, adjusted p {p:.2g}" if p >= 1e-4 else f"{size}, adjusted p < 0.0001"
