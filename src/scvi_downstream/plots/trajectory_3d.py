"""Interactive trajectory in space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import MISSING, draw_order
from scvi_downstream.plots.trajectory_lines import TrajectoryLines
from scvi_downstream.plots.umap_3d import DECIMALS, MOST_POINTS, by_value, colour_menu, scatter_3d

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LINE = "#111111"
START = "#D55E00"
SIDES = "xyz"


def plot_trajectory_3d(
    umap_3d: pd.DataFrame,
    pseudotimes: pd.DataFrame,
    *,
    lines: Mapping[str, TrajectoryLines] | None = None,
    start: Sequence[str] = (),
    time: pd.Series | None = None,
) -> Figure:
    """Rotatable scatter of pseudotime with what the method has learnt; the menu changes the method.

    Parameters
    ----------
    umap_3d
        ``n_cells`` × ``UMAP1`` … ``UMAP3``; at most 30,000 of them are drawn.
    pseudotimes, lines, start, time
        As in :func:`.trajectory_umap.plot_trajectory`, lines on this layout.
    """
    import plotly.graph_objects as go

    drawn = umap_3d.iloc[np.sort(draw_order(len(umap_3d))[:MOST_POINTS])].round(DECIMALS).astype(np.float32)
    hover = drawn.index.to_series().astype(str)
    panels = {
        str(name).replace("_", " "): pseudotimes[name]
        for name in pseudotimes
        if pseudotimes[name].notna().any()
    }
    overlays = {str(name).replace("_", " "): each for name, each in (lines or {}).items()}
    if time is not None:
        panels[f"known time: {time.name}"] = time
    traces: list[Any] = []
    owners: list[str] = []
    for title, values in panels.items():
        aligned = values.reindex(drawn.index).astype(np.float64)
        known = aligned.notna().to_numpy()
        new = [by_value(drawn[known], hover[known], aligned[known], title)]
        if not known.all():
            new.append(scatter_3d(drawn[~known], hover[~known], {"color": MISSING}, "not reached"))
        if title in overlays:
            new += _draw_lines(overlays[title])
        new += _draw_start(umap_3d, start)
        traces += new
        owners += [title] * len(new)
    for trace, owner in zip(traces, owners, strict=True):
        trace.visible = owner == owners[0]
    figure = go.Figure(traces)
    shown = "" if len(drawn) == len(umap_3d) else f" ({len(drawn):,} of {len(umap_3d):,} cells)"
    axis = {"showticklabels": False, "showspikes": False, "backgroundcolor": "white", "gridcolor": "#E5E5E5"}
    figure.update_layout(
        title=f"Pseudotime in three dimensions{shown}"
        if panels
        else "No trajectory: no cell has a pseudotime",
        template="plotly_white",
        legend={
            "title": {"text": owners[0] if owners else ""},
            "itemsizing": "constant",
            "x": 0.01,
            "y": 0.8,
        },
        scene={f"{side}axis": axis | {"title": f"UMAP {i + 1}"} for i, side in enumerate(SIDES)}
        | {"aspectmode": "data"},
        updatemenus=[colour_menu(list(panels), owners)] if panels else [],
        margin={"l": 0, "r": 0, "t": 60, "b": 0},
        height=720,
    )
    return figure


def _draw_lines(overlay: TrajectoryLines) -> list[Any]:
    """All lines as one trace, with gaps between them, and the names."""
    import plotly.graph_objects as go

    columns = [f"UMAP{i + 1}" for i in range(3)]
    parts = [
        np.vstack([rows[columns].to_numpy(np.float64), np.full((1, 3), np.nan)])
        for _, rows in overlay.lines.groupby("line", sort=False)
    ]
    traces = []
    if parts:
        places = np.vstack(parts).round(DECIMALS)
        traces.append(
            go.Scatter3d(
                **dict(zip(SIDES, places.T, strict=True)),
                mode="lines",
                name=overlay.meaning,
                hoverinfo="skip",
                line={"color": LINE, "width": 5},
            )
        )
    if len(overlay.names):
        traces.append(
            go.Scatter3d(
                **dict(
                    zip(SIDES, overlay.names[columns].to_numpy(np.float64).T.round(DECIMALS), strict=True)
                ),
                mode="text",
                text=overlay.names["name"].astype(str).tolist(),
                hoverinfo="skip",
                showlegend=False,
                textfont={"color": LINE, "size": 12},
            )
        )
    return traces


def _draw_start(umap_3d: pd.DataFrame, start: Sequence[str]) -> list[Any]:
    """The start cell nearest to the middle of all of them."""
    import plotly.graph_objects as go

    places = umap_3d[umap_3d.index.isin(list(start))].to_numpy(np.float64)
    if not len(places):
        return []
    place = places[np.linalg.norm(places - np.median(places, axis=0), axis=1).argmin()].round(DECIMALS)
    return [
        go.Scatter3d(
            **{side: [place[i]] for i, side in enumerate(SIDES)},
            mode="markers",
            name="start",
            hoverinfo="name",
            marker={"symbol": "diamond", "size": 9, "color": START},
        )
    ]
