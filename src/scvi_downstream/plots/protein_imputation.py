"""Imputed proteins against measured ones, beside nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, draw_order, empty_figure, new_figure, point_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METHODS = {
    "totalvi": ("totalVI", OKABE_ITO[0], "o"),
    "knn_latent": ("neighbours in its latent", OKABE_ITO[2], "s"),
    "knn_pca": ("neighbours in PCA of RNA", OKABE_ITO[1], "D"),
}
_MOST_PROTEINS = 40


def plot_protein_imputation(
    protein_imputation: pd.DataFrame, protein_imputed: pd.DataFrame, protein_summary: dict[str, Any]
) -> Figure:
    """One row a held-out batch: correlations by protein with intervals, and the imputed against measured values.

    Parameters
    ----------
    protein_imputation
        Scores by held-out batch, protein and method.
    protein_imputed
        Measured and imputed log1p counts by cell.
    protein_summary
        Says why there are none.
    """
    if protein_imputation.empty:
        return empty_figure(
            f"The imputation of proteins was not scored:\n{protein_summary['imputation_reason']}"
        )
    batches = list(dict.fromkeys(protein_imputation["held_out"]))
    most = max(min(protein_imputation.groupby("held_out")["protein"].nunique().max(), _MOST_PROTEINS), 4)
    figure = new_figure(11.5, (0.26 * most + 1.6) * len(batches) + 0.6)
    grid = figure.subplots(len(batches), 2, squeeze=False, width_ratios=(1.5, 1))
    for row, batch in zip(grid, batches, strict=True):
        scores = protein_imputation[protein_imputation["held_out"] == batch]
        values = protein_imputed[protein_imputed["held_out"] == batch]
        kind = "" if scores["kind"].iloc[0] == "batch" else f", {scores['kind'].iloc[0]}"
        _draw_scores(
            row[0], scores, f"Proteins of '{batch}'{kind} hidden ({scores['n_cells'].iloc[0]:,} cells)"
        )
        _draw_values(row[1], values, scores)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels))
    return figure


def _draw_scores(axes: Axes, scores: pd.DataFrame, title: str) -> None:
    own = scores[scores["method"] == "totalvi"].sort_values("pearson", ascending=False, kind="stable")
    proteins = own["protein"].head(_MOST_PROTEINS).tolist()
    for i, (method, (label, color, marker)) in enumerate(_METHODS.items()):
        rows = scores[scores["method"] == method].set_index("protein").loc[proteins]
        y = np.arange(len(proteins)) + (i - 1) * 0.24
        axes.hlines(y, rows["pearson_lower"], rows["pearson_upper"], color=color, linewidth=1)
        axes.scatter(rows["pearson"], y, s=18, c=color, marker=marker, label=label, zorder=3)
    axes.axvline(0, color="#888888", linewidth=0.8, linestyle="--", label="the protein's mean")
    axes.set_yticks(np.arange(len(proteins)), proteins)
    axes.set(
        ylim=(len(proteins) - 0.5, -0.5), title=title,
        xlabel="Pearson's r with measured log1p counts (95 % interval over cells)",
    )  # fmt: skip


def _draw_values(axes: Axes, values: pd.DataFrame, scores: pd.DataFrame) -> None:
    order = draw_order(len(values))
    _, color, _ = _METHODS["totalvi"]
    axes.scatter(
        values["measured"].to_numpy()[order], values["totalvi"].to_numpy()[order],
        s=point_size(len(values)), c=color, alpha=0.35, linewidths=0, rasterized=True,
    )  # fmt: skip
    top = float(values[["measured", "totalvi"]].to_numpy().max())
    axes.plot([0, top], [0, top], color="#888888", linewidth=0.8, linestyle="--")
    median = scores.loc[scores["method"] == "totalvi", "pearson"].median()
    axes.set(
        title=f"All proteins; median r {median:.2f} within a protein",
        xlabel="measured, log1p counts", ylabel="totalVI, log1p expected counts\n(on the scale of the other batches)",
    )  # fmt: skip
