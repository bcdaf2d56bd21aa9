"""Interactive UMAP in space, with a menu of colourings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import EmbeddingOptions, Keys
from scvi_downstream.plots.colorings import colorings
from scvi_downstream.plots.style import MISSING, SEQUENTIAL, category_colors, draw_order

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

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
