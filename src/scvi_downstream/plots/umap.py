"""Rotatable UMAPs: cells in space, with a menu of colourings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import MISSING, SEQUENTIAL, category_colors, draw_order

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

DECIMALS = 2
"""Of the coordinates: finer ones make the page heavier and nothing clearer."""
MOST_POINTS = 30_000
"""Cells that a browser turns without stutter."""


def thinned(umap_3d: pd.DataFrame) -> pd.DataFrame:
    """At most 30,000 cells (a fixed random sample) with rounded coordinates, float32: the page stays light."""
    drawn = np.sort(draw_order(len(umap_3d))[:MOST_POINTS])
    return umap_3d.iloc[drawn].round(DECIMALS).astype(np.float32)


def colour_page(
    panels: Mapping[str, Sequence[Any]], title: str, *, n_drawn: int, n_cells: int, **legend: Any
) -> Figure:
    """A page on which a menu shows the traces of one colouring at a time.

    Parameters
    ----------
    panels
        Name of the colouring → its traces, as of :func:`scatter_3d`.
    title
        Of the page; where not all cells are drawn, their number is added.
    n_drawn, n_cells
        Cells that are drawn, of all.
    legend
        Plotly's settings of the legend, besides its title.
    """
    import plotly.graph_objects as go

    owners = [name for name, traces in panels.items() for _ in traces]
    traces = [trace for own in panels.values() for trace in own]
    for trace, owner in zip(traces, owners, strict=True):
        trace.visible = owner == owners[0]
    shown = "" if n_drawn == n_cells else f" ({n_drawn:,} of {n_cells:,} cells)"
    axis = {"showticklabels": False, "showspikes": False, "backgroundcolor": "white", "gridcolor": "#E5E5E5"}
    scene = {f"{side}axis": axis | {"title": f"UMAP {i + 1}"} for i, side in enumerate("xyz")}
    figure = go.Figure(traces)
    figure.update_layout(
        title=title + shown,
        template="plotly_white",
        legend={"title": {"text": owners[0] if owners else ""}, "itemsizing": "constant"} | legend,
        scene=scene | {"aspectmode": "data"},
        updatemenus=[_colour_menu(list(panels), owners)] if panels else [],
        margin={"l": 0, "r": 0, "t": 60, "b": 0},
        height=720,
    )
    return figure


def _colour_menu(titles: list[str], owners: list[str]) -> dict[str, Any]:
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


def by_category(drawn: pd.DataFrame, hover: pd.Series, values: pd.Series) -> list[Any]:
    """A trace of cells for each category, and one for those without; ``hover`` is what their labels say."""
    colors = category_colors(list(values.cat.categories))
    chosen = [(name, color, values == name) for name, color in colors.items()]
    chosen.append(("missing", MISSING, values.isna()))
    return [
        scatter_3d(drawn[mask], hover[mask], {"color": color}, name)
        for name, color, mask in chosen
        if mask.any()
    ]


def by_value(drawn: pd.DataFrame, hover: pd.Series, values: pd.Series, title: str) -> Any:
    """Trace of cells coloured by a number, with a colour bar; ``hover`` is what their labels say."""
    marker = {
        "color": values.round(3).to_numpy(np.float32),
        "colorscale": SEQUENTIAL.capitalize(),
        "colorbar": {"title": {"text": title, "side": "right"}, "len": 0.6},
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
