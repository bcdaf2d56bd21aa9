"""Where cells come from and where they go: orders, lineages, fates, and genes along them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.bridges.monocle_r import order_with_monocle
from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.trajectory import start as starts
from scvi_downstream.pipelines.trajectory.agreement import ORDERS, compare_orders, compare_with_time
from scvi_downstream.pipelines.trajectory.components import chosen_clusters
from scvi_downstream.pipelines.trajectory.fates import compute_fates, fate_drivers
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.orders import (
    cluster_landmarks,
    connect_clusters,
    consensus_pseudotime,
    fit_slingshot,
    learn_graph,
    order_by_diffusion,
    start_positions,
    take_landmarks,
)
from scvi_downstream.pipelines.trajectory.plots_3d import (
    plot_agreement,
    plot_fates,
    plot_gene_trends,
    plot_time_agreement,
    plot_trajectory,
    plot_trajectory_3d,
    plot_trend_heatmap,
)
from scvi_downstream.pipelines.trajectory.report import summarize
from scvi_downstream.pipelines.trajectory.stability import HALVES, ordering_stability, take_half
from scvi_downstream.pipelines.trajectory.start import known_time
from scvi_downstream.pipelines.trajectory.trends import trends_of
from scvi_downstream.runtime.threads import one_thread

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing anndata is slow
    AnnData = Any

__all__ = [
    "choose_start",
    "cluster_landmarks",
    "compare_orders",
    "compare_with_time",
    "connect_clusters",
    "fit_slingshot",
    "fit_trends",
    "join_orders",
    "join_trajectory",
    "learn_graph",
    "map_fates",
    "order_by_diffusion",
    "order_with_monocle_r",
    "plot_agreement",
    "plot_fates",
    "plot_gene_trends",
    "plot_time_agreement",
    "plot_trajectory",
    "plot_trajectory_3d",
    "plot_trend_heatmap",
    "resample_orders",
    "summarize_trajectory",
    "take_landmarks",
]


def choose_start(
    counts: AnnData,
    neighbors: NeighborsGraph,
    clusters: pd.DataFrame,
    keys: Keys,
    options: TrajectoryOptions,
    seed: int,
) -> dict[str, Any]:
    """The cells at which trajectories start; known time decides where nothing else is named.

    Returns
    -------
    ``cells``, ``how`` they were chosen and ``sentences``; see :func:`.start.choose_start`.
    """
    named = options.start_cell or options.start_cluster or options.start_gene
    if options.time_key:
        known_time(counts.obs, options.time_key)  # refused before anything is learnt
    found = starts.choose_start(
        counts,
        neighbors,
        chosen_clusters(clusters, options.clustering),
        start_cell=options.start_cell,
        start_cluster=options.start_cluster,
        start_gene=options.start_gene,
        time_key=None if named else options.time_key,
        label_key=keys.label_key,
        seed=seed,
    )
    return starts.describe_start(found)


def order_with_monocle_r(
    counts: AnnData, trajectory_start: dict[str, Any], options: TrajectoryOptions, seed: int
) -> pd.DataFrame:
    """``monocle_r_pseudotime`` and ``monocle_r_state`` by cell, of R's own monocle on the highly variable genes."""
    genes = counts.var_names[counts.var["highly_variable"]]
    return order_with_monocle(
        counts, genes, trajectory_start["cells"], seed=seed, timeout=options.monocle_r_timeout
    )


def join_orders(
    diffusion: pd.DataFrame, slingshot: pd.DataFrame, principal_graph: pd.DataFrame
) -> pd.DataFrame:
    """All orders of one representation by cell, their consensus (``pseudotime``, mean rank) first."""
    joined = diffusion.join([slingshot, principal_graph])
    return pd.concat([consensus_pseudotime(joined[list(ORDERS)]), joined], axis=1)


def map_fates(
    counts: AnnData,
    neighbors: NeighborsGraph,
    landmarks: pd.DataFrame,
    orders: pd.DataFrame,
    options: TrajectoryOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """CellRank's terminal states and the probability to reach each.

    Returns
    -------
    ``fate_<state>``, ``fate_entropy`` and ``terminal_state`` by cell; driver genes; states and sentences.
    """
    column = {"consensus": "pseudotime", "dpt": "dpt_pseudotime", "slingshot": "slingshot_consensus"}
    pseudotime = orders[column.get(options.fates.pseudotime, "graph_pseudotime")]
    found = compute_fates(
        neighbors,
        pseudotime.loc[neighbors.cells],
        landmarks["landmark"].loc[neighbors.cells],
        terminal_clusters=options.fates.terminal_clusters,
        n_terminal_states=options.fates.n_terminal_states,
        max_cells=options.fates.max_cells,
        seed=seed,
    )
    facts = {"states": found.states.to_dict(orient="records"), "sentences": list(found.sentences)}
    return found.cells, fate_drivers(counts, found.cells), facts


def fit_trends(
    counts: AnnData, orders: pd.DataFrame, keys: Keys, options: TrajectoryOptions, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Genes along each lineage: curves, tests, tests between lineages, and numbers; see :func:`.trends.trends_of`."""
    return trends_of(counts, orders, keys, options, seed)


def resample_orders(
    latent: pd.DataFrame,
    neighbors: NeighborsGraph,
    landmarks: pd.DataFrame,
    orders: pd.DataFrame,
    trajectory_start: dict[str, Any],
    options: TrajectoryOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whether disjoint halves of the cells give the same order, everything but the latent learnt again.

    Returns
    -------
    One row a method (``spearman`` between halves with its interval, ``verdict``); the spread of each cell's rank.
    """
    values = latent.loc[neighbors.cells].to_numpy(np.float64)
    start_cells = start_positions(neighbors, trajectory_start)
    rows, spread = [], {}
    for name, order in HALVES.items():

        def order_again(chosen: np.ndarray, order: Any = order) -> np.ndarray:
            half = take_half(
                values,
                chosen,
                start_cells,
                n_neighbors=neighbors.n_neighbors,
                n_landmarks=landmarks["landmark"].nunique(),
                seed=seed,
            )
            with one_thread():
                return order(half, options, seed)

        found = ordering_stability(
            order_again,
            orders.loc[neighbors.cells, name].to_numpy(np.float64),
            values,
            replicates=options.stability_replicates,
            seed=seed,
            label=f"Stability of {name}",
        )
        rows.append({"method": name, **found.summary})
        spread[f"{name}_rank_sd"] = found.cells["rank_sd"].to_numpy()
    return pd.DataFrame(rows), pd.DataFrame(spread, index=neighbors.cells.rename("cell"))


def join_trajectory(
    orders: pd.DataFrame,
    fates: pd.DataFrame,
    rank_spread: pd.DataFrame,
    monocle_r: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Everything by cell: orders of the primary model, fates, and how far ranks spread over halves of the cells."""
    return orders.join([fates, rank_spread, *([monocle_r] if monocle_r is not None else [])])


def summarize_trajectory(
    counts: AnnData,
    trajectory: pd.DataFrame,
    trajectory_start: dict[str, Any],
    diffusion_facts: dict[str, Any],
    lineages: dict[str, Any],
    graph_facts: dict[str, Any],
    fate_facts: dict[str, Any],
    trend_facts: dict[str, Any],
    trajectory_agreement: pd.DataFrame,
    trajectory_stability: pd.DataFrame,
    primary: str,
    spec: dict[str, Any],
    keys: Keys,
    options: TrajectoryOptions,
    trajectory_time: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Numbers of the trajectories, and sentences; see :func:`.sentences.summarize`."""
    facts = {
        "diffusion": diffusion_facts,
        "lineages": lineages,
        "graph": graph_facts,
        "fates": fate_facts,
        "trends": trend_facts,
    }
    return summarize(
        counts.obs,
        trajectory,
        trajectory_start,
        facts,
        trajectory_agreement,
        trajectory_stability,
        trajectory_time,
        primary,
        keys,
        options,
        corrected=bool(keys.batch_key) and bool(spec["correct_batch"]),
    )
