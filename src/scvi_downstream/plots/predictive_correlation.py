"""Gene–gene correlations of observed and of generated counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.predictive_sources import SOURCE_NAMES
from scvi_downstream.plots.style import DIVERGING, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

_SHOWN = ("model", "population", "nb")
_MOST_LIMIT = 0.95


def plot_predictive_correlation(
    predictive_correlations: pd.DataFrame, predictive_checks: pd.DataFrame
) -> Figure:
    """Correlations of the most variable genes: observed, and as three sources generate them; below, pair by pair.

    Genes are in the order of a hierarchical clustering of the observed correlations.

    Parameters
    ----------
    predictive_correlations
        One row a pair of genes.
    predictive_checks
        With the agreement of each source.
    """
    if len(predictive_correlations) < 3:
        return empty_figure("Fewer than three genes were modelled: there are no correlations to compare.")
    matrices = {name: _matrix(predictive_correlations, name) for name in ("observed", *_SHOWN)}
    order = _order(matrices["observed"])
    limit = float(np.clip(np.quantile(np.abs(predictive_correlations["observed"]), 0.99), 0.1, _MOST_LIMIT))
    figure = new_figure(12, 6)
    panels = figure.subplots(2, len(matrices), height_ratios=(1, 1))
    for axes, (name, matrix) in zip(panels[0], matrices.items(), strict=True):
        image = axes.imshow(
            matrix[np.ix_(order, order)], cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest"
        )
        axes.set(
            title="observed" if name == "observed" else SOURCE_NAMES[name],
            xticks=[],
            yticks=[],
            xlabel="genes",
        )
    figure.colorbar(image, ax=panels[0], label="correlation of log counts", shrink=0.85, aspect=18, pad=0.01)
    panels[0, 0].set_ylabel(f"{len(order)} most variable genes")
    panels[1, 0].set_axis_off()
    panels[1, 0].text(
        0.0, 0.75, _explained(predictive_checks), va="top", fontsize=8, transform=panels[1, 0].transAxes
    )
    for axes, name in zip(panels[1, 1:], _SHOWN, strict=True):
        _draw_pairs(axes, predictive_correlations, name, _agreement(predictive_checks, name))
    panels[1, 1].set_ylabel("generated correlation\n(mean of the draws)")
    return figure


def _explained(checks: pd.DataFrame) -> str:
    model = _agreement(checks, "model")
    return (
        "Right: one pair of genes a point.\n"
        "Correlations of few cells are noisy:\n"
        "one set of the model's own draws\n"
        f"agrees with their mean by r = {model['expected']:.2f}."
    )


def _agreement(checks: pd.DataFrame, source: str) -> pd.Series:
    chosen = (
        (checks["check"] == "correlation_agreement")
        & (checks["source"] == source)
        & (checks["cells"] == "held-out")
    )
    return checks[chosen].iloc[0]


def _matrix(pairs: pd.DataFrame, column: str) -> np.ndarray:
    n_genes = round((1 + np.sqrt(1 + 8 * len(pairs))) / 2)
    matrix = np.eye(n_genes)
    above = np.triu_indices(n_genes, 1)
    matrix[above] = pairs[column].to_numpy(dtype=np.float64)
    return matrix + np.triu(matrix, 1).T


def _order(matrix: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import pdist

    distances = pdist(matrix)
    return leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))


def _draw_pairs(axes: Axes, pairs: pd.DataFrame, source: str, agreement: pd.Series) -> None:
    low, high = float(pairs["observed"].min()), float(pairs["observed"].max())
    axes.plot([low, high], [low, high], color="#222222", lw=0.8, ls=":")
    axes.hexbin(
        pairs["observed"], pairs[source], gridsize=45, bins="log", cmap="viridis", mincnt=1, linewidths=0
    )
    axes.set(xlabel="observed correlation", title=f"r = {agreement['observed']:.2f}")
