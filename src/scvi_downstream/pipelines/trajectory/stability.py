"""Whether an ordering comes back when it is made again from other cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.graphs.neighbors import NeighborsGraph, neighbors_graph
from scvi_downstream.pipelines.trajectory.agreement import CONFIDENCE, MIN_CELLS, correlate_ranks
from scvi_downstream.pipelines.trajectory.diffusion import order_from_outermost
from scvi_downstream.pipelines.trajectory.lineages import choose_start_cluster, communities_like
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.principal_graph import order_reached
from scvi_downstream.pipelines.trajectory.slingshot import slingshot
from scvi_downstream.pipelines.trajectory.start import Reach, reach_from, start_positions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.threads import one_thread

FAILURES = (
    ValueError,
    RuntimeError,
    np.linalg.LinAlgError,
)  # Of an ordering of a half; InputError is the first.
type Ordering = Callable[[np.ndarray], np.ndarray]
N_NEIGHBORS = 10  # Cells of the other half whose mean pseudotime a cell is given.
MIN_HALF = 20  # Cells of a half, so that a correlation over its cells says something.
# Rank correlation between halves above which an ordering is stable, where all of the interval is, and below which it
# is not.
STABLE, UNSTABLE = 0.8, 0.6
EXACT_UP_TO = 50_000  # Cells of a half up to which its neighbours are searched exactly.


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
    starts, n_landmarks = start_positions(neighbors, trajectory_start), landmarks["landmark"].nunique()
    rows, spread = [], {}
    learnt: dict[bytes, dict[str, np.ndarray | Exception]] = {}  # Every method sees the same halves.
    for name in HALF_ORDERS:

        def order_again(chosen: np.ndarray, name: str = name) -> np.ndarray:
            key = chosen.tobytes()
            if key not in learnt:
                half = _take_half(values, chosen, starts, neighbors.n_neighbors, n_landmarks, seed)
                learnt[key] = _order_half(half, options, seed)
            found = learnt[key][name]
            if isinstance(found, Exception):
                raise found
            return found

        full, label = orders.loc[neighbors.cells, name].to_numpy(np.float64), f"Stability of {name}"
        n = options.stability_replicates
        found = ordering_stability(order_again, full, values, replicates=n, seed=seed, label=label)
        rows.append({"method": name, **found.summary})
        spread[f"{name}_rank_sd"] = found.cells["rank_sd"].to_numpy()
    return pd.DataFrame(rows), pd.DataFrame(spread, index=neighbors.cells.rename("cell"))


@dataclass(frozen=True, eq=False)
class Stability:
    """How an ordering fares on halves of the cells.

    Attributes
    ----------
    replicates
        One row a division: ``replicate``, ``spearman`` between the orderings of its halves, ``with_full`` (mean
        Spearman of the halves with the ordering of all cells, which shares their cells and so flatters),
        ``ordered`` (share of cells with a place), ``failure`` (why there is none; empty where there is).
    cells
        One row a cell: ``rank`` in the full ordering, and mean and standard deviation of its rank over the halves
        that hold it (``rank_mean``, ``rank_sd``, all in [0, 1]), ``n_orderings``; NaN with fewer than two.
    summary
        ``spearman`` (mean over divisions), ``low``, ``high`` (95 % of the mean over divisions), ``with_full``,
        ``median_rank_sd``, ``n_replicates``, ``n_failed``, ``verdict`` (stable, uncertain, unstable or failed).
    """

    replicates: pd.DataFrame
    cells: pd.DataFrame
    summary: dict[str, Any]


def ordering_stability(
    order: Ordering,
    full: np.ndarray,
    latent: np.ndarray,
    *,
    replicates: int = 5,
    seed: int = 0,
    label: str = "stability of the ordering",
) -> Stability:
    """Order disjoint halves of the cells, and compare them.

    Halves share no cell, so the ordering of one is carried to the cells of the other (mean over the 10 nearest
    cells of the latent) and compared there by Spearman's correlation, both ways. Overlapping subsamples would
    share their noise and call it stable. Only the ordering is made again, not the latent: what the model itself
    made of noise is not seen here. Stable is not yet true: the distance to a given cell is stable in any cloud.

    Parameters
    ----------
    order
        From sorted positions of ``n_half`` cells to their pseudotimes ``(n_half,)``, NaN where a cell is not
        reached. Everything learnt (clusters, graph, curves) should be learnt again from these cells; the start should
        be that cell of them which is nearest to the start. May raise ``ValueError``, of which ``InputError`` is
        one, ``RuntimeError`` or ``numpy.linalg.LinAlgError``: counted as a failure.
    full, latent
        ``(n_cells,)`` pseudotimes of the ordering of all cells, and their ``(n_cells, n_dims)`` coordinates.
    replicates, seed
        Random divisions, and their seed.
    label
        Text of the progress line.

    Raises
    ------
    InputError
        With fewer than 40 cells.
    """
    n_cells = len(full)
    if n_cells < 2 * MIN_HALF:
        raise InputError(
            f"{n_cells} cells are too few to measure how stable an ordering is; {2 * MIN_HALF} are needed"
        )
    random = np.random.default_rng(seed)
    rows, ranks = [], np.full((replicates, n_cells), np.nan)
    for replicate in track(range(replicates), label, replicates):
        shuffled = random.permutation(n_cells)
        halves = np.sort(shuffled[: n_cells // 2]), np.sort(shuffled[n_cells // 2 :])
        row: dict[str, Any] = {"replicate": replicate + 1, "failure": ""}
        try:
            orders = [np.asarray(order(half), dtype=np.float64) for half in halves]
        except FAILURES as error:
            rows.append(row | {"failure": str(error) or type(error).__name__})
            continue
        rows.append(row | _compare_halves(halves, orders, full, latent))
        for half, times in zip(halves, orders, strict=True):
            ranks[replicate, half] = _scaled_ranks(times)
    columns = ["replicate", "spearman", "with_full", "ordered", "failure"]
    table = pd.DataFrame(rows, columns=columns)
    cells = _rank_spread(full, ranks)
    return Stability(table, cells, _summarize(table, cells))


def _compare_halves(
    halves: tuple[np.ndarray, np.ndarray], orders: list[np.ndarray], full: np.ndarray, latent: np.ndarray
) -> dict[str, Any]:
    carried = [_carry(latent[halves[1 - i]], orders[1 - i], latent[halves[i]]) for i in (0, 1)]
    both_ways = np.array([correlate_ranks(carried[i], orders[i])["spearman"] for i in (0, 1)], float)
    with_full = np.array([correlate_ranks(orders[i], full[halves[i]])["spearman"] for i in (0, 1)], float)
    # An ordering of one half without order (constant, or of next to no cells) agrees with nothing.
    return {
        "spearman": float(np.mean(np.nan_to_num(both_ways))),
        "with_full": float(np.mean(np.nan_to_num(with_full))),
        "ordered": float(np.isfinite(np.concatenate(orders)).mean()),
        "failure": "" if np.isfinite(both_ways).any() else "the ordering of a half has no order",
    }


def _carry(known: np.ndarray, times: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean pseudotime of the nearest cells that have one."""
    from scipy.spatial import KDTree

    placed = np.isfinite(times)
    if placed.sum() < MIN_CELLS:
        return np.full(len(others), np.nan)
    nearest = KDTree(known[placed]).query(others, k=min(N_NEIGHBORS, int(placed.sum())))[1]
    return times[placed][nearest].mean(axis=1)


def _scaled_ranks(times: np.ndarray) -> np.ndarray:
    """Ranks in [0, 1], ties averaged, NaN without a place."""
    from scipy import stats

    ranks = stats.rankdata(times, nan_policy="omit")
    n = int(np.isfinite(times).sum())
    return (ranks - 1) / max(n - 1, 1)


def _rank_spread(full: np.ndarray, ranks: np.ndarray) -> pd.DataFrame:
    known = np.isfinite(ranks)
    n = known.sum(axis=0)
    mean = np.divide(np.nansum(ranks, axis=0), n, out=np.full(len(n), np.nan), where=n > 0)
    squares = np.nansum((ranks - mean) ** 2, axis=0)
    sd = np.sqrt(np.divide(squares, n - 1, out=np.full(len(n), np.nan), where=n > 1))
    return pd.DataFrame({"rank": _scaled_ranks(full), "rank_mean": mean, "rank_sd": sd, "n_orderings": n})


def _summarize(table: pd.DataFrame, cells: pd.DataFrame) -> dict[str, Any]:
    from scipy import stats

    worked = table.loc[table["failure"] == "", ["spearman", "with_full"]].astype(float)
    n, n_failed = len(worked), len(table) - len(worked)
    summary: dict[str, Any] = dict.fromkeys(("spearman", "low", "high", "with_full", "median_rank_sd"))
    summary |= {"n_replicates": len(table), "n_failed": n_failed, "verdict": "failed"}
    if not n:
        return summary
    mean, reach = float(worked["spearman"].mean()), float("inf")
    if n > 1:
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * worked["spearman"].std(ddof=1) / np.sqrt(n))
    low, high = max(mean - reach, -1.0), min(mean + reach, 1.0)
    verdict = "uncertain"
    if low >= STABLE and not n_failed:
        verdict = "stable"
    elif high < STABLE and mean < UNSTABLE:
        verdict = "unstable"
    if cells["rank_sd"].notna().any():
        summary["median_rank_sd"] = float(cells["rank_sd"].median())
    with_full = float(worked["with_full"].mean())
    return summary | {"spearman": mean, "low": low, "high": high, "with_full": with_full, "verdict": verdict}


@dataclass(frozen=True, eq=False)
class Half:
    """Some of the cells with their latent, a graph, landmarks (its communities) and what their start reaches."""

    latent: np.ndarray
    neighbors: NeighborsGraph
    landmarks: pd.Series
    reach: Reach


def _take_half(
    latent: np.ndarray, chosen: np.ndarray, starts: np.ndarray, n_neighbors: int, n_landmarks: int, seed: int
) -> Half:
    """Cells at the sorted positions ``chosen``; where no start cell is among them, the one nearest to the start is."""
    values = latent[chosen]
    cells, points = pd.Index(chosen.astype(str), name="cell"), values.astype(np.float32)
    sizes = {"n_neighbors": n_neighbors, "n_search": n_neighbors, "exact_up_to": EXACT_UP_TO}
    neighbors = neighbors_graph(cells, points, **sizes, seed=seed)
    own = np.flatnonzero(np.isin(chosen, starts))
    if not len(own):
        middle = np.median(latent[starts], axis=0)
        own = np.array([np.linalg.norm(values - middle, axis=1).argmin()])
    groups = communities_like(neighbors, n_landmarks, seed)
    return Half(values, neighbors, groups, reach_from(neighbors, own, groups))


def _order_half(half: Half, options: TrajectoryOptions, seed: int) -> dict[str, np.ndarray | Exception]:
    """Each order of :data:`HALF_ORDERS`, or why there is none."""
    orders: dict[str, np.ndarray | Exception] = {}
    with one_thread():
        for name, order in HALF_ORDERS.items():
            try:
                orders[name] = order(half, options, seed)
            except FAILURES as error:
                orders[name] = error
    return orders


def _order_half_by_diffusion(half: Half, options: TrajectoryOptions, seed: int) -> np.ndarray:
    """``(n_half,)`` diffusion pseudotime."""
    pseudotime, _, _ = order_from_outermost(half.neighbors, half.reach, options, seed)
    return pseudotime["dpt_pseudotime"].to_numpy()


def _order_half_by_slingshot(half: Half, _options: TrajectoryOptions, _seed: int) -> np.ndarray:
    """``(n_half,)`` mean pseudotime over lineages."""
    start = choose_start_cluster(half.landmarks, half.reach.starts)
    return slingshot(half.latent, half.landmarks, start, components=half.reach.parts).mean_pseudotime


def _order_half_along_graph(half: Half, options: TrajectoryOptions, seed: int) -> np.ndarray:
    """``(n_half,)`` pseudotime along a principal graph; NaN where the start does not reach."""
    pseudotime = np.full(len(half.latent), np.nan)
    _, order = order_reached(half.latent, half.reach, options.principal_graph, seed)
    pseudotime[half.reach.reachable] = order.pseudotime
    return pseudotime


type HalfOrder = Callable[[Half, TrajectoryOptions, int], np.ndarray]
# Order → how it is learnt again on half of the cells.
HALF_ORDERS: dict[str, HalfOrder] = {
    "dpt_pseudotime": _order_half_by_diffusion,
    "slingshot_pseudotime": _order_half_by_slingshot,
    "graph_pseudotime": _order_half_along_graph,
}
