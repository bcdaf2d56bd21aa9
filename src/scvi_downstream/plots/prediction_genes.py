"""Predicted and measured expression of the genes that respond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError, closest
from scvi_downstream.parameters.prediction import PredictionOptions
from scvi_downstream.plots.prediction_methods import COLORS, LABELS, NOTHING, in_order
from scvi_downstream.plots.style import empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Axes = Figure = Any

MAX_ROWS = 4
MEASURED, SOURCE = "#222222", "#DDDDDD"


def plot_prediction_genes(predicted_expression: pd.DataFrame, options: PredictionOptions) -> Figure:
    """Bars of source, measured and predicted expression with 95 % intervals, one row a cell type.

    Parameters
    ----------
    predicted_expression
        One row a target, group and gene.
    options
        ``genes``, by name or symbol; empty: the ``n_figure_genes`` with the largest mean measured change of those
        that respond.

    Raises
    ------
    InputError
        A named gene is not modelled.
    """
    if predicted_expression.empty:
        return empty_figure(NOTHING)
    genes = _chosen(predicted_expression, options)
    if not genes:
        return empty_figure("No gene responds in any cell type; name some with prediction.genes.")
    responders = predicted_expression.groupby(["target", "group"], observed=True)["responds"].sum()
    rows = responders.sort_values(ascending=False, kind="stable").index[:MAX_ROWS]
    methods = [name for name in in_order(predicted_expression.columns) if name != "no_change"]
    figure = new_figure(2.6 + len(genes) * (0.45 + 0.17 * len(methods)), 1.9 * len(rows) + 0.9)
    panels = figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (target, group) in zip(panels, rows, strict=True):
        table = predicted_expression[
            (predicted_expression["target"] == target) & (predicted_expression["group"] == group)
        ].set_index("gene")
        _draw(axes, table.loc[genes], methods)
        axes.set_title(f"{group}, {target}", loc="left", fontsize=9)
    symbols = predicted_expression.drop_duplicates("gene").set_index("gene")["symbol"].loc[genes]
    panels[-1].set_xticks(range(len(genes)), symbols.tolist(), style="italic")
    figure.supylabel("log(1 + counts per 10,000)", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    figure.suptitle(
        "Genes that respond: predicted and measured means of held-out cells (95 % intervals)", fontsize=10
    )
    return figure


def _chosen(expression: pd.DataFrame, options: PredictionOptions) -> list[str]:
    if options.genes:
        names = expression.drop_duplicates("gene")
        by_name = {str(gene): str(gene) for gene in names["gene"]}
        by_symbol = {
            str(symbol): str(gene) for gene, symbol in zip(names["gene"], names["symbol"], strict=True)
        }
        known = {**by_symbol, **by_name}
        for name in options.genes:
            if name not in known:
                raise InputError(
                    f"prediction.genes: '{name}' is not among the modelled genes{closest(name, known)}"
                )
        return [known[name] for name in options.genes]
    responding = expression[expression["responds"].to_numpy(dtype=bool)]
    n_groups = len(expression[["target", "group"]].drop_duplicates())
    sizes = responding["change"].abs().groupby(responding["gene"].astype(str)).sum() / n_groups
    return sizes.sort_values(ascending=False, kind="stable").index[: options.n_figure_genes].tolist()


def _draw(axes: Axes, table: pd.DataFrame, methods: list[str]) -> None:
    bars = [("source", SOURCE, "source, measured"), ("measured", MEASURED, "target, measured")]
    bars += [(method, COLORS[method], LABELS[method]) for method in methods]
    width = 0.84 / len(bars)
    for place, (column, color, label) in enumerate(bars):
        x = np.arange(len(table)) + (place - (len(bars) - 1) / 2) * width
        value = table[column].to_numpy(dtype=float)
        error = None
        if f"{column}_lower" in table:
            low, high = (table[f"{column}_{end}"].to_numpy(dtype=float) for end in ("lower", "upper"))
            error = np.maximum([value - low, high - value], 0)
        axes.bar(
            x, value, width, yerr=error, color=color, label=label,
            error_kw={"elinewidth": 0.7, "ecolor": "#888888" if column == "measured" else "#444444"},
        )  # fmt: skip
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(table) - 0.4)
