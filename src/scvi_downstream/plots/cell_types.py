"""Known and predicted cell types on the UMAP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import UNKNOWN, Keys
from scvi_downstream.plots.style import (
    MISSING,
    OKABE_ITO,
    bare_umap_axes,
    category_colors,
    empty_figure,
    new_figure,
    point_size,
    scatter_categories,
    scatter_values,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    AnnData = Axes = Figure = Any

HELD_OUT, GIVEN = "held_out", "given"
MOST_TYPES = 40
WRONG = "held out, wrong"
_VERDICTS = {
    WRONG: OKABE_ITO[3],
    "held out, not called": OKABE_ITO[1],
    "held out, right": OKABE_ITO[0],
    "label given": "#DDDDDD",
    "no label": MISSING,
}


def plot_cell_types(
    umap: pd.DataFrame,
    counts: AnnData,
    cell_types: pd.DataFrame,
    annotation_scores: dict[str, Any],
    keys: Keys,
) -> Figure:
    """Labels, consensus, its probability, and where held-out labels were found again.

    Parameters
    ----------
    umap
        `n_cells` × ``UMAP1``, ``UMAP2``.
    counts
        obs holds the labels of the same cells.
    cell_types
        Table of the consensus.
    annotation_scores
        Scores of the consensus on held-out cells.
    keys
        ``label_key``.
    """
    if "cell_type_agreement" not in cell_types:
        return empty_figure(annotation_scores["sentences"][0])
    table = cell_types.loc[umap.index]
    labels = counts.obs.loc[umap.index, keys.label_key]
    names = [str(name) for name in labels.astype("category").cat.remove_unused_categories().cat.categories]
    colors = category_colors([name for name in names if name != UNKNOWN] + [UNKNOWN])
    labelled = int((labels.astype(str) != UNKNOWN).sum())
    called = int((table["cell_type_predicted"].astype(str) != UNKNOWN).sum())
    figure = new_figure(12, 8.4)
    (known, predicted), (sure, found) = figure.subplots(2, 2)
    xy = umap.to_numpy()
    scatter_categories(known, xy, _largest(labels), colors=colors | {_OTHERS: MISSING})
    scatter_categories(
        predicted, xy, _largest(table["cell_type_predicted"]), colors=colors | {_OTHERS: MISSING}
    )
    scatter_values(sure, xy, table["cell_type_probability"].to_numpy(), "probability")
    scatter_categories(found, xy, _verdicts(table, labels), colors=_VERDICTS)
    _draw_again(found, xy, table, labels)
    bare_umap_axes(known, f"{keys.label_key}: {labelled:,} of {len(labels):,} cells have a label")
    bare_umap_axes(predicted, f"Consensus: {called:,} of {len(labels):,} cells are called")
    bare_umap_axes(sure, "Probability of the best type")
    bare_umap_axes(found, _title(annotation_scores))
    return figure


_OTHERS = "other types"


def _largest(values: pd.Series) -> pd.Series:
    """At most 40 types, the smaller ones under one name."""
    texts = values.astype(str)
    sizes = texts.value_counts()
    if len(sizes) <= MOST_TYPES:
        return values
    return texts.where(texts.isin([*sizes.index[: MOST_TYPES - 1], UNKNOWN]), _OTHERS)


def _verdicts(table: pd.DataFrame, labels: pd.Series) -> pd.Series:
    role = table["cell_type_role"].astype(str)
    predicted = table["cell_type_predicted"].astype(str)
    outcome = np.where(
        predicted == UNKNOWN,
        "held out, not called",
        np.where(predicted == labels.astype(str), "held out, right", WRONG),
    )
    rest = np.where(role == GIVEN, "label given", "no label")
    verdicts = np.where(role == HELD_OUT, outcome, rest)
    return pd.Series(pd.Categorical(verdicts, categories=list(_VERDICTS)), index=table.index)


def _draw_again(axes: Axes, xy: np.ndarray, table: pd.DataFrame, labels: pd.Series) -> None:
    """Held-out cells on top, the wrong ones last: there may be few of them among many."""
    verdicts = _verdicts(table, labels).to_numpy()
    for verdict in (name for name in reversed(_VERDICTS) if name.startswith("held out")):
        x, y = xy[verdicts == verdict].T
        axes.scatter(x, y, s=2 * point_size(len(xy)), c=_VERDICTS[verdict], linewidths=0, rasterized=True)


def _title(scores: dict[str, Any]) -> str:
    if "consensus" not in scores:
        return "No label was held out"
    return f"{scores['n_held_out']:,} held-out cells: {scores['consensus']['accuracy']:.1%} right when all are called"
