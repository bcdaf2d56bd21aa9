"""Batch structure before correction, and what correction does to batches and biology."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_downstream.plots.style import MISSING, OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    Axes = Figure = Any


MAX_BATCHES = 25
_LONGEST_NAME = 24
_LEVEL = 0.01
_OBSERVED, _MODEL = OKABE_ITO[3], OKABE_ITO[0]


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
    shown = [overall, *batches[:MAX_BATCHES]]
    mixing = correction.get("mixing")
    height = max(0.27 * len(shown) + 1.8, 3.0)
    figure = new_figure(9.2 if mixing else 6.4, height)
    panels = figure.subplots(1, 2 if mixing else 1, squeeze=False, width_ratios=[1.7, 1] if mixing else None)[
        0
    ]
    _draw_excess(panels[0], shown, str(correction["permuted_within"]), len(rows) - len(shown))
    if mixing:
        _draw_mixing(panels[1], mixing)
    figure.suptitle(fill(_title(correction), 105 if mixing else 72), fontsize=9)
    return figure


def _title(correction: Mapping[str, Any]) -> str:
    needed = {
        True: "Correction is needed",
        False: "Correction is not needed",
        None: "Correction: cannot be told",
    }
    p = correction["p"]
    return f"{needed[correction['needed']]} (effect {correction['effect'] or 0:.2f} of 1, p = {p:.3g})"


def _draw_excess(axes: Axes, rows: list[dict[str, Any]], within: str, left_out: int) -> None:
    y = np.arange(len(rows))[::-1]
    for position, row in zip(y, rows, strict=True):
        axes.plot(
            [row["expected_low"], row["expected_high"]],
            [position] * 2,
            color=MISSING,
            lw=7,
            solid_capstyle="butt",
        )
    beyond = np.array([row["p"] <= _LEVEL for row in rows])
    shares = np.array([row["share"] for row in rows])
    axes.plot(shares[beyond], y[beyond], "o", color=_OBSERVED, ms=6, label="observed, beyond chance")
    axes.plot(
        shares[~beyond], y[~beyond], "o", mfc="white", mec=_OBSERVED, ms=6, label="observed, as by chance"
    )
    axes.plot([], [], color=MISSING, lw=7, solid_capstyle="butt", label="expected, 95 %")
    names = ["all cells", *(_short(row["cells"]) for row in rows[1:])]
    axes.set_yticks(y, [f"{name} ({row['n_cells']:,})" for name, row in zip(names, rows, strict=True)])
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(rows) - 0.4), xlabel="Neighbours of the same batch (share)")
    among = within if within == "all cells" else f"cells of the same {within}"
    axes.set_title(fill(f"PCA of uncorrected counts; batches permuted among {among}", 62), fontsize=8.5)
    if left_out:
        axes.text(1.0, -0.5, f"{left_out} more batches not drawn", ha="right", va="bottom", fontsize=7)
    handles, labels = axes.get_legend_handles_labels()
    kept = [i for i, any_such in enumerate((beyond.any(), (~beyond).any(), True)) if any_such]
    axes.figure.legend(
        [handles[i] for i in kept],
        [labels[i] for i in kept],
        loc="outside lower left",
        ncols=3,
        fontsize=7.5,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def _draw_mixing(axes: Axes, mixing: Mapping[str, Any]) -> None:
    pairs = [("Batch\ncorrection", mixing["batch_uncorrected"], mixing["batch"], mixing["batch_difference"])]
    if mixing["bio"] is not None:
        pairs.append(
            ("Bio\nconservation", mixing["bio_uncorrected"], mixing["bio"], mixing["bio_difference"])
        )
    x = np.arange(len(pairs))
    before, after = (np.array([pair[i] for pair in pairs]) for i in (1, 2))
    axes.bar(x - 0.2, before, 0.38, color=MISSING, label="PCA, uncorrected")
    axes.bar(x + 0.2, after, 0.38, color=_MODEL, label=_short(str(mixing["model"])))
    for position, (_, low, high, difference) in enumerate(pairs):
        text = f"{high - low:+.2f}" + (f" ± {difference['standard_error']:.2f}" if difference else "")
        axes.text(position, max(low, high) + 0.02, text, ha="center", va="bottom", fontsize=8)
    axes.set_xticks(x, [pair[0] for pair in pairs])
    axes.set(
        ylim=(0, 1.25),
        yticks=[0, 0.25, 0.5, 0.75, 1],
        xlim=(-0.6, len(pairs) - 0.4),
        ylabel="scib aggregate\n(higher is better)",
    )
    axes.set_title("Before and after correction", fontsize=8.5)
    axes.legend(loc="upper left", ncols=2, fontsize=7.5, handletextpad=0.5)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


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
