"""Orders of cells on one representation: by diffusion, along lineages, along a principal graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.neighbors import NeighborsGraph
from scvi_downstream.parameters import TrajectoryOptions
from scvi_downstream.threads import one_thread

from .components import Reach, barely_connected, reach_from
from .diffusion import diffusion_coordinates, diffusion_pseudotime, root_dependence
from .graph_faithfulness import MOST_TORN, torn_share
from .graph_pseudotime import graph_table, order_along_graph
from .landmarks import chosen_clusters, communities_like
from .lineages import choose_start_cluster, edge_confidence
from .loops import describe_loops, find_loops
from .paga import paga_edges
from .principal_graph import PrincipalGraph, learn_principal_graph
from .root import root_cell
from .slingshot import slingshot, slingshot_table
from .slingshot_consensus import slingshot_consensus


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
