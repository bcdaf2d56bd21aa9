"""Orders of half of the cells, everything learnt again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.parameters import TrajectoryOptions

from .components import reach_from
from .diffusion import diffusion_coordinates, diffusion_pseudotime
from .graph_pseudotime import order_along_graph
from .landmarks import communities_like
from .lineages import choose_start_cluster
from .principal_graph import learn_principal_graph
from .root import root_cell
from .slingshot import slingshot

EXACT_UP_TO = 50_000


@dataclass(frozen=True, eq=False)
class Half:
    """Some of the cells with a graph, landmarks and a start of their own.

    Attributes
    ----------
    latent
        ``(n_half, n_dims)``.
    neighbors
        kNN graph of these cells alone.
    landmarks
        Their communities.
    starts
        Positions of start cells among them.
    """

    latent: np.ndarray
    neighbors: NeighborsGraph
    landmarks: pd.Series
    starts: np.ndarray


def take_half(
    latent: np.ndarray,
    chosen: np.ndarray,
    starts: np.ndarray,
    *,
    n_neighbors: int,
    n_landmarks: int,
    seed: int,
) -> Half:
    """Cells at the positions ``chosen``; where no start cell is among them, the one nearest to the start is.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)`` of all cells.
    chosen
        Sorted positions of ``n_half`` cells.
    starts
        Positions of the start cells among all.
    n_neighbors, n_landmarks
        Of the graph and of the communities to find.
    seed
        Of the search and of Leiden.
    """
    values = latent[chosen]
    neighbors = neighbors_graph(
        pd.Index(chosen.astype(str), name="cell"),
        values.astype(np.float32),
        n_neighbors=n_neighbors,
        n_search=n_neighbors,
        exact_up_to=EXACT_UP_TO,
        seed=seed,
    )
    own = np.flatnonzero(np.isin(chosen, starts))
    if not len(own):
        middle = np.median(latent[starts], axis=0)
        own = np.array([np.linalg.norm(values - middle, axis=1).argmin()])
    return Half(values, neighbors, communities_like(neighbors, n_landmarks, seed), own)


def order_half_by_diffusion(half: Half, options: TrajectoryOptions, seed: int) -> np.ndarray:
    """``(n_half,)`` diffusion pseudotime."""
    reach = reach_from(half.neighbors, half.starts, half.landmarks)
    coordinates = diffusion_coordinates(
        half.neighbors, reach.reachable, n_components=options.diffusion_components, seed=seed
    )
    root = root_cell(half.starts[reach.reachable[half.starts]], coordinates.to_numpy(), half.neighbors)
    return diffusion_pseudotime(coordinates, root)["dpt_pseudotime"].to_numpy()


def order_half_by_slingshot(half: Half, options: TrajectoryOptions, seed: int) -> np.ndarray:
    """``(n_half,)`` mean pseudotime over lineages."""
    reach = reach_from(half.neighbors, half.starts, half.landmarks)
    start = choose_start_cluster(half.landmarks, half.starts[reach.reachable[half.starts]])
    return slingshot(half.latent, half.landmarks, start, components=reach.parts).mean_pseudotime


def order_half_along_graph(half: Half, options: TrajectoryOptions, seed: int) -> np.ndarray:
    """``(n_half,)`` pseudotime along a principal graph; NaN where the start does not reach."""
    reach = reach_from(half.neighbors, half.starts, half.landmarks)
    chosen = np.flatnonzero(reach.reachable)
    graph = learn_principal_graph(
        half.latent[chosen],
        n_nodes=options.principal_graph.n_nodes,
        min_branch_length=options.principal_graph.min_branch_length,
        seed=seed,
    )
    pseudotime = np.full(len(half.latent), np.nan)
    starts = np.flatnonzero(np.isin(chosen, half.starts))
    pseudotime[chosen] = order_along_graph(graph, half.latent[chosen], starts).pseudotime
    return pseudotime


type OrderOfHalf = Callable[[Half, TrajectoryOptions, int], np.ndarray]

HALVES: dict[str, OrderOfHalf] = {
    "dpt_pseudotime": order_half_by_diffusion,
    "slingshot_pseudotime": order_half_by_slingshot,
    "graph_pseudotime": order_half_along_graph,
}
