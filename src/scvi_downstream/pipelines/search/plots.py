"""The trials of a search: how they went, how they ended, which of them to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.search.report import LABELS, format_effect
from scvi_downstream.plots.panels import joint_legend, legend_dots, panel_grid
from scvi_downstream.plots.style import (
    MISSING,
    OKABE_ITO,
    TWO_COLUMNS,
    empty_figure,
    new_figure,
    plain_log_ticks,
)
from scvi_downstream.runtime.slow_types import Axes, Figure

_AXIS_LABELS = {
    name: label + (" (" if name.startswith("scib_") else "\n(nats per cell, ") + "higher is better)"
    for name, label in LABELS.items()
}
FINISHED, CONFIGURED, RECOMMENDED = OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[3]
_COLORS = {"finished": FINISHED, "as configured": CONFIGURED, "recommended": RECOMMENDED}
_GREY = "#777777"
_COLUMNS = 3
# So few different numbers are ticks of their own.
_FEW = 6
# Times the smallest value: the scale on which ranges like learning rates are drawn.
_LOG_FROM = 20


def plot_search(
    search_records: Mapping[str, Any], search_trials: pd.DataFrame, search_summary: Mapping[str, Any]
) -> Figure:
    """Validation ELBO by epoch, the first objective by trial, and the first two objectives or size against each other.

    Parameters
    ----------
    search_records
        ``trials`` with their ``number``, ``status`` and ``curve``.
    search_trials
        One row a trial, in the same order: ``status``, objectives, ``pareto``, ``recommended``.
    search_summary
        ``model``, ``objectives``.
    """
    trials = _mark_trials(search_trials)
    figure = new_figure(TWO_COLUMNS, 4.2)
    curves, course, trade = figure.subplots(1, 3)
    _draw_curves(curves, [record["curve"] for record in search_records["trials"]], trials)
    _draw_course(course, trials, search_summary["objectives"][0])
    _draw_trade(trade, trials[trials["status"] == "finished"], search_summary["objectives"])
    joint_legend([course], loc="outside lower center", ncols=10)
    figure.suptitle(f"Search of {search_summary['model']}: {len(trials)} trials")
    return figure


def _mark_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """With the ``number`` of each trial, the end of its name, and what it is ``marked`` as: a name of ``_COLORS``."""
    marked = np.where(np.arange(len(trials)) == 0, "as configured", "finished")
    marked = np.where(trials["recommended"].astype(bool), "recommended", marked)
    return trials.assign(marked=marked, number=[int(str(name).rpartition("_")[2]) for name in trials.index])


def _draw_curves(axes: Axes, curves: list[list[float]], trials: pd.DataFrame) -> None:
    tails = []
    for given, marked, status in zip(curves, trials["marked"], trials["status"], strict=True):
        curve = np.array(given, dtype=float)
        if not len(curve):
            continue
        epochs = np.arange(1, len(curve) + 1)
        if status != "finished":
            axes.plot(epochs, curve, color=MISSING, lw=0.8, zorder=1)
            axes.plot(len(curve), curve[-1], "x", color=_GREY, ms=5, zorder=2)
            continue
        width, height = (0.8, 2) if marked == "finished" else (1.8, 3)
        axes.plot(epochs, curve, color=_COLORS[marked], lw=width, zorder=height)
        tails.append(curve[min(len(curve) // 5, len(curve) - 1) :])
    if tails:  # the first epochs would take all the height
        values = np.concatenate(tails)
        low, high = np.quantile(values, 0.01), values.max()
        margin = 0.08 * max(high - low, 1.0)
        axes.set_ylim(low - margin, high + margin)
    axes.set(xlabel="epoch", ylabel=_AXIS_LABELS["elbo_validation"], title="Trainings")


def _draw_course(axes: Axes, trials: pd.DataFrame, objective: str) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers, values = trials["number"].to_numpy(), trials[objective].to_numpy(dtype=float)
    finished = (trials["status"] == "finished").to_numpy()
    best = np.fmax.accumulate(np.where(finished, values, np.nan))
    axes.plot(numbers, best, color=_GREY, lw=1, drawstyle="steps-post", label="best so far")
    for marked, color in _COLORS.items():
        chosen = finished & (trials["marked"] == marked).to_numpy()
        if chosen.any():
            look: dict[str, Any] = {"s": 28 if marked == "finished" else 60, "c": [color] * chosen.sum()}
            axes.scatter(numbers[chosen], values[chosen], linewidths=0, zorder=3, label=marked, **look)
    stopped = (trials["status"] == "stopped").to_numpy() & np.isfinite(values)
    low, high = np.nanmin(values[finished]), np.nanmax(values[finished])
    margin = 0.12 * max(high - low, 1e-3 * max(abs(high), 1.0))
    if stopped.any():
        heights = np.maximum(values[stopped], low - margin)
        label = "stopped early (best until then)"
        axes.scatter(numbers[stopped], heights, s=28, marker="x", c=_GREY, linewidths=1, label=label)
    unknown = ~finished & ~stopped
    if unknown.any():
        bottom = np.full(int(unknown.sum()), low - margin)
        label = "failed" if (trials["status"][unknown] == "failed").all() else "no score"
        axes.scatter(numbers[unknown], bottom, s=34, marker="v", c=OKABE_ITO[6], linewidths=0, label=label)
    axes.set(xlabel="trial", ylabel=_AXIS_LABELS[objective], title="Course")
    axes.set_ylim(low - 1.5 * margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_trade(axes: Axes, finished: pd.DataFrame, objectives: list[str]) -> None:
    several = len(objectives) > 1
    second = objectives[1] if several else "n_parameters"
    x, y = finished[second].astype(float), finished[objectives[0]].astype(float)
    on_front = finished["pareto"].astype(bool)
    worth_a_name = finished["recommended"].astype(bool) | (y == y.max())
    if several:
        front = x[on_front].sort_values()
        axes.plot(front, y[front.index], color=_GREY, lw=1, ls=":", zorder=1)
        worth_a_name |= on_front
    axes.scatter(x, y, s=45, c=finished["marked"].map(_COLORS), linewidths=0, zorder=2)
    for trial, number in finished["number"][worth_a_name].items():
        place = x[trial], y[trial]
        axes.annotate(str(number), place, xytext=(4, 4), textcoords="offset points", fontsize="small")
    axes.set_xlabel(_AXIS_LABELS.get(second, "parameters of the model"))
    axes.set_ylabel(_AXIS_LABELS[objectives[0]])
    axes.set_title("Objectives (dotted: beaten by none)" if several else "Size")
    if not several:
        axes.set_xscale("log")
    axes.margins(0.1)
    if not several:
        plain_log_ticks(axes.xaxis)


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
    trials = _mark_trials(search_trials)
    finished = trials[trials["status"] == "finished"]
    figure, panels = panel_grid(
        len(options), columns=_COLUMNS, width=3.6, height=2.9, more_width=0.6, more_height=0.5, sharey=True
    )
    effects = {row["option"]: row for row in search_summary["option_effects"]}
    for axes, option in zip(panels, options, strict=True):
        _draw_option(axes, finished, option, objective)
        axes.set(xlabel=option, title=_describe_effect(effects.get(option)))
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel(_AXIS_LABELS[objective])
    handles = legend_dots(panels[0], _COLORS, size=40, linewidths=0)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _draw_option(axes: Axes, finished: pd.DataFrame, option: str, objective: str) -> None:
    given, scores = finished[option], finished[objective].astype(float)
    dots = {"s": 34, "c": finished["marked"].map(_COLORS), "linewidths": 0, "alpha": 0.85}
    if pd.api.types.is_numeric_dtype(given) and not pd.api.types.is_bool_dtype(given):
        axes.scatter(given, scores, **dots)
        if given.min() > 0 and given.max() >= _LOG_FROM * given.min():
            axes.set_xscale("log")
            plain_log_ticks(axes.xaxis)
        elif given.nunique() <= _FEW:
            axes.set_xticks(sorted(given.astype(float).unique()))
        else:
            axes.locator_params(axis="x", nbins=4)
        return
    names, places = np.unique(given.astype(str), return_inverse=True)
    spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(places))
    axes.scatter(places + spread, scores, **dots)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)


def _describe_effect(effect: Mapping[str, Any] | None) -> str:
    if effect is None or effect["p_adjusted"] is None:
        return ""
    p = effect["p_adjusted"]
    return f"{format_effect(effect)}, adjusted p {f'{p:.2g}' if p >= 1e-4 else '< 0.0001'}"
