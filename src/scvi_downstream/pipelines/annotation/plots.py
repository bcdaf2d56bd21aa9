"""Figures of the cell types: labels and predictions, their scores, clusters and their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.label_split import GIVEN, HELD_OUT
from scvi_downstream.pipelines.annotation.scores import CONSENSUS
from scvi_downstream.plots.charts import draw_intervals, heat_map
from scvi_downstream.plots.panels import panel_grid, umap_panel
from scvi_downstream.plots.style import (
    DIVERGING,
    MISSING,
    OKABE_ITO,
    column_colors,
    empty_figure,
    new_figure,
    point_size,
)
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData, Axes, AxesImage, Figure

METHOD_TITLES = {
    CONSENSUS: "Consensus",
    "scanvi": "scANVI",
    "knn": "Nearest neighbours",
    "clusters": "Cluster majority",
}
# Colour and marker of probabilities before and after calibration.
STAGES = {"raw": ("#888888", "s"), "calibrated": (OKABE_ITO[0], "o")}
VERDICTS = {
    "held out, wrong": OKABE_ITO[3],
    "held out, not called": OKABE_ITO[1],
    "held out, right": OKABE_ITO[0],
    "label given": "#DDDDDD",
    "no label": MISSING,
}
OTHERS = "other types"
COLORMAP = "Blues"
# What is still legible: types in a legend, labels in a row, panels of types, numbers in cells of heat maps.
MOST_TYPES, MOST_LABELS, MOST_TYPES_BY_METHOD = 40, 60, 25
MOST_NUMBERS, MOST_SHARES, MOST_SHARES_BY_CLUSTER = 400, 12, 20
# Standard deviations beyond which colours do not differ: one extreme marker must not pale all others.
LARGEST_COLORED = 8.0


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
    counts, keys
        obs holds the labels of the same cells, ``label_key``.
    cell_types, annotation_scores
        Table of the consensus, and its scores on held-out cells.
    """
    if "cell_type_agreement" not in cell_types:
        return empty_figure(annotation_scores["sentences"][0])
    table = cell_types.loc[umap.index]
    labels = counts.obs.loc[umap.index, keys.label_key]
    colors = column_colors(counts, str(keys.label_key)) | {UNKNOWN: MISSING, OTHERS: MISSING}
    calls = table["cell_type_predicted"]
    labelled, called = (int((types.astype(str) != UNKNOWN).sum()) for types in (labels, calls))
    title = f"{keys.label_key}: {labelled:,} of {len(labels):,} cells have a label"
    called_title = f"Consensus: {called:,} of {len(labels):,} cells are called"
    verdicts = _verdicts(table, labels)
    figure, (known, predicted, sure, found) = panel_grid(4, columns=2, width=6, height=4.2)
    xy = umap.to_numpy()
    umap_panel(known, xy, _largest_types(labels), title, colors=colors)
    umap_panel(predicted, xy, _largest_types(calls), called_title, colors=colors)
    umap_panel(sure, xy, table["cell_type_probability"], "Probability of the best type", label="probability")
    umap_panel(found, xy, verdicts, _held_out_title(annotation_scores), colors=VERDICTS)
    _draw_held_out(found, xy, verdicts.to_numpy())
    return figure


def _largest_types(values: pd.Series) -> pd.Series:
    """At most 40 types, the smaller ones under one name."""
    texts = values.astype(str)
    sizes = texts.value_counts()
    if len(sizes) <= MOST_TYPES:
        return values
    return texts.where(texts.isin([*sizes.index[: MOST_TYPES - 1], UNKNOWN]), OTHERS)


def _verdicts(table: pd.DataFrame, labels: pd.Series) -> pd.Series:
    """One of ``VERDICTS`` of each cell."""
    role = table["cell_type_role"].astype(str)
    predicted = table["cell_type_predicted"].astype(str)
    held_out = role == HELD_OUT
    cases = {
        "held out, not called": held_out & (predicted == UNKNOWN),
        "held out, right": held_out & (predicted == labels.astype(str)),
        "held out, wrong": held_out,
        "label given": role == GIVEN,
    }
    verdicts = np.select(list(cases.values()), list(cases), default="no label")
    return pd.Series(pd.Categorical(verdicts, categories=list(VERDICTS)), index=table.index)


def _draw_held_out(axes: Axes, xy: np.ndarray, verdicts: np.ndarray) -> None:
    """Held-out cells again on top, the wrong ones last: there may be few of them among many."""
    for verdict in (name for name in reversed(VERDICTS) if name.startswith("held out")):
        x, y = xy[verdicts == verdict].T
        axes.scatter(x, y, s=2 * point_size(len(xy)), c=VERDICTS[verdict], linewidths=0, rasterized=True)


def _held_out_title(scores: dict[str, Any]) -> str:
    if CONSENSUS not in scores:
        return "No label was held out"
    return f"{scores['n_held_out']:,} held-out cells: {scores[CONSENSUS]['accuracy']:.1%} right when all are called"


def plot_cluster_names(
    marker_scores: pd.DataFrame, cluster_names: pd.DataFrame, naming_summary: Mapping[str, Any]
) -> Figure:
    """Heat map of clusters × types: how far markers exceed random genes; the chosen name is framed.

    Parameters
    ----------
    marker_scores, cluster_names
        ``cluster``, ``type``, ``z``, ``fdr``; ``cluster``, ``name``, ``best_type``, ``n_cells``.
    naming_summary
        ``n_named``, ``n_clusters``.
    """
    from matplotlib.patches import Rectangle

    scores = marker_scores.assign(cluster=marker_scores["cluster"].astype(str))
    names = cluster_names.assign(cluster=cluster_names["cluster"].astype(str))
    clusters, types = names["cluster"].tolist(), list(dict.fromkeys(scores["type"]))
    table = scores.pivot_table(index="cluster", columns="type", values="z").loc[clusters, types]
    z = table.to_numpy()
    figure = new_figure(3.4 + 0.55 * len(types), 1.9 + 0.32 * len(clusters))
    axes = figure.subplots()
    limit = float(np.clip(np.abs(z).max(), 1, LARGEST_COLORED))
    image = heat_map(
        axes, table, limits=(-limit, limit), cmap=DIVERGING, rotation=40,
        texts=table.map("{:.1f}".format) if z.size <= MOST_NUMBERS else None,
    )  # fmt: skip
    for row, (name, best) in enumerate(zip(names["name"], names["best_type"], strict=True)):
        if name != UNKNOWN:
            corner = (types.index(best) - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, linewidth=1.8, edgecolor="black"))
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(clusters)), [str(name) for name in names["name"]])
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)
    title = f"{naming_summary['n_named']} of {naming_summary['n_clusters']} clusters named (framed)"
    axes.set(xlabel="type in the marker table", ylabel="cluster", title=title)
    label = "markers against random genes\n(standard deviations)"
    extend = "both" if np.abs(z).max() > limit else "neither"
    figure.colorbar(image, ax=axes, label=label, extend=extend, shrink=0.8, pad=0.02)
    return figure


def plot_confusion(annotation_confusion: pd.DataFrame, annotation_scores: dict[str, Any]) -> Figure:
    """Share of each true type that was predicted as each type, one panel a method, every cell called.

    Parameters
    ----------
    annotation_confusion, annotation_scores
        ``method, true, predicted, n``; scores by method.
    """
    if annotation_confusion.empty:
        return empty_figure(annotation_scores["sentences"][0])
    pairs = annotation_confusion
    types = sorted(set(pairs["true"]) | set(pairs["predicted"]))
    methods = [name for name in METHOD_TITLES if name in set(pairs["method"])]
    if len(types) > MOST_TYPES_BY_METHOD:
        methods = methods[:1]
    side = max(2.6, 0.36 * len(types) if len(types) <= MOST_SHARES else 0.2 * len(types))
    label_width = 0.075 * max(len(name) for name in types)
    figure, panels = panel_grid(
        len(methods), columns=2 if len(methods) == len(METHOD_TITLES) else len(methods),
        width=side, height=side + 0.7, more_width=label_width + 1.6, more_height=label_width + 0.5,
        sharex=True, sharey=True,
    )  # fmt: skip
    for axes, method in zip(panels, methods, strict=True):
        image = _draw_confusion(axes, pairs[pairs["method"] == method], types)
        score = annotation_scores[method]
        right = f"{score['accuracy']:.1%} right, macro F1 {score['macro_f1']:.2f}"
        axes.set_title(f"{METHOD_TITLES[method]}\n{right}")
    figure.supxlabel("Predicted type")
    figure.supylabel("True type")
    figure.colorbar(image, ax=panels, label="share of the true type (%)", shrink=0.6, pad=0.02)
    return figure


def _draw_confusion(axes: Axes, pairs: pd.DataFrame, types: list[str]) -> AxesImage:
    counted = pairs.pivot(index="true", columns="predicted", values="n").reindex(index=types, columns=types)
    totals = counted.sum(axis=1)
    shares = 100 * counted.fillna(0).div(totals.where(totals > 0), axis=0)
    few = len(types) <= MOST_SHARES
    return heat_map(
        axes, shares, limits=(0, 100), cmap=COLORMAP, aspect="equal",
        texts=shares.map(_share_text) if few else None,
    )  # fmt: skip


def _share_text(share: float) -> str:
    return f"{share:.0f}" if share >= 0.5 else ""


def plot_calibration(annotation_calibration: pd.DataFrame, annotation_scores: dict[str, Any]) -> Figure:
    """Accuracy against probability of held-out cells, before and after calibration, one column a method.

    Parameters
    ----------
    annotation_calibration, annotation_scores
        ``method, probabilities (raw or calibrated), low, high, confidence, accuracy, accuracy_low, accuracy_high, n``;
        scores by method.
    """
    table = annotation_calibration
    if table.empty:
        return empty_figure(annotation_scores["sentences"][0])
    methods = [name for name in METHOD_TITLES if name in set(table["method"])]
    figure = new_figure(2.9 * len(methods) + 0.4, 4.5)
    upper, lower = figure.subplots(
        2, len(methods), squeeze=False, height_ratios=(3, 1), sharex=True, sharey="row"
    )
    for curve, cells, method in zip(upper, lower, methods, strict=True):
        own = table[table["method"] == method]
        _draw_curve(curve, own)
        _draw_cells(cells, own)
        curve.set_title(_calibration_title(method, annotation_scores[method]))
        cells.set_xlabel("probability of the best type")
    upper[0].set_ylabel("share of cells that are right\n(bars: 95 % interval)")
    lower[0].set_ylabel("cells (%)")
    upper[0].legend(loc="upper left", handletextpad=0.3)
    return figure


def _calibration_title(method: str, score: dict[str, float]) -> str:
    after = f"{score['ece']:.3f} ({score['ece_low']:.3f} to {score['ece_high']:.3f})"
    errors = f"ECE {after}" if "temperature" not in score else f"ECE {score['ece_raw']:.3f} → {after}"
    return f"{METHOD_TITLES[method]}\n{errors}"


def _draw_curve(axes: Axes, table: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color="#666666", lw=0.8, ls=":")
    for stage, own in table.groupby("probabilities", sort=False):
        area = 12 + 60 * own["n"] / own["n"].sum()
        color, marker = STAGES[str(stage)]
        points = own["confidence"], own["accuracy"]
        axes.plot(*points, color=color, lw=0.8, alpha=0.6)
        axes.scatter(*points, s=area, marker=marker, color=color, label=stage)
    low, high = own["accuracy_low"], own["accuracy_high"]  # of the stage that is used, the last one
    draw_intervals(axes, *points, low, high, vertical=True, fmt="none", color=color, lw=0.8)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.04))
    axes.grid(color="#EEEEEE")
    axes.set_axisbelow(True)


def _draw_cells(axes: Axes, table: pd.DataFrame) -> None:
    """Where the probabilities lie, as used: calibrated ones where there are any."""
    stage = table["probabilities"].iloc[-1]
    own = table[table["probabilities"] == stage]
    shares = 100 * own["n"] / own["n"].sum()
    width, color = own["high"] - own["low"], STAGES[stage][0]
    axes.bar(own["low"], shares, width=width, align="edge", color=color, edgecolor="white")


def plot_label_contingency(label_contingency: pd.DataFrame, label_agreement: pd.DataFrame) -> Figure:
    """Share of each cluster's labelled cells by label; labels in the order of the clusters that they fill.

    Parameters
    ----------
    label_contingency, label_agreement
        ``clustering, cluster, label, n, share_of_cluster``; agreement by ``clustering``.
    """
    if label_contingency.empty:
        return empty_figure("No cell has a label to compare the clusters with.")
    name = str(label_contingency["clustering"].iloc[0])
    clusters = list(dict.fromkeys(label_contingency["cluster"]))
    sizes = label_contingency.groupby("cluster")["n"].sum()
    kept = label_contingency.groupby("label")["n"].sum().nlargest(MOST_LABELS).index
    shares = label_contingency.pivot(index="cluster", columns="label", values="share_of_cluster")
    shares = 100 * shares.reindex(index=clusters, columns=kept).fillna(0)
    shares = shares[sorted(kept, key=lambda label: (int(np.argmax(shares[label].to_numpy())), label))]
    width = 0.42 * shares.shape[1] + 2.6
    height = 0.3 * len(clusters) + 0.075 * max(len(str(label)) for label in kept) + 1.2
    figure = new_figure(max(width, 5.5), max(height, 2.8))
    axes = figure.subplots()
    shares.index = [f"{cluster} ({sizes[cluster]:,})" for cluster in clusters]
    texts = shares.map(_share_text) if max(shares.shape) <= MOST_SHARES_BY_CLUSTER else None
    image = heat_map(axes, shares, limits=(0, 100), cmap=COLORMAP, texts=texts)
    title = _contingency_title(name, label_agreement)
    axes.set(xlabel="label", ylabel=f"{name} cluster (labelled cells)", title=title)
    figure.colorbar(image, ax=axes, label="share of the cluster (%)", shrink=0.8, pad=0.02)
    return figure


def _contingency_title(name: str, agreement: pd.DataFrame) -> str:
    own = agreement[agreement["clustering"] == name]
    if own.empty:
        return f"{name} and labels"
    row = own.iloc[0]
    return (
        f"{name} and labels: ARI {row['ari']:.2f}, NMI {row['nmi']:.2f}\n"
        f"homogeneity {row['homogeneity']:.2f}, completeness {row['completeness']:.2f}"
    )
