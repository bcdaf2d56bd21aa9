"""Agreement of the Bayesian test with the classical ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, SEQUENTIAL, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = {
    "spearman_lfc": "Spearman of\nfold changes",
    "top_overlap": "overlap of\ntop genes",
    "jaccard": "Jaccard\nof calls",
    "confirmed": "Bayesian calls\nconfirmed",
}
COLORS = {"wilcoxon": OKABE_ITO[1], "pseudobulk": OKABE_ITO[0]}
NAMES = {"wilcoxon": "Wilcoxon", "pseudobulk": "pseudobulk"}
MAX_COMPARISONS = 40


def plot_concordance(de_results: pd.DataFrame, de_concordance: pd.DataFrame) -> Figure:
    """Fold changes of the tests against each other, and their agreement in each comparison.

    Parameters
    ----------
    de_results
        The tests joined, one row a gene and comparison.
    de_concordance
        One row a comparison.
    """
    tests = [test for test in COLORS if not de_results.empty and de_results[f"{test}_p"].notna().any()]
    if not tests:
        return empty_figure("No concordance: only the Bayesian test was run.")
    shown = de_concordance.head(MAX_COMPARISONS)
    figure = new_figure(11.5, max(0.17 * len(shown) + 1.3, 2.9 * len(tests) + 0.4))
    halves = figure.add_gridspec(1, 2, width_ratios=[3.4, 8])
    left, right = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    for axes, test in zip(left.subplots(len(tests), 1, squeeze=False).ravel(), tests, strict=True):
        _fold_changes(axes, de_results, test)
    panels = right.subplots(1, len(MEASURES), sharey=True)
    for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
        _measure(axes, shown, measure, title, tests)
    panels[0].set_yticks(range(len(shown)), [_short(row) for row in shown.itertuples()], fontsize=7)
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    handles = [
        panels[0].scatter([], [], s=24, color=COLORS[test], label=f"with {NAMES[test]}") for test in tests
    ]
    right.legend(handles=handles, loc="outside lower center", ncols=len(tests))
    return figure


def _short(row: object) -> str:
    name = str(row.comparison)  # type: ignore[attr-defined]
    return name if len(name) <= 32 else name[:31] + "…"


def _fold_changes(axes: Axes, de_results: pd.DataFrame, test: str) -> None:
    # The ratio of a mean to nothing is no fold change: genes unseen in one of the groups are left out.
    seen = (de_results["fraction1"] > 0) & (de_results["fraction2"] > 0)
    both = de_results[seen & de_results[f"{test}_p"].notna()]
    x, y = both["lfc_median"].to_numpy(), both[f"{test}_lfc"].to_numpy()
    reach = max(np.quantile(np.abs(np.concatenate([x, y])), 0.999), 1) if len(x) else 1.0
    hexagons = axes.hexbin(
        np.clip(x, -reach, reach),
        np.clip(y, -reach, reach),
        gridsize=45,
        bins="log",
        cmap=SEQUENTIAL,
        mincnt=1,
        extent=(-reach, reach, -reach, reach),
        linewidths=0.1,
    )
    axes.plot([-reach, reach], [-reach, reach], color="#999999", linewidth=0.6)
    correlation = pd.Series(x).corr(pd.Series(y), method="spearman")
    axes.set(xlabel="log2 fold change, Bayesian", ylabel=f"log2 fold change, {NAMES[test]}", box_aspect=1)
    axes.set_title(f"genes seen in both groups,\nall comparisons: Spearman {correlation:.2f}", fontsize=8)
    axes.figure.colorbar(hexagons, ax=axes, label="genes", shrink=0.7)


def _measure(axes: Axes, table: pd.DataFrame, measure: str, title: str, tests: list[str]) -> None:
    rows = np.arange(len(table))
    for offset, test in zip(
        np.linspace(-0.13, 0.13, len(tests)) if len(tests) > 1 else [0], tests, strict=True
    ):
        axes.scatter(table[f"{measure}_{test}"], rows + offset, s=16, color=COLORS[test], linewidths=0)
    lowest = min(
        0, np.nanmin(table[[f"{measure}_{test}" for test in tests]].to_numpy(dtype=float), initial=0)
    )
    axes.set(xlim=(lowest - 0.04, 1.04), title=title)
    axes.title.set_fontsize(8)
    axes.grid(axis="y", color="#EEEEEE", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
