"""Orders of cells on one representation: by diffusion, along lineages, along a principal graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.trajectory.components import (
    Reach,
    barely_connected,
    chosen_clusters,
    communities_like,
    reach_from,
)
from scvi_downstream.pipelines.trajectory.diffusion import (
    diffusion_coordinates,
    diffusion_pseudotime,
    paga_edges,
    root_dependence,
)
from scvi_downstream.pipelines.trajectory.graph_pseudotime import (
    MOST_TORN,
    graph_table,
    order_along_graph,
    torn_share,
)
from scvi_downstream.pipelines.trajectory.lineages import choose_start_cluster, edge_confidence
from scvi_downstream.pipelines.trajectory.loops import describe_loops, find_loops
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.principal_graph import PrincipalGraph, learn_principal_graph
from scvi_downstream.pipelines.trajectory.slingshot import Slingshot, slingshot, slingshot_table
from scvi_downstream.pipelines.trajectory.start import root_cell
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.threads import one_thread


def consensus_pseudotime(pseudotimes: pd.DataFrame) -> pd.Series:
    """Mean rank of each cell over the orderings that place it (Borda's count).

    Pseudotimes of different methods have no common unit; ranks have. Errors that methods do not share average out,
    those that they share stay.

    Parameters
    ----------
    pseudotimes
        ``n_cells`` rows, a column an ordering; NaN where it does not place a cell.

    Returns
    -------
    ``(n_cells,)`` in [0, 1]: mean of the ranks, each scaled to [0, 1] among the cells that its ordering places; NaN for
    cells that fewer than half of the orderings place.

    References
    ----------
    Dwork et al. (2001), doi:10.1145/371920.372165.
    """
    ranks = pseudotimes.rank()
    scaled = (ranks - 1) / (ranks.max() - 1).where(lambda most: most > 0)
    placed = scaled.notna().sum(axis=1)
    mean = scaled.mean(axis=1)
    return mean.where(placed >= np.ceil(pseudotimes.shape[1] / 2)).rename("pseudotime")


@dataclass(frozen=True, eq=False)
class SlingshotConsensus:
    """Orders over clusterings.

    Attributes
    ----------
    pseudotime
        ``(n_cells,)`` mean over clusterings of the rank, 0 at the first cell and at most 1; NaN for cells that the
        start does not reach.
    spread
        ``(n_cells,)`` standard deviation of the rank, in [0, 1], over clusterings.
    agreement
        ``(n_clusterings,)`` mean Spearman correlation of each order with the others.
    n_clusters, n_lineages
        ``(n_clusterings,)``.
    typical
        The fit that agrees best with the others.
    typical_clusters
        ``(n_cells,)`` its clusters.
    """

    pseudotime: np.ndarray
    spread: np.ndarray
    agreement: np.ndarray
    n_clusters: np.ndarray
    n_lineages: np.ndarray
    typical: Slingshot
    typical_clusters: pd.Series


def slingshot_consensus(
    latent: np.ndarray,
    start_cells: np.ndarray,
    *,
    n_clusters: Sequence[int] = tuple(range(5, 15)),
    n_repeats: int = 2,
    components: np.ndarray | None = None,
    df: float = 5.0,
    seed: int = 0,
) -> SlingshotConsensus:
    """Order cells by Slingshot on k-means clusters of several numbers and seeds, and take the mean rank.

    In a continuum of cells clusters are cut arbitrarily, and a cut elsewhere may join other clusters and turn a lineage
    round. Errors of single trees average out; what all of them share stays. On worm_embryo single trees came to rank
    correlations with the measured time from 0.17 to 0.94 over clusterings; mean ranks came to 0.89 to 0.93 with 5 to 14
    clusters, and to 0.76 to 0.92 with 15 to 24.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)``.
    start_cells
        Positions of start cells; in each clustering the cluster with the most of them, beyond its size, is the start.
    n_clusters
        Numbers of clusters.
    n_repeats
        Clusterings of each number.
    components
        ``(n_cells,)`` connected component of each cell; only cells in that of most start cells are ordered.
    df
        Effective degrees of freedom of the curves.
    seed
        Of the clusterings.

    Raises
    ------
    InputError
        When the start cells reach fewer than two cells a cluster.
    """
    from sklearn.cluster import KMeans

    latent = np.asarray(latent, dtype=np.float64)
    reached = _component_of(start_cells, components, len(latent))
    rows = np.flatnonzero(reached)
    if len(rows) < 2 * max(n_clusters):
        raise InputError(
            f"the start reaches {len(rows)} cells, too few for {max(n_clusters)} clusters; ask for fewer clusters"
        )
    starts = np.flatnonzero(np.isin(rows, start_cells))
    runs = [(k, repeat) for k in n_clusters for repeat in range(n_repeats)]
    seeds = np.random.default_rng(seed).integers(0, 2**31, len(runs))
    fits, labels = [], []
    for (k, _), own_seed in track(
        list(zip(runs, seeds, strict=True)), "Slingshot over clusterings", len(runs)
    ):
        codes = KMeans(k, n_init=1, random_state=int(own_seed)).fit_predict(latent[rows])
        clusters = pd.Series(pd.Categorical(codes.astype(str)))
        fits.append(slingshot(latent[rows], clusters, choose_start_cluster(clusters, starts), df=df))
        labels.append(clusters)
    ranks = np.array([stats.rankdata(fit.mean_pseudotime) for fit in fits]) / len(rows)
    agreement = _agreement(ranks)
    best = int(agreement.argmax())
    mean, spread = np.full(len(latent), np.nan), np.full(len(latent), np.nan)
    mean[rows] = ranks.mean(axis=0) - ranks.mean(axis=0).min()
    spread[rows] = ranks.std(axis=0)
    return SlingshotConsensus(
        pseudotime=mean,
        spread=spread,
        agreement=agreement,
        n_clusters=np.array([k for k, _ in runs]),
        n_lineages=np.array([len(fit.curves) for fit in fits]),
        typical=_among_all(fits[best], reached),
        typical_clusters=_named_among_all(labels[best], reached),
    )


def _component_of(start_cells: np.ndarray, components: np.ndarray | None, n_cells: int) -> np.ndarray:
    if len(start_cells) == 0:
        raise InputError("there are no start cells, so nothing can be ordered; name a start that has cells")
    if components is None:
        return np.ones(n_cells, dtype=bool)
    values, counts = np.unique(components[start_cells], return_counts=True)
    return np.asarray(components == values[counts.argmax()])


def _agreement(ranks: np.ndarray) -> np.ndarray:
    if len(ranks) == 1:
        return np.full(1, np.nan)
    correlation = np.corrcoef(ranks)
    return (correlation.sum(axis=1) - 1) / (len(ranks) - 1)


def _among_all(fit: Slingshot, reached: np.ndarray) -> Slingshot:
    shape = (len(reached), fit.weights.shape[1])
    pseudotime, weights = np.full(shape, np.nan), np.zeros(shape)
    lineage, mean = np.full(len(reached), -1), np.full(len(reached), np.nan)
    pseudotime[reached], weights[reached] = fit.pseudotime, fit.weights
    lineage[reached], mean[reached] = fit.lineage, fit.mean_pseudotime
    return Slingshot(fit.tree, fit.curves, pseudotime, weights, lineage, mean, fit.converged)


def _named_among_all(clusters: pd.Series, reached: np.ndarray) -> pd.Series:
    codes = np.full(len(reached), -1)
    codes[reached] = clusters.cat.codes.to_numpy()
    return pd.Series(pd.Categorical.from_codes(codes, categories=clusters.cat.categories))


def take_landmarks(clusters: pd.DataFrame, options: TrajectoryOptions) -> pd.DataFrame:
    """The clusters that lineages go through: column ``landmark`` by cell.

    Raises
    ------
    InputError
        ``options.clustering`` is no column of the clusters.
    """
    return chosen_clusters(clusters, options.clustering).to_frame()


def cluster_landmarks(neighbors: NeighborsGraph, primary_landmarks: pd.DataFrame, seed: int) -> pd.DataFrame:
    """As many communities of a representation without clusters as the primary model has landmarks."""
    return communities_like(neighbors, primary_landmarks["landmark"].nunique(), seed).to_frame()


def connect_clusters(neighbors: NeighborsGraph, landmarks: pd.DataFrame) -> pd.DataFrame:
    """PAGA's edges between landmarks; see :func:`.paga.paga_edges`."""
    return paga_edges(neighbors, landmarks["landmark"])


def order_by_diffusion(
    neighbors: NeighborsGraph,
    landmarks: pd.DataFrame,
    trajectory_start: dict[str, Any],
    options: TrajectoryOptions,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Diffusion pseudotime from the outermost start cell.

    Returns
    -------
    ``dpt_pseudotime`` by cell, NaN where the start does not reach; the root, how the order depends on it, and sentences
    on cells that cannot be reached.
    """
    starts, reach = _reach(neighbors, landmarks, trajectory_start)
    coordinates = diffusion_coordinates(
        neighbors, reach.reachable, n_components=options.diffusion_components, seed=seed
    )
    root = root_cell(starts, coordinates.to_numpy(), neighbors)
    facts = {
        "root": str(neighbors.cells[root]),
        "root_dependence": root_dependence(coordinates, root, starts),
        "n_reachable": int(reach.reachable.sum()),
        "sentences": list(reach.sentences),
    }
    return diffusion_pseudotime(coordinates, root), facts


@one_thread()
def fit_slingshot(
    latent: pd.DataFrame,
    neighbors: NeighborsGraph,
    landmarks: pd.DataFrame,
    paga: pd.DataFrame,
    trajectory_start: dict[str, Any],
    options: TrajectoryOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Slingshot's lineages from the landmark of the start.

    Returns
    -------
    Pseudotime and weight of each lineage by cell, and the mean rank over other clusterings with its spread
    (``slingshot_consensus``, ``slingshot_spread``); the curves (``lineage``, ``point`` and the latent's columns); the
    tree with the confidence of its edges, lineages, rings that a tree cannot describe, and sentences.
    """
    values = latent.to_numpy(np.float64)
    groups = landmarks["landmark"]
    starts, reach = _reach(neighbors, landmarks, trajectory_start)
    start = choose_start_cluster(groups, starts)
    found = slingshot(values, groups, start, ends=options.slingshot.ends, components=reach.parts)
    names = [f"lineage_{k + 1}" for k in range(len(found.tree.lineages))]
    reached = np.isfinite(found.mean_pseudotime)
    confidence = edge_confidence(
        values[reached],
        groups[reached],
        found.tree,
        ends=options.slingshot.ends,
        n_bootstraps=options.slingshot.bootstraps,
        seed=seed,
    )
    nearest = slice(0, neighbors.n_neighbors)
    loops = find_loops(
        neighbors.indices[:, nearest], neighbors.distances[:, nearest], groups, found.tree.edges
    )
    curves = [
        pd.DataFrame(curve, columns=latent.columns).assign(lineage=name, point=np.arange(len(curve)))
        for name, curve in zip(names, found.curves, strict=True)
    ]
    others = slingshot_consensus(
        values,
        starts,
        n_clusters=_numbers(int(reached.sum())),
        n_repeats=1,
        components=reach.parts,
        seed=seed,
    )
    loop = describe_loops(loops)
    facts = {
        "start": start,
        "edges": confidence.to_dict(orient="records"),
        "lineages": {name: list(path) for name, path in zip(names, found.tree.lineages, strict=True)},
        "converged": found.converged,
        "loops": loops.to_dict(orient="records"),
        "clusterings": {
            "n": len(others.agreement),
            "agreement": float(np.median(others.agreement)),
            "lowest": float(others.agreement.min()),
            "lineages": sorted({int(number) for number in others.n_lineages}),
        },
        "sentences": [*([loop] if loop else []), *barely_connected(paga, start), *_unsure(confidence)],
    }
    curve_table = pd.concat(curves, ignore_index=True)[["lineage", "point", *latent.columns]]
    table = slingshot_table(found, neighbors.cells).assign(
        slingshot_consensus=others.pseudotime, slingshot_spread=others.spread
    )
    return table, curve_table, facts


@one_thread()
def learn_graph(
    latent: pd.DataFrame,
    neighbors: NeighborsGraph,
    landmarks: pd.DataFrame,
    trajectory_start: dict[str, Any],
    options: TrajectoryOptions,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """A principal graph of the cells that the start reaches, and pseudotime along it.

    Returns
    -------
    ``graph_pseudotime`` and ``graph_branch`` by cell; nodes (index ``node``, the latent's columns and ``pseudotime``);
    edges (``first``, ``second``); tips, branch points and sentences.
    """
    starts, reach = _reach(neighbors, landmarks, trajectory_start)
    values = latent.to_numpy(np.float64)[reach.reachable]
    graph = learn_principal_graph(
        values,
        n_nodes=options.principal_graph.n_nodes,
        min_branch_length=options.principal_graph.min_branch_length,
        seed=seed,
    )
    own_starts = np.flatnonzero(np.isin(np.flatnonzero(reach.reachable), starts))
    order = order_along_graph(graph, values, own_starts)
    nearest = neighbors.indices[:, : neighbors.n_neighbors]
    torn = torn_share(graph, latent.to_numpy(np.float64), nearest, reach.reachable)
    nodes = pd.DataFrame(graph.nodes, columns=latent.columns).assign(pseudotime=order.node_pseudotime)
    edges = pd.DataFrame(graph.edges, columns=["first", "second"])
    return (
        graph_table(order, reach.reachable, neighbors.cells),
        nodes.rename_axis("node"),
        edges,
        _graph_facts(graph, order.root, torn),
    )


def _graph_facts(graph: PrincipalGraph, root: int, torn: float) -> dict[str, Any]:
    degrees = graph.degrees
    tips, forks = int((degrees == 1).sum()), int((degrees > 2).sum())
    sentences = [f"the principal graph has {tips} tips and {forks} branch point{'' if forks == 1 else 's'}"]
    if degrees[root] != 1:
        sentences[0] += "; its root is not a tip, so pseudotime grows away from it on both sides"
    if torn > MOST_TORN:
        sentences.append(
            f"the principal graph puts {torn:.0%} of neighbouring cells far from each other (planted trees: 5 % at "
            "most), so it leaves the way that cells take: its branches are not lineages"
        )
    return {
        "n_nodes": len(graph.nodes),
        "n_tips": tips,
        "n_branch_points": forks,
        "n_pruned": graph.n_pruned,
        "n_learnt_on": graph.n_learnt_on,
        "root": root,
        "root_is_tip": bool(degrees[root] == 1),
        "torn_share": torn,
        "sentences": sentences,
    }


def _numbers(n_reached: int) -> tuple[int, ...]:
    """Numbers of clusters that so many cells can be divided into."""
    return tuple(k for k in range(5, 15) if n_reached >= 10 * k) or (2,)


def _unsure(confidence: pd.DataFrame) -> list[str]:
    """Edges of the tree that resampled cells give in less than four fifths of the draws."""
    weak = confidence[confidence["confidence"] < 0.8]
    if weak.empty:
        return []
    named = ", ".join(
        f"{row.parent} – {row.child} ({row.confidence:.0%}"
        + (f", else {row.alternative})" if row.alternative else ")")
        for row in weak.sort_values("confidence").head(4).itertuples()
    )
    return [
        f"{len(weak)} of {len(confidence)} edges of the tree of clusters come back in less than 80 % of bootstrap "
        f"samples: {named}"
    ]


def start_positions(neighbors: NeighborsGraph, trajectory_start: dict[str, Any]) -> np.ndarray:
    """Positions of the start cells among the cells of the graph."""
    positions = neighbors.cells.get_indexer(trajectory_start["cells"])
    return positions[positions >= 0]


def _reach(
    neighbors: NeighborsGraph, landmarks: pd.DataFrame, trajectory_start: dict[str, Any]
) -> tuple[np.ndarray, Reach]:
    starts = start_positions(neighbors, trajectory_start)
    reach = reach_from(neighbors, starts, landmarks["landmark"])
    return starts[reach.reachable[starts]], reach
