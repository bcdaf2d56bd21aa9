"""Interactive UMAP in space, with a menu of colourings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.plots.style import MISSING, SEQUENTIAL, category_colors, draw_order
from scvi_downstream.runtime.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure


MOST_CATEGORIES = 40


def colorings(
    counts: AnnData, qc_metrics: pd.DataFrame, keys: Keys, options: EmbeddingOptions
) -> dict[str, pd.Series]:
    """Title → one value a cell, categorical or float, in the order of the figures.

    Parameters
    ----------
    counts
        obs holds the keys and ``options.color_by``.
    qc_metrics
        ``n_counts`` and ``mitochondrial_percent`` of the same cells.
    keys
        The study's obs columns.
    options
        ``color_by`` names more columns of obs or of ``qc_metrics``.

    Returns
    -------
    At most 40 categories a column: the smaller ones are joined as ``other``, and the title says so.

    Raises
    ------
    InputError
        When a column of ``color_by`` does not exist.
    """
    quality = qc_metrics.reindex(counts.obs_names)
    quality = quality[[name for name in quality.columns if name not in counts.obs]]
    known = pd.concat([counts.obs, quality], axis=1)
    for name in options.color_by:
        if name not in known:
            raise InputError(f"embedding.color_by '{name}' is not in obs{closest(name, known.columns)}")
    names = [keys.batch_key, keys.label_key, keys.condition_key, keys.sample_key]
    chosen = dict.fromkeys([*filter(None, names), *keys.categorical_covariates, *keys.continuous_covariates])
    columns = {name: known[name] for name in (*chosen, *options.color_by)}
    drawn = dict(_drawable(name, values) for name, values in columns.items())
    if "n_counts" in qc_metrics and "n_counts" not in drawn:
        counted = qc_metrics["n_counts"].reindex(counts.obs_names)
        drawn["counts per cell (log10)"] = np.log10(counted.astype(float).clip(lower=1))
    if "mitochondrial_percent" in qc_metrics and qc_metrics["mitochondrial_percent"].notna().any():
        drawn["mitochondrial counts (%)"] = (
            qc_metrics["mitochondrial_percent"].reindex(counts.obs_names).astype(float)
        )
    return drawn


def _drawable(name: str, values: pd.Series) -> tuple[str, pd.Series]:
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if is_number:
        return name, values.astype(float)
    labels = values.astype("category").cat.remove_unused_categories()
    if len(labels.cat.categories) <= MOST_CATEGORIES:
        return name, labels.cat.rename_categories(labels.cat.categories.astype(str))
    largest = labels.value_counts(sort=True).index[: MOST_CATEGORIES - 1].astype(str)
    text = labels.astype(str)
    joined = text.where(text.isin(largest), "other")
    title = f"{name} ({MOST_CATEGORIES - 1} largest of {len(labels.cat.categories)})"
    return title, pd.Series(pd.Categorical(joined, categories=[*largest, "other"]), index=values.index)


DECIMALS = 2
MOST_POINTS = 30_000


def plot_umap_3d(
    umap_3d: pd.DataFrame, counts: AnnData, qc_metrics: pd.DataFrame, keys: Keys, options: EmbeddingOptions
) -> Figure:
    """Rotatable scatter; the menu changes the colouring, the legend hides and isolates categories.

    Coordinates are rounded and at most 30,000 cells (a fixed random sample) drawn: the page stays light.

    Parameters
    ----------
    umap_3d
        `n_cells` × ``UMAP1`` … ``UMAP3``.
    counts
        obs of the same cells.
    qc_metrics
        Quality of the same cells.
    keys
        The study's obs columns.
    options
        ``color_by`` adds columns.

    Raises
    ------
    InputError
        When a column of ``color_by`` does not exist.
    """
    import plotly.graph_objects as go

    drawn = umap_3d.iloc[np.sort(draw_order(len(umap_3d))[:MOST_POINTS])].round(DECIMALS).astype(np.float32)
    hover = drawn.index.to_series().astype(str)
    if keys.label_key:
        hover = hover + "<br>" + counts.obs[keys.label_key].reindex(drawn.index).astype(str)
    panels = colorings(counts, qc_metrics, keys, options) or {"cells": pd.Series(0.0, index=drawn.index)}
    traces: list[Any] = []
    owners: list[str] = []
    for title, values in panels.items():
        aligned = values.reindex(drawn.index)
        categorical = isinstance(aligned.dtype, pd.CategoricalDtype)
        new = _by_category(drawn, hover, aligned) if categorical else [by_value(drawn, hover, aligned, title)]
        traces += new
        owners += [title] * len(new)
    for trace, owner in zip(traces, owners, strict=True):
        trace.visible = owner == owners[0]
    figure = go.Figure(traces)
    shown = "" if len(drawn) == len(umap_3d) else f" ({len(drawn):,} of {len(umap_3d):,} cells)"
    axis = {"showticklabels": False, "showspikes": False, "backgroundcolor": "white", "gridcolor": "#E5E5E5"}
    figure.update_layout(
        title=f"UMAP in three dimensions{shown}",
        template="plotly_white",
        legend={"title": {"text": owners[0]}, "itemsizing": "constant"},
        scene={f"{side}axis": axis | {"title": f"UMAP {i + 1}"} for i, side in enumerate("xyz")}
        | {"aspectmode": "data"},
        updatemenus=[colour_menu(list(panels), owners)],
        margin={"l": 0, "r": 0, "t": 60, "b": 0},
        height=720,
    )
    return figure


def _by_category(drawn: pd.DataFrame, hover: pd.Series, values: pd.Series) -> list[Any]:
    names = list(values.cat.categories)
    colors = category_colors(names)
    traces = [
        scatter_3d(drawn[chosen], hover[chosen], {"color": colors[name]}, name)
        for name in names
        if (chosen := (values == name).to_numpy()).any()
    ]
    missing = values.isna().to_numpy()
    return (
        [*traces, scatter_3d(drawn[missing], hover[missing], {"color": MISSING}, "missing")]
        if missing.any()
        else traces
    )


def by_value(drawn: pd.DataFrame, hover: pd.Series, values: pd.Series, title: str) -> Any:
    """Trace of cells coloured by a number, with a colour bar; ``hover`` is what their labels say."""
    bar = {"title": {"text": title, "side": "right"}, "len": 0.6}
    marker = {
        "color": values.round(3).to_numpy(np.float32),
        "colorscale": SEQUENTIAL.capitalize(),
        "colorbar": bar,
    }
    return scatter_3d(drawn, hover, marker, title, showlegend=False)


def scatter_3d(
    drawn: pd.DataFrame, hover: pd.Series, marker: dict[str, Any], name: str, **settings: Any
) -> Any:
    """Trace of cells at ``drawn`` (``UMAP1`` … ``UMAP3``); ``settings`` are Plotly's."""
    import plotly.graph_objects as go

    value = "<br>%{marker.color}" if "colorbar" in marker else ""
    return go.Scatter3d(
        **{side: drawn[f"UMAP{i + 1}"].to_numpy() for i, side in enumerate("xyz")},
        mode="markers",
        name=name,
        text=hover.tolist(),
        hovertemplate=f"%{{text}}{value}<extra>%{{fullData.name}}</extra>",
        marker=marker | {"size": 3 if len(drawn) < 5000 else 2},
        **settings,
    )


def colour_menu(titles: list[str], owners: list[str]) -> dict[str, Any]:
    """Menu that shows the traces of one title at a time; ``owners`` names the title of each trace."""
    buttons = [
        {
            "label": title,
            "method": "update",
            "args": [{"visible": [owner == title for owner in owners]}, {"legend.title.text": title}],
        }
        for title in titles
    ]
    return {"buttons": buttons, "x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top", "showactive": True}
