"""True against predicted types of held-out cells."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = AxesImage = Any

METHOD_TITLES = {
    "consensus": "Consensus",
    "scanvi": "scANVI",
    "knn": "Nearest neighbours",
    "clusters": "Cluster majority",
}
COLORMAP = "Blues"
MOST_WRITTEN = 12
MOST_PANELS_OF = 25


def plot_confusion(annotation_confusion: pd.DataFrame, annotation_scores: dict[str, Any]) -> Figure:
    """Share of each true type that was predicted as each type, one panel a method, every cell called.

    Parameters
    ----------
    annotation_confusion
        ``method, true, predicted, n``.
    annotation_scores
        Scores by method.
    """
    if annotation_confusion.empty:
        return empty_figure(annotation_scores["sentences"][0])
    pairs = annotation_confusion
    types = sorted(set(pairs["true"]) | set(pairs["predicted"]))
    methods = [name for name in METHOD_TITLES if name in set(pairs["method"])]
    if len(types) > MOST_PANELS_OF:
        methods = methods[:1]
    side = max(2.6, 0.36 * len(types) if len(types) <= MOST_WRITTEN else 0.2 * len(types))
    n_columns = 2 if len(methods) == len(METHOD_TITLES) else len(methods)
    n_rows = ceil(len(methods) / n_columns)
    label_width = 0.075 * max(len(name) for name in types)
    figure = new_figure(n_columns * side + label_width + 1.6, n_rows * (side + 0.7) + label_width + 0.5)
    grid = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True, sharey=True)
    for axes, method in zip(grid.ravel(), methods, strict=True):
        image = _draw(axes, pairs[pairs["method"] == method], types)
        score = annotation_scores[method]
        right = f"{score['accuracy']:.1%} right, macro F1 {score['macro_f1']:.2f}"
        axes.set_title(f"{METHOD_TITLES[method]}\n{right}", fontsize=9)
    figure.supxlabel("Predicted type", fontsize=9)
    figure.supylabel("True type", fontsize=9)
    figure.colorbar(image, ax=grid, label="share of the true type (%)", shrink=0.6, pad=0.02)
    return figure


def _draw(axes: Axes, pairs: pd.DataFrame, types: list[str]) -> AxesImage:
    counted = pairs.pivot(index="true", columns="predicted", values="n").reindex(index=types, columns=types)
    totals = counted.sum(axis=1).to_numpy()[:, None]
    shares = 100 * counted.fillna(0).to_numpy() / np.where(totals > 0, totals, np.nan)
    image = axes.imshow(shares, cmap=COLORMAP, vmin=0, vmax=100, aspect="equal", interpolation="nearest")
    size = 8 if len(types) <= MOST_WRITTEN else 6
    axes.set_xticks(range(len(types)), types, rotation=90, fontsize=size)
    axes.set_yticks(range(len(types)), types, fontsize=size)
    axes.tick_params(length=0)
    if len(types) <= MOST_WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.5:
                color = "white" if share > 55 else "black"
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=color)
    return image
