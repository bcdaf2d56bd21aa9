"""The trials of a search: how they went, how they ended, which of them to take."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import MISSING, OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    Axes = Figure = Any


AXIS_LABELS = {
    "elbo_validation": "ELBO of the validation cells\n(nats per cell, higher is better)",
    "marginal_ll_validation": "marginal log-likelihood of the validation cells\n(nats per cell, higher is better)",
    "scib_total": "scIB total (higher is better)",
    "scib_bio_conservation": "scIB bio conservation (higher is better)",
    "scib_batch_correction": "scIB batch correction (higher is better)",
}
FINISHED, CONFIGURED, RECOMMENDED = OKABE_ITO[0], OKABE_ITO[1], OKABE_ITO[3]
_GREY = "#777777"


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
    figure = new_figure(13, 4.2)
    curves, course, trade = figure.subplots(1, 3)
    _draw_curves(curves, search_records["trials"], search_trials)
    _draw_course(course, search_trials, search_summary["objectives"][0])
    _draw_trade(trade, search_trials, search_summary["objectives"])
    handles, labels = course.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(f"Search of {search_summary['model']}: {len(search_trials)} trials", fontsize=11)
    return figure


def trial_colors(trials: pd.DataFrame) -> list[str]:
    """Colour of each trial: the recommended one, the first (as configured), others."""
    colors = [FINISHED] * len(trials)
    if len(colors):
        colors[0] = CONFIGURED
    return [
        RECOMMENDED if recommended else color
        for color, recommended in zip(colors, trials["recommended"].astype(bool), strict=True)
    ]


def numbers_of(trials: pd.DataFrame) -> np.ndarray:
    """Number of each trial, the end of its name."""
    return np.array([int(str(name).rpartition("_")[2]) for name in trials.index])


def _draw_curves(axes: Axes, records: list[Mapping[str, Any]], trials: pd.DataFrame) -> None:
    colors = trial_colors(trials)
    tails = []
    for record, color in zip(records, colors, strict=True):
        curve = np.array(record["curve"], dtype=float)
        if not len(curve):
            continue
        finished = record["status"] == "finished"
        shade = color if finished else MISSING
        marked = color in (RECOMMENDED, CONFIGURED) and finished
        axes.plot(
            np.arange(1, len(curve) + 1),
            curve,
            color=shade,
            lw=1.8 if marked else 0.8,
            zorder=3 if marked else 2 if finished else 1,
        )
        if not finished:
            axes.plot(len(curve), curve[-1], "x", color=_GREY, ms=5, zorder=2)
        if finished:
            tails.append(curve[min(len(curve) // 5, len(curve) - 1) :])
    if tails:  # the first epochs would take all the height
        values = np.concatenate(tails)
        low, high = np.quantile(values, 0.01), values.max()
        margin = 0.08 * max(high - low, 1.0)
        axes.set_ylim(low - margin, high + margin)
    axes.set(xlabel="epoch", ylabel=AXIS_LABELS["elbo_validation"], title="Trainings")


def _draw_course(axes: Axes, trials: pd.DataFrame, objective: str) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = numbers_of(trials)
    values = trials[objective].to_numpy(dtype=float)
    status = trials["status"].to_numpy()
    finished = status == "finished"
    best = np.fmax.accumulate(np.where(finished, values, np.nan))
    axes.plot(numbers, best, color=_GREY, lw=1, drawstyle="steps-post", label="best so far")
    colors = np.array(trial_colors(trials))
    first = np.arange(len(trials)) == 0
    taken = trials["recommended"].to_numpy(dtype=bool)
    for chosen, label, size in (
        (finished & ~first & ~taken, "finished", 28),
        (finished & first & ~taken, "as configured", 60),
        (taken, "recommended", 60),
    ):
        if chosen.any():
            axes.scatter(
                numbers[chosen], values[chosen], s=size, c=colors[chosen], linewidths=0, zorder=3, label=label
            )
    stopped = (status == "stopped") & np.isfinite(values)
    low, high = np.nanmin(values[finished]), np.nanmax(values[finished])
    margin = 0.12 * max(high - low, 1e-3 * max(abs(high), 1.0))
    if stopped.any():
        heights = np.maximum(values[stopped], low - margin)
        axes.scatter(
            numbers[stopped],
            heights,
            s=28,
            marker="x",
            c=_GREY,
            linewidths=1,
            label="stopped early (best until then)",
        )
    unknown = ~finished & ~stopped
    if unknown.any():
        bottom = np.full(int(unknown.sum()), low - margin)
        label = "failed" if (status[unknown] == "failed").all() else "no score"
        axes.scatter(numbers[unknown], bottom, s=34, marker="v", c=OKABE_ITO[6], linewidths=0, label=label)
    axes.set(
        xlabel="trial",
        ylabel=AXIS_LABELS[objective],
        title="Course",
        ylim=(low - 1.5 * margin, high + margin),
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_trade(axes: Axes, trials: pd.DataFrame, objectives: list[str]) -> None:
    finished = trials[trials["status"] == "finished"]
    second = objectives[1] if len(objectives) > 1 else "n_parameters"
    x, y = finished[second].to_numpy(dtype=float), finished[objectives[0]].to_numpy(dtype=float)
    colors = np.array(trial_colors(trials))[(trials["status"] == "finished").to_numpy()]
    on_front = finished["pareto"].to_numpy(dtype=bool)
    if len(objectives) > 1:
        order = np.argsort(x[on_front])
        axes.plot(x[on_front][order], y[on_front][order], color=_GREY, lw=1, ls=":", zorder=1)
    axes.scatter(x, y, s=45, c=colors, linewidths=0, zorder=2)
    numbers = numbers_of(finished)
    for number, at_x, at_y, named in zip(numbers, x, y, _worth_a_name(finished, objectives), strict=True):
        if named:
            axes.annotate(str(number), (at_x, at_y), xytext=(4, 4), textcoords="offset points", fontsize=7.5)
    title = "Objectives (dotted: beaten by none)" if len(objectives) > 1 else "Size"
    axes.set(
        xlabel=AXIS_LABELS.get(second, "parameters of the model"),
        ylabel=AXIS_LABELS[objectives[0]],
        title=title,
    )
    if second == "n_parameters":
        axes.set_xscale("log")
    axes.margins(0.1)


def _worth_a_name(finished: pd.DataFrame, objectives: list[str]) -> np.ndarray:
    best = finished[objectives[0]] == finished[objectives[0]].max()
    named = finished["recommended"].astype(bool) | best
    return (named | finished["pareto"].astype(bool) if len(objectives) > 1 else named).to_numpy()


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
