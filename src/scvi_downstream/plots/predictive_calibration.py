"""Whether predictive intervals hold as many counts as they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.predictive_sources import SOURCE_COLORS, SOURCE_MARKERS, SOURCE_NAMES
from scvi_downstream.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

_STEP = 2
_TRAINING = ("model", "training")


def plot_predictive_calibration(
    predictive_calibration: pd.DataFrame, predictive_checks: pd.DataFrame
) -> Figure:
    """PIT histograms by the mean count of genes above; coverage and scores below.

    Parameters
    ----------
    predictive_calibration
        Bins of the PIT of each source and stratum of genes.
    predictive_checks
        Coverages and scores with intervals.
    """
    strata = list(dict.fromkeys(predictive_calibration["genes"]))
    figure = new_figure(11.5, 6.4)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    above, below = halves
    panels = above.subplots(1, len(strata), sharey=True, squeeze=False)[0]
    for axes, stratum in zip(panels, strata, strict=True):
        _draw_pit(axes, predictive_calibration[predictive_calibration["genes"] == stratum], stratum)
    panels[0].set_ylabel("density of the PIT")
    panels[0].legend(loc="upper center", ncols=2, fontsize=7, handlelength=1.2, columnspacing=0.8)
    coverage, score = below.subplots(1, 2)
    shown = ["all", *strata]
    _draw_rows(coverage, predictive_checks, "coverage_95", shown)
    coverage.axvline(0.95, color="#666666", lw=0.8, ls=":")
    coverage.set(
        xlabel="share of counts in the central 95 % (95 % interval)", title="Coverage of 95 % intervals"
    )
    _draw_rows(score, predictive_checks, "crps_gain", shown)
    score.axvline(0, color=SOURCE_COLORS["nb"], lw=1.2, ls=":")
    score.set(
        xlabel="CRPS of log counts, lower than the negative binomial's by (share)",
        title="Score against the negative binomial",
    )
    coverage.legend(loc="best", handletextpad=0.3, fontsize=7)
    return figure


def _draw_pit(axes: Axes, table: pd.DataFrame, stratum: str) -> None:
    axes.axhline(1, color="#666666", lw=0.8, ls=":")
    for source, color in SOURCE_COLORS.items():
        own = table[(table["source"] == source) & (table["cells"] == "held-out")]
        share = own["share"].to_numpy().reshape(-1, _STEP).sum(axis=1)
        edges = np.append(own["low"].to_numpy()[::_STEP], 1.0)
        axes.stairs(share * len(share), edges, baseline=None, color=color, lw=1.4, label=SOURCE_NAMES[source])
    axes.set(
        xlabel="PIT (rank of the observed among the draws)",
        title=f"Genes of mean count {stratum}",
        xlim=(0, 1),
    )
    # a Poisson's extremes may leave the panel: what is near 1 shall be seen
    axes.set_ylim(0, float(np.clip(axes.get_ylim()[1], 2.2, 3.0)))


def _draw_rows(axes: Axes, checks: pd.DataFrame, check: str, strata: list[str]) -> None:
    """One row a stratum, one point a source."""
    table = checks[checks["check"] == check]
    groups = [(source, "held-out") for source in SOURCE_COLORS] + [_TRAINING]
    groups = [
        group for group in groups if ((table["source"] == group[0]) & (table["cells"] == group[1])).any()
    ]
    offsets = np.linspace(-0.3, 0.3, len(groups))
    for offset, (source, cells) in zip(offsets, groups, strict=True):
        own = (
            table[(table["source"] == source) & (table["cells"] == cells)].set_index("genes").reindex(strata)
        )
        value = own["observed"].to_numpy(dtype=np.float64)
        reach = [value - own["lower"].to_numpy(np.float64), own["upper"].to_numpy(np.float64) - value]
        training = cells == "training"
        axes.errorbar(
            value,
            np.arange(len(strata)) + offset,
            xerr=np.maximum(reach, 0),
            fmt=SOURCE_MARKERS[source],
            ms=4,
            mfc="white" if training else SOURCE_COLORS[source],
            color=SOURCE_COLORS[source],
            lw=1,
            label=f"{SOURCE_NAMES[source]}, training cells" if training else SOURCE_NAMES[source],
        )
    axes.set_yticks(range(len(strata)), ["all genes", *(f"mean {name}" for name in strata[1:])])
    axes.invert_yaxis()
