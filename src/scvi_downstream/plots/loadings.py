"""Genes at both ends of latent factors."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.parameters import FactorOptions
from scvi_downstream.plots.style import OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_FACTORS = 15
COLUMNS = 5
UP, DOWN = OKABE_ITO[3], OKABE_ITO[0]
LONGEST_NAME = 14


def plot_loadings(
    loadings: pd.DataFrame, factor_variance: pd.DataFrame, counts: AnnData, options: FactorOptions
) -> Figure:
    """The genes that each factor raises and lowers most, factors by the variance that they explain.

    Parameters
    ----------
    loadings
        Genes × ``factor_1`` …
    factor_variance
        One row a factor, with ``variance_share``, ``unique_share`` and ``active``; inactive ones are not drawn.
    counts
        For the genes' symbols.
    options
        How many genes of each end.
    """
    active = factor_variance[factor_variance["active"]]
    if active.empty:
        return empty_figure("No loadings: the decoder uses no latent dimension.")
    symbols = (
        counts.var["symbol"] if "symbol" in counts.var else pd.Series(counts.var_names, counts.var_names)
    )
    labels = symbols.reindex(loadings.index).astype(str).to_numpy()
    shown = active.head(MAX_FACTORS)
    each = min(options.top_genes, len(loadings) // 2)
    columns = min(COLUMNS, len(shown))
    rows = ceil(len(shown) / columns)
    figure = new_figure(2.25 * columns + 0.4, (0.125 * 2 * each + 0.75) * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (_, factor) in zip(panels, shown.iterrows(), strict=False):
        _draw(axes, loadings[factor["factor"]].to_numpy(), labels, each)
        title = f"{factor['factor'].replace('_', ' ')}: {factor['variance_share']:.1%}"
        axes.set_title(f"{title} ({factor['unique_share']:.1%} unique)", fontsize=8)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    weaker, unused = len(active) - len(shown), len(factor_variance) - len(active)
    more = f"; {weaker} with less are not drawn" if weaker else ""
    more += f"; {unused} dimensions are not used by the decoder" if unused else ""
    figure.suptitle(
        f"Genes that each latent factor raises and lowers most; its share of the decoded variance{more}",
        fontsize=10,
    )
    figure.supxlabel("loading: log-expression per standard deviation of the factor", fontsize=9)
    return figure


def _draw(axes: Axes, loadings: np.ndarray, labels: np.ndarray, each: int) -> None:
    order = np.argsort(-loadings, kind="stable")
    chosen = np.concatenate([order[:each], order[len(order) - each :]])
    values = loadings[chosen]
    places = np.arange(len(chosen)) + np.repeat([0, 0.8], each)
    axes.barh(places, values, color=np.where(values >= 0, UP, DOWN), height=0.75)
    axes.axvline(0, color="#333333", linewidth=0.6)
    names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in labels[chosen]]
    axes.set_yticks(places, names, fontsize=6)
    axes.tick_params(axis="y", length=0, pad=1)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.locator_params(axis="x", nbins=4)
