"""Held-out likelihood by number of latent dimensions, with the recommended one."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing matplotlib for that would slow every command
    Axes = Figure = Any

_ELBO, _CHOSEN, _TOTAL = OKABE_ITO[0], OKABE_ITO[3], OKABE_ITO[2]
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
        _draw_likelihood(row[0], grid)
        if with_total:
            _draw_total(row[1], grid)
    return figure


def _draw_likelihood(axes: Axes, grid: Mapping[str, Any]) -> None:
    rows = grid["differences"]
    x = np.arange(len(rows))
    behind = np.array([row["behind_best"]["value"] for row in rows])
    errors = np.array([row["behind_best"]["standard_error"] for row in rows])
    axes.errorbar(
        x,
        -behind,
        yerr=errors,
        fmt="o-",
        color=_ELBO,
        ms=5,
        lw=1.2,
        capsize=3,
        label="difference ± 1 SE, paired",
    )
    within = [row["within_noise"] for row in rows]
    for position in x[np.array(within)]:
        axes.axvspan(position - 0.4, position + 0.4, color=_NOISE_BAND, lw=0)
    chosen = grid["grid"].index(grid["recommended"])
    axes.plot(
        chosen,
        -behind[chosen],
        "*",
        color=_CHOSEN,
        ms=15,
        zorder=4,
        label=f"recommended: {grid['recommended']}",
    )
    axes.fill_between([], [], [], color=_NOISE_BAND, label="within noise of the best")
    axes.axhline(0, color="#888888", lw=0.8, ls=":")
    _name_values(axes, grid)
    axes.set(
        ylabel="Held-out ELBO − best\n(nats per cell)",
        title=f"{grid['title']}: ELBO of {grid['n_cells']:,} held-out cells",
    )
    axes.legend(loc="best", fontsize=7)


def _draw_total(axes: Axes, grid: Mapping[str, Any]) -> None:
    totals = np.array(
        [np.nan if row["scib_total"] is None else row["scib_total"] for row in grid["differences"]]
    )
    x = np.arange(len(totals))
    axes.plot(x, totals, "s-", color=_TOTAL, ms=5, lw=1.2)
    chosen = grid["grid"].index(grid["recommended"])
    axes.plot(chosen, totals[chosen], "*", color=_CHOSEN, ms=15, zorder=4)
    _name_values(axes, grid)
    axes.set(ylabel="scib total (higher is better)", title=f"{grid['title']}: integration")


def _name_values(axes: Axes, grid: Mapping[str, Any]) -> None:
    rows = grid["differences"]
    trainings = {row["trainings"] for row in rows}
    label = "Latent dimensions (n_latent)"
    names = [str(row["n_latent"]) for row in rows]
    if len(trainings) > 1:
        names = [f"{name}\n×{row['trainings']}" for name, row in zip(names, rows, strict=True)]
        label += ", × seeds"
    elif trainings != {1}:
        label += f", mean of {trainings.pop()} seeds"
    axes.set_xticks(np.arange(len(names)), names)
    axes.set(xlim=(-0.6, len(names) - 0.4), xlabel=label)
