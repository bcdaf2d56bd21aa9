"""How near each method's prediction comes to what is measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.plots.style import (
    MISSING,
    OKABE_ITO,
    category_colors,
    empty_figure,
    label_points,
    new_figure,
)
from scvi_downstream.runtime.errors import InputError, closest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    Axes = Figure = Any


LABELS = {
    "scvi": "scVI",
    "mrvi": "MrVI",
    "mean_shift": "mean shift",
    "pooled_shift": "mean shift of all types",
    "target_mean": "training target mean",
    "scvi_unchanged": "scVI, no change",
    "mrvi_unchanged": "MrVI, no change",
    "no_change": "no change",
    "measured_half": "another measured half",
}
COLORS = {
    "scvi": OKABE_ITO[0],
    "mrvi": OKABE_ITO[2],
    "mean_shift": OKABE_ITO[1],
    "pooled_shift": OKABE_ITO[3],
    "target_mean": OKABE_ITO[4],
    "scvi_unchanged": MISSING,
    "mrvi_unchanged": MISSING,
    "no_change": MISSING,
    "measured_half": OKABE_ITO[6],
}
MODELS = ("scvi", "mrvi")
NOTHING = "Nothing was predicted; the summary of the prediction says why."


def in_order(methods: Iterable[str]) -> list[str]:
    """Models first, then baselines, then what a second measurement achieves."""
    there = set(methods)
    return [name for name in LABELS if name in there]


PANELS = (
    ("delta_pearson", "Correlation of predicted and\nmeasured change (all genes)"),
    ("delta_pearson_top", "Correlation of the change\n(genes that change most)"),
    ("rmse", "RMSE of log expression\n(all genes, lower is better)"),
    ("rmse_top", "RMSE of log expression\n(genes that change most, lower is better)"),
)
MAX_GROUPS = 12
ALL_GROUPS = "all groups"


def plot_prediction_scores(prediction_scores: pd.DataFrame, prediction_groups: pd.DataFrame) -> Figure:
    """One row a target condition, one panel a score: a dot and a 95 % interval a method and cell type.

    Parameters
    ----------
    prediction_scores
        One row a target, group, method and score, with ``value``, ``ci_lower``, ``ci_upper``.
    prediction_groups
        One row a target and group, with the numbers of cells.
    """
    if prediction_scores.empty:
        return empty_figure(NOTHING)
    targets = list(prediction_groups["target"].astype(str).unique())
    methods = in_order(prediction_scores["method"].astype(str))
    sizes = prediction_groups.groupby("group", observed=True)["n_target"].sum()
    groups = [str(name) for name in sizes.sort_values(ascending=False, kind="stable").index[:MAX_GROUPS]]
    colors = category_colors(groups) | {ALL_GROUPS: "#222222"}
    height = len(methods) * (0.3 + 0.075 * (len(groups) + 1)) + 1.1
    figure = new_figure(15, height * len(targets) + 0.4)
    panels = figure.subplots(len(targets), len(PANELS), squeeze=False)
    for row, target in zip(panels, targets, strict=True):
        of_target = prediction_scores[prediction_scores["target"].astype(str) == target]
        for axes, (score, label) in zip(row, PANELS, strict=True):
            _draw(axes, of_target[of_target["score"] == score], methods, groups, colors)
            axes.set_xlabel(label)
        row[0].set_yticks(range(len(methods)), [LABELS[method] for method in methods])
        row[0].set_title(f"in '{target}'", loc="left")
        for axes in row[1:]:
            axes.set_yticks(range(len(methods)), [])
    shown = [name for name in groups if name in set(prediction_scores["group"].astype(str))]
    handles = [
        panels[0][0].scatter([], [], s=25, color=colors[name], label=_named(name, sizes))
        for name in [ALL_GROUPS, *shown]
    ]
    left = len(sizes) - len(groups)
    title = f"cells measured{f'; {left} smaller types not drawn' if left else ''}"
    figure.legend(handles=handles, loc="outside right center", title=title)
    figure.suptitle("Predicted expression against held-out cells (95 % intervals)")
    return figure


def _named(name: str, sizes: pd.Series) -> str:
    return "mean of all types" if name == ALL_GROUPS else f"{name} ({int(sizes[name])})"


def _draw(
    axes: Axes, scores: pd.DataFrame, methods: list[str], groups: list[str], colors: dict[str, str]
) -> None:
    places = np.linspace(-0.36, 0.36, len(groups) + 1)
    for name, place in zip([ALL_GROUPS, *groups], places, strict=True):
        rows = scores[scores["group"].astype(str) == name].set_index("method")
        there = [method for method in methods if method in rows.index]
        if not there:
            continue
        rows = rows.loc[there]
        value = rows["value"].to_numpy()
        reach = np.maximum([value - rows["ci_lower"], rows["ci_upper"] - value], 0)
        axes.errorbar(
            value,
            [methods.index(method) + place for method in there],
            xerr=reach,
            fmt="D" if name == ALL_GROUPS else "o",
            ms=5 if name == ALL_GROUPS else 3.5,
            lw=1.6 if name == ALL_GROUPS else 0.8,
            color=colors[name],
        )
    for position in set(range(len(methods))) - {methods.index(name) for name in scores["method"].astype(str)}:
        axes.text(
            0.5,
            position,
            "undefined",
            transform=axes.get_yaxis_transform(),
            ha="center",
            va="center",
            color="#888888",
            fontsize=8,
        )
    for position in range(1, len(methods)):
        axes.axhline(position - 0.5, color="#EEEEEE", lw=0.8)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


MAX_CHANGES, NAMES_PER_PANEL = 3, 12
BASELINES = ("mean_shift", "target_mean")


def plot_prediction_changes(predicted_expression: pd.DataFrame, prediction_scores: pd.DataFrame) -> Figure:
    """Rows: the best model and the baseline; columns: the types with most responding genes, of each target.

    Parameters
    ----------
    predicted_expression
        One row a target, group and gene, with ``change``, ``responds`` and ``<method>_change``.
    prediction_scores
        The best model has the highest ``delta_pearson`` over all groups.
    """
    if predicted_expression.empty:
        return empty_figure(NOTHING)
    found = [name for name in BASELINES if f"{name}_change" in predicted_expression]
    methods = [_best_model(predicted_expression, prediction_scores), *found[:1]]
    columns = _columns(predicted_expression)
    if not columns:
        return empty_figure("No gene responds in any cell type, so there is no change to predict.")
    figure = new_figure(4.1 * len(columns) + 0.4, 3.9 * len(methods) + 0.5)
    panels = figure.subplots(len(methods), len(columns), squeeze=False)
    tables = [
        predicted_expression[
            (predicted_expression["target"].astype(str) == target)
            & (predicted_expression["group"].astype(str) == group)
        ]
        for target, group in columns
    ]
    for row, method in zip(panels, methods, strict=True):
        for axes, table, (target, group) in zip(row, tables, columns, strict=True):
            _draw_changes(axes, table, method)
            axes.set_title(f"{group}, {target}")
        row[0].set_ylabel(f"{LABELS[method]}: predicted change")
    for axes in panels[-1]:
        axes.set_xlabel("measured change of log(1 + counts per 10,000)")
    figure.suptitle("Change of mean expression in held-out cells; coloured: genes that respond")
    figure.draw_without_rendering()
    for row, method in zip(panels, methods, strict=True):
        for axes, table in zip(row, tables, strict=True):
            _name_genes(axes, table, method)
    return figure


def _best_model(expression: pd.DataFrame, scores: pd.DataFrame) -> str:
    models = [name for name in MODELS if f"{name}_change" in expression]
    rows = scores[(scores["group"] == ALL_GROUPS) & (scores["score"] == "delta_pearson")]
    means = rows.groupby("method", observed=True)["value"].mean().reindex(models)
    return str(means.idxmax()) if means.notna().any() else models[0]


def _columns(expression: pd.DataFrame) -> list[tuple[str, str]]:
    counts = expression.groupby(["target", "group"], observed=True)["responds"].sum()
    counts = counts[counts > 0].sort_values(ascending=False, kind="stable")
    return [(str(target), str(group)) for target, group in counts.index[:MAX_CHANGES]]


def _draw_changes(axes: Axes, table: pd.DataFrame, method: str) -> None:
    measured, predicted = table["change"].to_numpy(), table[f"{method}_change"].to_numpy()
    responds = table["responds"].to_numpy(dtype=bool)
    for chosen, color, size in ((~responds, MISSING, 5), (responds, COLORS[method], 10)):
        axes.scatter(measured[chosen], predicted[chosen], s=size, c=color, linewidths=0, rasterized=True)
    low, high = (np.nanmin([measured, predicted]), np.nanmax([measured, predicted]))
    margin = 0.08 * (high - low)
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="#666666", lw=0.8, ls=":")
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.axhline(0, color="#DDDDDD", lw=0.6, zorder=0)
    axes.axvline(0, color="#DDDDDD", lw=0.6, zorder=0)
    if np.std(predicted) > 0 and np.std(measured) > 0:
        r = np.corrcoef(measured, predicted)[0, 1]
        axes.text(0.98, 0.02, f"r = {r:.2f}", transform=axes.transAxes, ha="right", va="bottom")


def _name_genes(axes: Axes, table: pd.DataFrame, method: str) -> None:
    responding = table[table["responds"].to_numpy(dtype=bool)]
    order = responding["change"].abs().sort_values(ascending=False, kind="stable").index[:NAMES_PER_PANEL]
    top = responding.loc[order]
    columns = ["change", f"{method}_change"]
    label_points(axes, top[columns].to_numpy(), top["symbol"].tolist(), avoid=table[columns].to_numpy())


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
        _draw_genes(axes, table.loc[genes], methods)
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


def _draw_genes(axes: Axes, table: pd.DataFrame, methods: list[str]) -> None:
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
