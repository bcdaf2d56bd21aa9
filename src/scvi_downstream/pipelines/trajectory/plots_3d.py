"""Interactive trajectory in space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import TARGET_SUM
from scvi_downstream.pipelines.trajectory import plots, plots_umap
from scvi_downstream.pipelines.trajectory import plots as fates_figure
from scvi_downstream.pipelines.trajectory import plots as gene_trends_figure
from scvi_downstream.pipelines.trajectory.agreement import agreement_matrix
from scvi_downstream.pipelines.trajectory.diffusion import cluster_positions
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.plots_umap import (
    TrajectoryLines,
    curve_lines,
    graph_lines,
    paga_lines,
)
from scvi_downstream.pipelines.trajectory.start import known_time
from scvi_downstream.pipelines.trajectory.trends import lineages_of, symbols_of
from scvi_downstream.plots.style import MISSING, draw_order
from scvi_downstream.plots.umap import DECIMALS, MOST_POINTS, by_value, colour_menu, scatter_3d

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Page
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Figure = Page = Any


LINE = "#111111"
START = "#D55E00"
SIDES = "xyz"


def draw_trajectory_3d(
    umap_3d: pd.DataFrame,
    pseudotimes: pd.DataFrame,
    *,
    lines: Mapping[str, TrajectoryLines] | None = None,
    start: Sequence[str] = (),
    time: pd.Series | None = None,
) -> Page:
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


PANELS = {
    "pseudotime": "consensus",
    "dpt_pseudotime": "diffusion pseudotime",
    "slingshot_pseudotime": "Slingshot",
    "graph_pseudotime": "principal graph",
    "monocle_r_pseudotime": "Monocle (R)",
}
"""Order → its panel."""
NAMES = PANELS | {"slingshot_consensus": "Slingshot over clusterings"}


def plot_trajectory(
    counts: AnnData,
    umap: pd.DataFrame,
    latent: pd.DataFrame,
    landmarks: pd.DataFrame,
    paga: pd.DataFrame,
    slingshot_curves: pd.DataFrame,
    graph_nodes: pd.DataFrame,
    graph_edges: pd.DataFrame,
    trajectory: pd.DataFrame,
    trajectory_start: dict[str, Any],
    options: TrajectoryOptions,
) -> Figure:
    """One UMAP panel a method, with what it has learnt; known time as the last panel."""
    return plots_umap.plot_trajectory(
        umap,
        _panels(trajectory, umap),
        lines=_lines(umap, latent, landmarks, paga, slingshot_curves, graph_nodes, graph_edges),
        start=trajectory_start["cells"],
        time=_time(counts, umap, options),
    )


def plot_trajectory_3d(
    counts: AnnData,
    umap_3d: pd.DataFrame,
    latent: pd.DataFrame,
    landmarks: pd.DataFrame,
    paga: pd.DataFrame,
    slingshot_curves: pd.DataFrame,
    graph_nodes: pd.DataFrame,
    graph_edges: pd.DataFrame,
    trajectory: pd.DataFrame,
    trajectory_start: dict[str, Any],
    options: TrajectoryOptions,
) -> Page:
    """The same as a page that can be turned; the menu changes the method."""
    return draw_trajectory_3d(
        umap_3d,
        _panels(trajectory, umap_3d),
        lines=_lines(umap_3d, latent, landmarks, paga, slingshot_curves, graph_nodes, graph_edges),
        start=trajectory_start["cells"],
        time=_time(counts, umap_3d, options),
    )


def _panels(trajectory: pd.DataFrame, layout: pd.DataFrame) -> pd.DataFrame:
    shown = [name for name in PANELS if name in trajectory]
    return trajectory.loc[layout.index, shown].rename(columns=PANELS)


def _lines(
    layout: pd.DataFrame,
    latent: pd.DataFrame,
    landmarks: pd.DataFrame,
    paga: pd.DataFrame,
    curves: pd.DataFrame,
    nodes: pd.DataFrame,
    edges: pd.DataFrame,
) -> dict[str, TrajectoryLines]:
    latent = latent.loc[layout.index]
    groups = landmarks["landmark"].loc[layout.index]
    return {
        PANELS["dpt_pseudotime"]: paga_lines(paga, cluster_positions(layout, groups)),
        PANELS["slingshot_pseudotime"]: curve_lines(curves, latent, layout),
        PANELS["graph_pseudotime"]: graph_lines(nodes[list(latent.columns)], edges, latent, layout),
    }


def _time(counts: AnnData, layout: pd.DataFrame, options: TrajectoryOptions) -> pd.Series | None:
    if not options.time_key:
        return None
    return known_time(counts.obs, options.time_key).loc[layout.index].rename(options.time_key)


def plot_agreement(trajectory_agreement_table: pd.DataFrame) -> Figure:
    """Matrix of rank correlations between orders."""
    return plots.plot_agreement(agreement_matrix(trajectory_agreement_table))


def plot_time_agreement(trajectory_time: pd.DataFrame, options: TrajectoryOptions) -> Figure:
    """Rank correlation of every order with known time, with intervals."""
    named = trajectory_time.assign(method=trajectory_time["method"].replace(NAMES))
    return plots.plot_time_agreement(named, str(options.time_key))


def plot_fates(
    umap: pd.DataFrame,
    fates: pd.DataFrame,
    fate_drivers: pd.DataFrame,
    counts: AnnData,
    options: TrajectoryOptions,
) -> Figure:
    """Probability of each terminal state on the UMAP, and the genes that go with it."""
    drivers = fate_drivers.assign(symbol=symbols_of(counts).reindex(fate_drivers["gene"]).to_numpy())
    return fates_figure.plot_fates(umap, fates.loc[umap.index], drivers, top_genes=options.fates.top_drivers)


def plot_trend_heatmap(
    gene_trends: pd.DataFrame, trend_tests: pd.DataFrame, counts: AnnData, options: TrajectoryOptions
) -> Figure:
    """Genes that change most, ordered by their peaks."""
    return plots.plot_trend_heatmap(gene_trends, _widest(trend_tests, counts, options.trends.top_genes))


def plot_gene_trends(
    gene_trends: pd.DataFrame,
    trend_tests: pd.DataFrame,
    trajectory: pd.DataFrame,
    counts: AnnData,
    options: TrajectoryOptions,
) -> Figure:
    """Fits of the genes that change most, over the cells."""
    genes = _widest(trend_tests, counts, gene_trends_figure.MAX_TRENDS)
    times, weights = lineages_of(trajectory.loc[counts.obs_names], options.trends.pseudotime)
    best = weights.fillna(0).to_numpy().argmax(axis=1)
    on = weights.fillna(0).to_numpy().max(axis=1) > 0
    cells = pd.DataFrame(
        {
            "lineage": weights.columns.to_numpy()[best],
            "pseudotime": times.to_numpy()[range(len(best)), best],
        },
        index=counts.obs_names,
    )
    positions = counts.var_names.get_indexer(genes["gene"])
    totals = counts.X.sum(axis=1).A1 if hasattr(counts.X.sum(axis=1), "A1") else counts.X.sum(axis=1).ravel()
    values = counts.X[:, positions].toarray() / totals[:, None] * TARGET_SUM
    table = pd.concat([cells, pd.DataFrame(values, counts.obs_names, genes["gene"].to_numpy())], axis=1)
    return gene_trends_figure.plot_gene_trends(gene_trends, genes, table[on])


def _widest(trend_tests: pd.DataFrame, counts: AnnData, n_genes: int) -> pd.DataFrame:
    """Dynamic genes of the widest range over lineages: ``gene`` and ``symbol``."""
    dynamic = trend_tests[trend_tests["dynamic"]].sort_values("log2_range", ascending=False, kind="stable")
    genes = dynamic["gene"].astype(str).drop_duplicates().head(n_genes)
    return pd.DataFrame({"gene": genes.to_numpy(), "symbol": symbols_of(counts).reindex(genes).to_numpy()})
