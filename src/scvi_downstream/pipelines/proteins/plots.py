"""Proteins on the UMAP, by group, as distributions, and imputed beside measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import PROTEIN_KEY, Keys
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.plots.charts import dot_plot, draw_intervals, legend_areas
from scvi_downstream.plots.panels import joint_legend, name_rows, panel_grid, umap_panel
from scvi_downstream.plots.style import OKABE_ITO, draw_order, empty_figure, new_figure, point_size
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

_LARGEST_DOT = 160.0
_MOST, _MOST_IMPUTED = 12, 40
"""Proteins that fit into a figure of panels, and into a panel of rows."""
_BINS = 40
_NOTHING = "there are no proteins to draw"
_METHODS = {
    "totalvi": ("totalVI", OKABE_ITO[0], "o"),
    "knn_latent": ("neighbours in its latent", OKABE_ITO[2], "s"),
    "knn_pca": ("neighbours in PCA of RNA", OKABE_ITO[1], "D"),
}


def choose_proteins(protein_markers: pd.DataFrame, counts: AnnData, options: ProteinsOptions) -> list[str]:
    """Names of the proteins to draw: those that the user named, else those that mark a group most.

    Raises
    ------
    InputError
        A name is not among the proteins.
    """
    names = [str(name) for name in counts.obsm[PROTEIN_KEY].columns]
    for name in options.proteins:
        if name not in names:
            raise InputError(f"proteins.proteins: there is no protein '{name}'{closest(name, names)}")
    if options.proteins:
        return list(options.proteins)
    strongest = protein_markers.groupby("protein")["lfc_median"].max().astype(float)
    return sorted(names, key=lambda name: -strongest.get(name, 0.0))[: options.top_proteins]


def plot_protein_markers(
    counts: AnnData,
    clusters: pd.DataFrame,
    protein_expression: pd.DataFrame,
    protein_foreground: pd.DataFrame,
    protein_markers: pd.DataFrame,
    keys: Keys,
    options: ProteinsOptions,
) -> Figure:
    """Dots: colour is the group's mean denoised protein, area the mean probability of the foreground.

    Parameters
    ----------
    counts, clusters
        Labels of the ``n_cells`` cells, or clusters where there are no labels.
    protein_expression, protein_foreground
        ``n_cells`` × ``n_proteins``.
    protein_markers, keys, options
        Say which proteins are drawn, and the labels.
    """
    groups = counts.obs[keys.label_key] if keys.label_key else clusters.loc[counts.obs_names, "leiden"]
    names = choose_proteins(protein_markers, counts, options)
    labels = groups.astype("category").cat.remove_unused_categories()
    if not names or len(labels.cat.categories) == 0:
        return empty_figure(_NOTHING)
    labels = labels.astype(str)
    logged = np.log1p(protein_expression.loc[groups.index, names])
    means = logged.groupby(labels.to_numpy()).mean()
    shares = protein_foreground.loc[groups.index, names].groupby(labels.to_numpy()).mean()
    lowest, highest = means.min(), means.max()
    scaled = (means - lowest) / (highest - lowest).where(highest > lowest, 1.0)
    width = max(len(names) * 0.42, 2.0)
    margin = 0.09 * max(len(name) for name in means.index)
    figure = new_figure(width + margin + 2.6, max(0.32 * len(means) + 2.2, 4.4))
    axes = figure.subplots()
    dots = dot_plot(axes, scaled, shares, largest=_LARGEST_DOT)
    axes.set(title="Denoised proteins by group", ylabel=str(groups.name) if groups.name else "group")
    figure.colorbar(dots, ax=axes, label="mean log1p denoised,\nlowest to highest group", shrink=0.9)
    handles = legend_areas(axes, {"10 %": 0.1, "50 %": 0.5, "100 %": 1.0}, largest=_LARGEST_DOT)
    title = "mean probability\nof foreground"
    figure.legend(handles=handles, title=title, loc="outside lower center", ncols=3)
    return figure


def plot_protein_distributions(
    counts: AnnData,
    protein_expression: pd.DataFrame,
    protein_foreground: pd.DataFrame,
    protein_markers: pd.DataFrame,
    options: ProteinsOptions,
) -> Figure:
    """Histograms of log1p of the counts, parted by whether they are of the foreground, and of the denoised values.

    Parameters
    ----------
    counts
        With proteins; cells with no count of any of them are left out.
    protein_expression, protein_foreground
        ``n_cells`` × ``n_proteins``.
    protein_markers, options
        Say which proteins are drawn; the first twelve are.
    """
    proteins = counts.obsm[PROTEIN_KEY]
    measured = proteins.to_numpy().sum(axis=1) > 0
    names = choose_proteins(protein_markers, counts, options)[:_MOST]
    if not names or not measured.any():
        return empty_figure(_NOTHING)
    figure, panels = panel_grid(
        len(names), columns=4, width=2.7, height=2.1, more_height=0.7, least_width=5.5
    )
    for axes, name in zip(panels, names, strict=True):
        counted = np.log1p(proteins[name].to_numpy(dtype=np.float64)[measured])
        without = np.log1p(protein_expression.loc[proteins.index, name].to_numpy(dtype=np.float64)[measured])
        is_foreground = protein_foreground.loc[proteins.index, name].to_numpy()[measured] > 0.5
        bins = np.linspace(0, max(counted.max(), without.max(), 1e-6), _BINS + 1).tolist()
        axes.hist(
            [counted[~is_foreground], counted[is_foreground]], bins, stacked=True, color=["#BBBBBB", OKABE_ITO[0]],
            label=["counted, background", "counted, foreground (probability above 0.5)"],
        )  # fmt: skip
        axes.hist(without, bins, histtype="step", color=OKABE_ITO[3], linewidth=1.4, label="denoised")
        # most cells have none left, which would flatten the rest
        axes.set_ylim(0, 1.1 * max(np.histogram(counted, bins)[0].max(), 1))
        axes.set(title=name, xlabel="log1p of counts", ylabel="cells")
    joint_legend(panels[:1], loc="outside lower center", ncols=3 if len(names) > 2 else 1)
    return figure


def plot_protein_imputation(
    protein_imputation: pd.DataFrame, protein_imputed: pd.DataFrame, protein_summary: dict[str, Any]
) -> Figure:
    """One row a held-out batch: correlations by protein with intervals, and the imputed against measured values.

    Parameters
    ----------
    protein_imputation, protein_imputed
        Scores by held-out batch, protein and method; measured and imputed log1p counts by cell.
    protein_summary
        Says why there are none.
    """
    if protein_imputation.empty:
        reason = protein_summary["imputation_reason"]
        return empty_figure(f"The imputation of proteins was not scored:\n{reason}")
    batches = list(dict.fromkeys(protein_imputation["held_out"]))
    most = max(min(protein_imputation.groupby("held_out")["protein"].nunique().max(), _MOST_IMPUTED), 4)
    size = {"width": 5.75, "height": 0.26 * most + 1.6, "more_height": 0.6}
    figure, panels = panel_grid(2 * len(batches), columns=2, **size, width_ratios=(1.5, 1))
    for left, right, batch in zip(panels[::2], panels[1::2], batches, strict=True):
        scores = protein_imputation[protein_imputation["held_out"] == batch]
        values = protein_imputed[protein_imputed["held_out"] == batch]
        kind = "" if scores["kind"].iloc[0] == "batch" else f", {scores['kind'].iloc[0]}"
        n_cells = scores["n_cells"].iloc[0]
        _draw_scores(left, scores, f"Proteins of '{batch}'{kind} hidden ({n_cells:,} cells)")
        _draw_values(right, values, scores)
    joint_legend(panels[:1], loc="outside lower left", ncols=10)
    return figure


def _draw_scores(axes: Axes, scores: pd.DataFrame, title: str) -> None:
    own = scores[scores["method"] == "totalvi"].sort_values("pearson", ascending=False, kind="stable")
    proteins = own["protein"].head(_MOST_IMPUTED).tolist()
    for i, (method, (label, color, marker)) in enumerate(_METHODS.items()):
        rows = scores[scores["method"] == method].set_index("protein").loc[proteins]
        y = np.arange(len(proteins)) + (i - 1) * 0.24
        draw_intervals(
            axes, y, rows["pearson"], rows["pearson_lower"], rows["pearson_upper"],
            fmt=marker, ms=4.7, lw=1, color=color, label=label,
        )  # fmt: skip
    axes.axvline(0, color="#888888", linewidth=0.8, linestyle="--", label="the protein's mean")
    name_rows(axes, proteins, margin=0.5)
    axes.set(title=title, xlabel="Pearson's r with measured log1p counts (95 % interval over cells)")


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


def plot_protein_umap(
    umap: pd.DataFrame,
    counts: AnnData,
    protein_expression: pd.DataFrame,
    protein_markers: pd.DataFrame,
    options: ProteinsOptions,
) -> Figure:
    """Two panels a protein: log1p of the counts, and of the denoised value without background.

    Parameters
    ----------
    umap
        ``n_cells`` × 2.
    counts
        With proteins; a cell with no count of any of them was not measured and is grey.
    protein_expression
        ``n_cells`` × ``n_proteins``, denoised.
    protein_markers, options
        Say which proteins are drawn; the first twelve are.
    """
    proteins = counts.obsm[PROTEIN_KEY]
    names = choose_proteins(protein_markers, counts, options)[:_MOST]
    if not names:
        return empty_figure(_NOTHING)
    figure, panels = panel_grid(
        2 * len(names), columns=4, width=2.7, height=2.5, more_height=0.3, gridspec_kw={"wspace": 0.08}
    )
    xy = umap.loc[proteins.index].to_numpy()
    measured = proteins.to_numpy().sum(axis=1) > 0
    counted = np.log1p(proteins[names].astype(np.float64))
    without = np.log1p(protein_expression.loc[proteins.index, names].astype(np.float64))
    for name, left, right in zip(names, panels[::2], panels[1::2], strict=True):
        umap_panel(left, xy, counted[name].where(measured), f"{name}: counted", label="log1p")
        umap_panel(right, xy, without[name], f"{name}: denoised", label="log1p")
    if not measured.all():
        figure.supxlabel("grey: proteins not measured", color="#555555")
    return figure
