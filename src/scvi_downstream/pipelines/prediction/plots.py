"""How near predictions come to what is measured: scores, changes of genes, and genes that respond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.prediction.comparison import CHOSEN, MEAN_SHIFT, NO_CHANGE, TARGET_MEAN
from scvi_downstream.pipelines.prediction.options import PredictionOptions
from scvi_downstream.pipelines.prediction.scores import ALL_GROUPS, best_model
from scvi_downstream.plots.charts import draw_intervals
from scvi_downstream.plots.panels import joint_legend, legend_dots, panel_grid
from scvi_downstream.plots.style import (
    MISSING,
    OKABE_ITO,
    category_colors,
    column_colors,
    empty_figure,
    label_points,
    new_figure,
)
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

STYLES = {
    CHOSEN: ("chosen by the other types", OKABE_ITO[5]),
    "scvi": ("scVI", OKABE_ITO[0]),
    "mrvi": ("MrVI", OKABE_ITO[2]),
    "mean_shift": ("mean shift", OKABE_ITO[1]),
    "pooled_shift": ("mean shift of all types", OKABE_ITO[3]),
    "target_mean": ("training target mean", OKABE_ITO[4]),
    "scvi_unchanged": ("scVI, no change", MISSING),
    "mrvi_unchanged": ("MrVI, no change", MISSING),
    "no_change": ("no change", MISSING),
    "measured_half": ("another measured half", OKABE_ITO[6]),
}
"""Label and colour: what the choice is worth, models, baselines, then what a second measurement achieves."""
NOTHING = "Nothing was predicted; the summary of the prediction says why."


PANELS = (
    ("delta_pearson", "Correlation of predicted\nand measured change\n(all genes)"),
    ("delta_pearson_top", "Correlation of\nthe change (genes\nthat change most)"),
    ("explained", "Share of the measured\nchange that is explained\n(all genes)"),
    ("rmse_top", "RMSE of log expression\n(genes that change most,\nlower is better)"),
)
MAX_GROUPS, MAX_CHANGES, MAX_ROWS = 12, 3, 4
NAMES_PER_PANEL = 12
MEASURED, SOURCE = "#222222", "#DDDDDD"


def in_order(methods: Iterable[str]) -> list[str]:
    """The methods among these, in the order of :data:`STYLES`."""
    there = set(methods)
    return [name for name in STYLES if name in there]


def plot_prediction_scores(
    prediction_scores: pd.DataFrame, prediction_groups: pd.DataFrame, counts: AnnData, keys: Keys
) -> Figure:
    """One row a target condition, one panel a score: a dot and a 95 % interval a method and cell type.

    Parameters
    ----------
    prediction_scores
        One row a target, group, method and score, with ``value``, ``ci_lower``, ``ci_upper``.
    prediction_groups
        One row a target and group, with the numbers of cells.
    counts, keys
        Say which colours the groups, labels of ``label_key``, have.
    """
    if prediction_scores.empty:
        return empty_figure(NOTHING)
    targets = list(prediction_groups["target"].astype(str).unique())
    methods = in_order(prediction_scores["method"].astype(str))
    sizes = prediction_groups.groupby("group", observed=True)["n_target"].sum()
    groups = [str(name) for name in sizes.sort_values(ascending=False, kind="stable").index[:MAX_GROUPS]]
    known = column_colors(counts, keys.label_key) if keys.label_key else category_colors(groups)
    colors = {ALL_GROUPS: "#222222"} | {name: known[name] for name in groups}
    height = len(methods) * (0.3 + 0.075 * (len(groups) + 1)) + 1.1
    n = len(PANELS)
    figure, panels = panel_grid(n * len(targets), columns=n, width=15 / n, height=height, more_height=0.4)
    rows = [panels[start : start + n] for start in range(0, len(panels), n)]
    for row, target in zip(rows, targets, strict=True):
        of_target = prediction_scores[prediction_scores["target"].astype(str) == target]
        for axes, (score, label) in zip(row, PANELS, strict=True):
            _draw_scores(axes, of_target[of_target["score"] == score], methods, colors)
            axes.set_xlabel(label)
            axes.locator_params(axis="x", nbins=5)
        row[0].set_yticks(range(len(methods)), [STYLES[method][0] for method in methods])
        row[0].set_title(f"in '{target}'", loc="left")
    drawn = set(prediction_scores["group"].astype(str))
    legend = {"mean of all types": colors[ALL_GROUPS]}
    legend |= {f"{name} ({int(sizes[name])})": colors[name] for name in groups if name in drawn}
    left = len(sizes) - len(groups)
    title = f"cells measured{f'; {left} smaller types not drawn' if left else ''}"
    figure.legend(handles=legend_dots(panels[0], legend, size=25), loc="outside right center", title=title)
    figure.suptitle("Predicted expression against held-out cells (95 % intervals)")
    return figure


def _draw_scores(axes: Axes, scores: pd.DataFrame, methods: list[str], colors: Mapping[str, str]) -> None:
    position = {method: i for i, method in enumerate(methods)}
    places = np.linspace(-0.36, 0.36, len(colors))
    for (name, color), place in zip(colors.items(), places, strict=True):
        rows = scores[scores["group"].astype(str) == name]
        rows = rows.set_index(rows["method"].astype(str)).reindex(methods).dropna(subset="value")
        fmt, ms, lw = ("D", 5, 1.6) if name == ALL_GROUPS else ("o", 3.5, 0.8)
        y = [position[method] + place for method in rows.index]
        found = (rows[name] for name in ("value", "ci_lower", "ci_upper"))
        draw_intervals(axes, y, *found, fmt=fmt, ms=ms, lw=lw, color=color)
    for method in set(methods) - set(scores["method"].astype(str)):
        axes.text(
            0.5, position[method], "undefined", transform=axes.get_yaxis_transform(),
            ha="center", va="center", color="#888888", fontsize="small",
        )  # fmt: skip
    axes.set_yticks(range(len(methods)), [])
    for row in range(1, len(methods)):
        axes.axhline(row - 0.5, color="#EEEEEE", lw=0.8)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def plot_prediction_changes(predicted_expression: pd.DataFrame, prediction_scores: pd.DataFrame) -> Figure:
    """Rows: what is delivered, best model or baseline; columns: types with most responding genes, of each target.

    Parameters
    ----------
    predicted_expression
        One row a target, group and gene, with ``change``, ``responds``, ``predictor`` and ``<method>_change``.
    prediction_scores
        The best model has the highest ``delta_pearson`` over all groups.
    """
    if predicted_expression.empty:
        return empty_figure(NOTHING)
    found = [name for name in (MEAN_SHIFT, TARGET_MEAN) if f"{name}_change" in predicted_expression]
    delivered = [str(name) for name in predicted_expression["predictor"].mode() if name != NO_CHANGE]
    methods = list(dict.fromkeys([*delivered[:1], best_model(prediction_scores), *found]))[:2]
    columns = _most_responding(predicted_expression, MAX_CHANGES, least=1)
    if not columns:
        return empty_figure("No gene responds in any cell type, so there is no change to predict.")
    n, size = len(columns), {"width": 4.1, "height": 3.9, "more_width": 0.4, "more_height": 0.5}
    figure, panels = panel_grid(len(methods) * n, columns=n, **size)
    drawn = []
    for axes, (method, (target, group)) in zip(panels, product(methods, columns), strict=True):
        table = _of_group(predicted_expression, target, group)
        _draw_changes(axes, table, method)
        axes.set_title(f"{group}, {target}")
        drawn.append((axes, table, method))
    for axes, method in zip(panels[::n], methods, strict=True):
        axes.set_ylabel(f"{STYLES[method][0]}: predicted change")
    for axes in panels[-n:]:
        axes.set_xlabel("measured change of log(1 + counts per 10,000)")
    figure.suptitle("Change of mean expression in held-out cells; coloured: genes that respond")
    for axes, table, method in drawn:
        _name_genes(axes, table, method)
    return figure


def _of_group(expression: pd.DataFrame, target: str, group: str) -> pd.DataFrame:
    of_target = expression[expression["target"].astype(str) == target]
    return of_target[of_target["group"].astype(str) == group]


def _most_responding(expression: pd.DataFrame, most: int, *, least: int) -> list[tuple[str, str]]:
    """Targets and types with the most genes that respond, those with fewer than ``least`` left out."""
    counts = expression.groupby(["target", "group"], observed=True)["responds"].sum()
    counts = counts[counts >= least].sort_values(ascending=False, kind="stable")
    return [(str(target), str(group)) for target, group in counts.index[:most]]


def _draw_changes(axes: Axes, table: pd.DataFrame, method: str) -> None:
    measured, predicted = table["change"].to_numpy(), table[f"{method}_change"].to_numpy()
    responds = table["responds"].to_numpy(dtype=bool)
    for chosen, color, size in ((~responds, MISSING, 5), (responds, STYLES[method][1], 10)):
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
    genes = _choose_genes(predicted_expression, options)
    if not genes:
        return empty_figure("No gene responds in any cell type; name some with prediction.genes.")
    rows = _most_responding(predicted_expression, MAX_ROWS, least=0)
    methods = [name for name in in_order(predicted_expression.columns) if name != NO_CHANGE]
    figure = new_figure(2.6 + len(genes) * (0.45 + 0.17 * len(methods)), 1.9 * len(rows) + 0.9)
    panels = figure.subplots(len(rows), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (target, group) in zip(panels, rows, strict=True):
        table = _of_group(predicted_expression, target, group).set_index("gene")
        _draw_genes(axes, table.loc[genes], methods)
        axes.set_title(f"{group}, {target}", loc="left")
    symbols = predicted_expression.drop_duplicates("gene").set_index("gene")["symbol"].loc[genes]
    panels[-1].set_xticks(range(len(genes)), symbols.tolist(), style="italic")
    figure.supylabel("log(1 + counts per 10,000)")
    joint_legend([panels[0]], loc="outside right center")
    title = "Genes that respond: predicted and measured means of held-out cells (95 % intervals)"
    figure.suptitle(title)
    return figure


def _choose_genes(expression: pd.DataFrame, options: PredictionOptions) -> list[str]:
    if options.genes:
        names = expression.drop_duplicates("gene")
        genes, symbols = names["gene"].astype(str), names["symbol"].astype(str)
        known = dict(zip(symbols, genes, strict=True)) | dict(zip(genes, genes, strict=True))
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
    bars += [(method, STYLES[method][1], STYLES[method][0]) for method in methods]
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
