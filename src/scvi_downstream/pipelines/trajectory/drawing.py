"""Figures of the trajectory's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.normalization import TARGET_SUM
from scvi_downstream.parameters import TrajectoryOptions
from scvi_downstream.plots import fates as fates_figure
from scvi_downstream.plots import gene_trends as gene_trends_figure
from scvi_downstream.plots import trajectory_3d, trajectory_agreement, trajectory_umap, trend_heatmap
from scvi_downstream.plots.trajectory_lines import TrajectoryLines, curve_lines, graph_lines, paga_lines

from .agreement import agreement_matrix
from .known_time import known_time
from .paga import cluster_positions
from .trends import lineages_of, symbols_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Page
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Figure = Page = Any

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
    return trajectory_umap.plot_trajectory(
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
    return trajectory_3d.plot_trajectory_3d(
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
    return trajectory_agreement.plot_agreement(agreement_matrix(trajectory_agreement_table))


def plot_time_agreement(trajectory_time: pd.DataFrame, options: TrajectoryOptions) -> Figure:
    """Rank correlation of every order with known time, with intervals."""
    named = trajectory_time.assign(method=trajectory_time["method"].replace(NAMES))
    return trajectory_agreement.plot_time_agreement(named, str(options.time_key))


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
    return trend_heatmap.plot_trend_heatmap(
        gene_trends, _widest(trend_tests, counts, options.trends.top_genes)
    )


def plot_gene_trends(
    gene_trends: pd.DataFrame,
    trend_tests: pd.DataFrame,
    trajectory: pd.DataFrame,
    counts: AnnData,
    options: TrajectoryOptions,
) -> Figure:
    """Fits of the genes that change most, over the cells."""
    genes = _widest(trend_tests, counts, gene_trends_figure.MAX_GENES)
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
