"""Slingshot: one smooth curve a lineage, all of them fitted together; and the mean order over clusterings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.trajectory.diffusion import barely_connected
from scvi_downstream.pipelines.trajectory.lineages import (
    ClusterTree,
    build_tree,
    choose_start_cluster,
    edge_confidence,
)
from scvi_downstream.pipelines.trajectory.loops import describe_loops, find_loops
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.principal_curves import (
    N_POINTS,
    ROUNDING,
    STRETCH,
    Projection,
    nested_groups,
    project,
    resample,
    shrink_together,
    smoothing_spline,
    stretched,
    with_ties,
)
from scvi_downstream.pipelines.trajectory.start import reach_of_start
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import Progress, track
from scvi_downstream.runtime.threads import one_thread

# Effective degrees of freedom of each curve in each dimension: it bends some three times.
DEGREES_OF_FREEDOM = 5.0
# Curves are moved until their squared distances to the cells change by less than this share, as in R.
MAX_ITERATIONS, TOLERANCE = 15, 1e-3
# Shares of all distances below which a cell joins a lineage and beyond which it may leave it, and the weight at which
# it does; as in R.
CLOSE, FAR, FAINT = 0.5, 0.9, 0.1
SURE = 0.8  # Share of bootstrap samples below which an edge of the tree is said to be uncertain.
MANY_CELLS = 10  # A clustering is taken for the mean order when it has so many cells a cluster.


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
    values, groups, ends = latent.to_numpy(np.float64), landmarks["landmark"], options.slingshot.ends
    reach = reach_of_start(neighbors, landmarks, trajectory_start)
    start = choose_start_cluster(groups, reach.starts)
    found = slingshot(values, groups, start, ends=ends, components=reach.parts)
    reached = np.isfinite(found.mean_pseudotime)
    n_bootstraps = options.slingshot.bootstraps
    confidence = edge_confidence(
        values[reached], groups[reached], found.tree, ends=ends, n_bootstraps=n_bootstraps, seed=seed
    )
    nearest, lengths = (each[:, : neighbors.n_neighbors] for each in (neighbors.indices, neighbors.distances))
    loops = find_loops(nearest, lengths, groups, found.tree.edges)
    n_clusters = tuple(k for k in range(5, 15) if reached.sum() >= MANY_CELLS * k) or (2,)
    others = slingshot_consensus(values, reach.starts, reach.reachable, n_clusters=n_clusters, seed=seed)
    facts = {
        "start": start,
        "edges": confidence.to_dict(orient="records"),
        "lineages": {name: list(path) for name, path in zip(found.names, found.tree.lineages, strict=True)},
        "converged": found.converged,
        "loops": loops.to_dict(orient="records"),
        "clusterings": {
            "n": len(others.agreement),
            "agreement": float(np.median(others.agreement)),
            "lowest": float(others.agreement.min()),
            "lineages": sorted(set(others.n_lineages)),
        },
        "sentences": describe_loops(loops) + barely_connected(paga, start) + _unsure_edges(confidence),
    }
    curves = [pd.DataFrame(curve, columns=latent.columns) for curve in found.curves]
    table = slingshot_table(found, neighbors.cells).assign(
        slingshot_consensus=others.pseudotime, slingshot_spread=others.spread
    )
    return table, pd.concat(curves, keys=found.names, names=["lineage", "point"]).reset_index(), facts


def _unsure_edges(confidence: pd.DataFrame) -> list[str]:
    weak = confidence[confidence["confidence"] < SURE]
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


@dataclass(frozen=True, eq=False)
class Slingshot:
    """Lineages as smooth curves, and where cells lie along them.

    ``tree`` has clusters, edges and lineages; ``curves`` are per lineage ``(n_points, n_dims)``, from the start on.
    ``pseudotime`` is the ``(n_cells, n_lineages)`` length of the curve up to the cell, 0 at its first cell, NaN for
    cells that are not on the lineage; ``weights`` of the same shape are in [0, 1], the largest of a cell 1, 0 off the
    lineage. ``lineage`` is the ``(n_cells,)`` lineage of the highest weight, of several the nearest, -1 where there
    is none; ``mean_pseudotime`` the weighted mean over lineages, NaN for cells that the start does not reach.
    ``converged`` says whether the curves stopped moving.
    """

    tree: ClusterTree
    curves: tuple[np.ndarray, ...]
    pseudotime: np.ndarray
    weights: np.ndarray
    lineage: np.ndarray
    mean_pseudotime: np.ndarray
    converged: bool

    @property
    def names(self) -> list[str]:
        """``lineage_1``, ``lineage_2``, …"""
        return [f"lineage_{k + 1}" for k in range(len(self.curves))]


def slingshot(
    latent: np.ndarray,
    clusters: pd.Series,
    start: str,
    *,
    ends: Sequence[str] = (),
    components: np.ndarray | None = None,
) -> Slingshot:
    """Order cells along lineages through clusters.

    Parameters
    ----------
    latent, clusters
        ``(n_cells, n_dims)``, in which distances are taken at face value; ``(n_cells,)`` categories.
    start, ends
        Cluster at which all lineages begin; clusters at which they end.
    components
        ``(n_cells,)`` connected component of each cell, as of the neighbours graph. Cells of other components than most
        cells of ``start`` get no pseudotime. Without it the tree joins everything, however far apart.

    Raises
    ------
    InputError
        When a name is not a cluster, when fewer than two clusters are left, or when coordinates are not finite.

    References
    ----------
    Street et al. (2018), doi:10.1186/s12864-018-4772-0.
    """
    latent = np.asarray(latent, dtype=np.float64)
    if not np.isfinite(latent).all():
        raise InputError(
            "the embedding holds NaN or infinite values, so no curve can be fitted; use another model"
        )
    labels = pd.Series(pd.Categorical(clusters).rename_categories(str))
    reached = _component_of_start(labels, start, components)
    here = latent[reached]
    labels = labels[reached].cat.remove_unused_categories()
    tree = build_tree(here, labels, start, ends=ends)
    fit = _Fit(here, tree, labels)
    progress, converged, previous = Progress("Fitting lineages", MAX_ITERATIONS), False, np.inf
    for _ in range(MAX_ITERATIONS):
        total = fit.iterate()
        progress.advance()
        converged = bool(np.isfinite(previous)) and abs(previous - total) <= TOLERANCE * previous
        if converged:
            break
        previous = total
    return fit.result(reached, converged=converged)


def slingshot_table(found: Slingshot, cells: pd.Index) -> pd.DataFrame:
    """``slingshot_pseudotime`` (weighted mean) and ``slingshot_lineage`` by cell, and columns of each lineage.

    These are ``slingshot_pseudotime_1`` … (NaN off the lineage) and ``slingshot_weight_1`` …
    """
    columns: dict[str, Any] = {
        "slingshot_pseudotime": found.mean_pseudotime,
        "slingshot_lineage": pd.Categorical.from_codes(found.lineage, categories=found.names),
    }
    columns |= {f"slingshot_pseudotime_{k + 1}": column for k, column in enumerate(found.pseudotime.T)}
    columns |= {f"slingshot_weight_{k + 1}": column for k, column in enumerate(found.weights.T)}
    return pd.DataFrame(columns, index=pd.Index(cells, name="cell"))


def _component_of_start(labels: pd.Series, start: str, components: np.ndarray | None) -> np.ndarray:
    """``(n_cells,)`` mask of the component that most cells of the start cluster are in."""
    starting = (labels == start).to_numpy()
    if components is None or not starting.any():
        return np.ones(len(labels), dtype=bool)
    values, counts = np.unique(components[starting], return_counts=True)
    return np.asarray(components == values[counts.argmax()])


class _Fit:
    """Curves, projections and weights between iterations."""

    def __init__(self, latent: np.ndarray, tree: ClusterTree, labels: pd.Series) -> None:
        self.latent, self.tree = latent, tree
        on = np.array([[name in path for path in tree.lineages] for name in tree.clusters], dtype=np.float64)
        self.weights = on[labels.cat.codes.to_numpy()]
        self.groups = nested_groups([frozenset(np.flatnonzero(row).tolist()) for row in on > 0])
        self.indistinct = ROUNDING * float(np.sum(np.ptp(latent, axis=0) ** 2))
        self.curves: dict[int, np.ndarray] = {}
        self.projections: dict[int, Projection] = {}
        for k, path in enumerate(tree.lineages):
            centres = tree.centres[[tree.clusters.index(name) for name in path]]
            self._place(k, centres, self._stretch_past_all_cells(centres))

    def iterate(self) -> float:
        """Weigh cells, smooth, draw shared parts together; the sum of squared distances to the curves.

        As in R, curves are smoothed with the weights of the iteration before, and the new ones say which cells they
        reach and share.
        """
        before, self.weights = self.weights, reweigh(self.weights, self._squared_distances())
        for k in range(len(self.curves)):
            own = self.projections[k].arc
            on = own[before[:, k] > 0]
            grid = np.linspace(on.min(), on.max(), N_POINTS)
            smooth, _ = smoothing_spline(own, self.latent, before[:, k], grid, DEGREES_OF_FREEDOM)
            self._place(k, smooth)
        arcs = [projection.arc for projection in self.projections.values()]
        curves = list(self.curves.values())
        for k, points in enumerate(shrink_together(self.latent, curves, arcs, self.weights, self.groups)):
            self._place(k, points)
        return float(np.sum(self._squared_distances()[self.weights > 0]))

    def result(self, reached: np.ndarray, *, converged: bool) -> Slingshot:
        """What is found, among all cells, of which those fitted are ``reached``."""
        weights = reweigh(self.weights, self._squared_distances())
        arcs = np.column_stack([projection.arc for projection in self.projections.values()])
        arcs -= np.where(weights > 0, arcs, np.inf).min(axis=0)
        best = weights == weights.max(axis=1, keepdims=True)
        mean = np.sum(weights * np.maximum(arcs, 0), axis=1) / weights.sum(axis=1)

        def among_all(values: np.ndarray, missing: float) -> np.ndarray:
            filled = np.full((len(reached), *values.shape[1:]), missing)
            filled[reached] = values
            return filled

        return Slingshot(
            tree=self.tree,
            curves=tuple(self.curves.values()),
            pseudotime=among_all(np.where(weights > 0, arcs, np.nan), np.nan),
            weights=among_all(weights, 0.0),
            lineage=among_all(np.where(best, self._squared_distances(), np.inf).argmin(axis=1), -1),
            mean_pseudotime=among_all(mean, np.nan),
            converged=converged,
        )

    def _squared_distances(self) -> np.ndarray:
        # first lines run through the same clusters, so cells there are as far from one as from the other, but for the
        # last bit; it must neither rank them nor say on which lineage they are
        squared = np.column_stack([projection.squared_distance for projection in self.projections.values()])
        return with_ties(squared, self.indistinct)

    def _stretch_past_all_cells(self, centres: np.ndarray) -> float:
        """Lengths of an end segment by which the first, straight lines must grow, so that no cell is beyond them."""
        shortest = min(np.linalg.norm(centres[1] - centres[0]), np.linalg.norm(centres[-1] - centres[-2]))
        extent = float(np.linalg.norm(np.ptp(self.latent, axis=0)))
        return extent / max(float(shortest), 1e-6 * extent, np.finfo(np.float64).tiny)

    def _place(self, k: int, points: np.ndarray, stretch: float = STRETCH) -> None:
        """Let the curve reach from the first to the last cell of its lineage, and project all cells onto it."""
        longer = stretched(points, stretch)
        arc = project(self.latent[self.weights[:, k] > 0], longer).arc
        self.curves[k] = resample(longer, arc.min(), arc.max())
        self.projections[k] = project(self.latent, self.curves[k])


def reweigh(weights: np.ndarray, squared_distances: np.ndarray) -> np.ndarray:
    """Weights of cells on lineages from their distances to the curves, all ``(n_cells, n_lineages)``.

    Distances are ranked over all cells and lineages together: ``z`` in [0, 1] is the share of cells that are at
    most as far, so that equal distances have equal ranks. On the lineages that a cell is on, at least one, its
    weight is ``1 - z²`` relative to its best one. Cells near a curve (``z < 0.5``) join its lineage; a cell far
    from one (``z > 0.9``) leaves it where its weight is below 0.1.
    """
    order = np.argsort(squared_distances, axis=None, kind="stable")
    share = (weights / weights.sum(axis=1, keepdims=True)).ravel()
    in_order = squared_distances.ravel()[order]
    last = np.searchsorted(in_order, in_order, side="right") - 1
    ranked = np.empty(weights.size)
    ranked[order] = np.cumsum(share[order])[last] / share.sum()
    # sums of halves and thirds may meet a threshold, and rounding must not say on which side of it they are
    rank = np.round(ranked, 10).reshape(weights.shape)
    on = weights > 0
    score = np.where(on, 1 - np.minimum(rank, 1) ** 2, 0.0)
    best = score.max(axis=1, keepdims=True)
    new = np.divide(score, best, out=on.astype(np.float64), where=best > 0)
    new[rank < CLOSE] = 1.0
    new[(rank > FAR) & (new < FAINT)] = 0.0
    return new


@dataclass(frozen=True, eq=False)
class SlingshotConsensus:
    """Orders over clusterings.

    ``pseudotime`` is the ``(n_cells,)`` mean over clusterings of the rank, 0 at the first cell and at most 1, and
    ``spread`` its standard deviation; NaN for cells that the start does not reach. ``agreement`` is the mean
    Spearman correlation of each order with the others (NaN of a single one), ``n_lineages`` the numbers of
    lineages.
    """

    pseudotime: np.ndarray
    spread: np.ndarray
    agreement: np.ndarray
    n_lineages: list[int]


def slingshot_consensus(
    latent: np.ndarray,
    start_cells: np.ndarray,
    reachable: np.ndarray,
    *,
    n_clusters: Sequence[int],
    seed: int = 0,
) -> SlingshotConsensus:
    """Order cells by Slingshot on k-means clusters of several numbers and seeds, and take the mean rank.

    In a continuum of cells clusters are cut arbitrarily, and a cut elsewhere may join other clusters and turn a
    lineage round. Errors of single trees average out; what all of them share stays. On worm_embryo single trees
    came to rank correlations with the measured time from 0.17 to 0.94 over clusterings; mean ranks came to 0.89 to
    0.93 with 5 to 14 clusters, and to 0.76 to 0.92 with 15 to 24.

    Cells of the mask ``reachable`` are ordered, once for each number in ``n_clusters``; in each clustering the
    cluster with the most of the ``start_cells`` (positions), beyond its size, is the start.

    Raises
    ------
    InputError
        When the start cells reach fewer than two cells a cluster.
    """
    from scipy.stats import rankdata
    from sklearn.cluster import KMeans

    rows = np.flatnonzero(reachable)
    if len(rows) < 2 * max(n_clusters):
        raise InputError(
            f"the start reaches {len(rows)} cells, too few for {max(n_clusters)} clusters; ask for fewer clusters"
        )
    inside, starts = latent[rows], np.flatnonzero(np.isin(rows, start_cells))
    seeds = np.random.default_rng(seed).integers(0, 2**31, len(n_clusters))
    ranks, n_lineages = [], []
    tried = list(zip(n_clusters, seeds, strict=True))
    for k, own_seed in track(tried, "Slingshot over clusterings", len(tried)):
        codes = KMeans(k, n_init=1, random_state=int(own_seed)).fit_predict(inside)
        clusters = pd.Series(pd.Categorical(codes.astype(str)))
        fit = slingshot(inside, clusters, choose_start_cluster(clusters, starts))
        ranks.append(rankdata(fit.mean_pseudotime) / len(rows))
        n_lineages.append(len(fit.curves))
    agreement = np.full(1, np.nan)
    if len(ranks) > 1:
        agreement = (np.corrcoef(ranks).sum(axis=1) - 1) / (len(ranks) - 1)
    mean, spread = np.full(len(latent), np.nan), np.full(len(latent), np.nan)
    mean[rows] = np.mean(ranks, axis=0) - np.mean(ranks, axis=0).min()
    spread[rows] = np.std(ranks, axis=0)
    return SlingshotConsensus(mean, spread, agreement, n_lineages)
