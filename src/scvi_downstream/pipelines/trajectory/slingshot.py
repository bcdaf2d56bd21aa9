"""Slingshot: one smooth curve a lineage, all of them fitted together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.trajectory.lineages import ClusterTree, build_tree
from scvi_downstream.pipelines.trajectory.principal_curves import (
    Projection,
    arc_lengths,
    at_arcs,
    project,
    resample,
    smoothing_spline,
    stretched,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.progress import Progress

KERNEL_REACH = 1 / np.sqrt(1 / 3 - 2 / np.pi**2)
"""Half the width of the cosine kernel with standard deviation 1."""
KERNEL_SHOWN = 3.0


@dataclass(frozen=True)
class Group:
    """Branches that part at one place; each a lineage, or an earlier group of them.

    Attributes
    ----------
    members
        Numbers of lineages, or ``n_lineages + g`` for group ``g``.
    lineages
        All lineages within.
    """

    members: tuple[int, ...]
    lineages: frozenset[int]


def nested_groups(sharing: Sequence[frozenset[int]]) -> list[Group]:
    """Groups of lineages that share a cluster, the innermost first.

    Parameters
    ----------
    sharing
        Per cluster the lineages through it; as they come from a tree, any two sets are nested or disjoint.
    """
    n_lineages = len(frozenset().union(*sharing))
    shared = sorted(
        {group for group in sharing if len(group) > 1}, key=lambda group: (len(group), sorted(group))
    )
    groups: list[Group] = []
    for lineages in shared:
        inner = [g for g, group in enumerate(groups) if group.lineages < lineages]
        outermost = [g for g in inner if not any(groups[g].lineages < groups[h].lineages for h in inner)]
        alone = lineages.difference(*(groups[g].lineages for g in outermost))
        members = [*sorted(alone), *(n_lineages + g for g in outermost)]
        groups.append(Group(tuple(members), lineages))
    return groups


def shrink_together(
    latent: np.ndarray,
    curves: Sequence[np.ndarray],
    arcs: Sequence[np.ndarray],
    weights: np.ndarray,
    groups: Sequence[Group],
    n_points: int,
) -> dict[int, np.ndarray]:
    """Curves moved to the average of their group, fully at the start and not at all beyond the shared cells.

    Averages are made from the leaves to the root and curves are shrunk from the root to the leaves. Where the shared
    cells have no extent along one branch, the branches leave the start in opposite directions, and none is moved.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)``.
    curves
        Per lineage ``(n_points, n_dims)``.
    arcs
        Per lineage ``(n_cells,)`` lengths of the curve up to each cell.
    weights
        ``(n_cells, n_lineages)``.
    groups
        Of :func:`nested_groups`.
    n_points
        Points of the averages.

    Returns
    -------
    The moved curves of lineages.
    """
    lines: dict[int, np.ndarray] = dict(enumerate(curves))
    along: dict[int, np.ndarray] = dict(enumerate(arcs))
    on = {k: weights[:, k] > 0 for k in lines}
    shares: list[list[np.ndarray] | None] = []
    for g, group in enumerate(groups):
        average = len(curves) + g
        shared = np.logical_and.reduce([on[member] for member in group.members])
        found = [share_of_average(arc_lengths(lines[m]), along[m][shared]) for m in group.members]
        shares.append(None if any(not share.any() for share in found) else found)
        on[average] = np.logical_or.reduce([on[member] for member in group.members])
        lines[average], along[average] = _average(
            latent, [lines[m] for m in group.members], on[average], n_points
        )
    for g in reversed(range(len(groups))):
        share_of_members = shares[g]
        if share_of_members is None:
            continue
        average = len(curves) + g
        for member, share in zip(groups[g].members, share_of_members, strict=True):
            own = lines[member]
            target = at_arcs(lines[average], arc_lengths(own))
            lines[member] = share[:, None] * target + (1 - share[:, None]) * own
    return {k: lines[k] for k in range(len(curves))}


def share_of_average(arcs: np.ndarray, shared_arcs: np.ndarray) -> np.ndarray:
    """How much of the average a curve takes at each point: 1 at the start, falling to 0 where shared cells end.

    The fall is the survival function of a cosine kernel, stretched over the shared cells (outliers beyond 1.5
    interquartile ranges left out, as in a box plot).

    Parameters
    ----------
    arcs
        ``(n_points,)`` of the curve.
    shared_arcs
        Arc lengths of the cells that all branches share.
    """
    if len(shared_arcs) == 0:
        return np.zeros(len(arcs))
    low, high = np.quantile(shared_arcs, [0.25, 0.75])
    reach = 1.5 * (high - low)
    kept = shared_arcs[(shared_arcs >= low - reach) & (shared_arcs <= high + reach)]
    first, last = kept.min(), kept.max()
    if last <= first:
        return np.zeros(len(arcs))
    u = KERNEL_SHOWN * (2 * (arcs - first) / (last - first) - 1)
    u = np.clip(u / KERNEL_REACH, -1, 1)
    return 0.5 - 0.5 * (u + np.sin(np.pi * u) / np.pi)


def _average(
    latent: np.ndarray, lines: list[np.ndarray], on: np.ndarray, n_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of curves at equal arc lengths, up to the end of the shortest; and cells along it."""
    shortest = min(arc_lengths(line)[-1] for line in lines)
    grid = np.linspace(0, shortest, n_points)
    mean = stretched(np.mean([at_arcs(line, grid) for line in lines], axis=0), STRETCH)
    arc = project(latent, mean).arc[on]
    points = resample(mean, arc.min(), arc.max(), n_points)
    return points, project(latent, points).arc


STRETCH = 2.0
CLOSE, FAR, FAINT = 0.5, 0.9, 0.1


@dataclass(frozen=True, eq=False)
class Slingshot:
    """Lineages as smooth curves, and where cells lie along them.

    Attributes
    ----------
    tree
        Clusters, edges and lineages.
    curves
        Per lineage ``(n_points, n_dims)``, from the start on.
    pseudotime
        ``(n_cells, n_lineages)`` length of the curve up to the cell, 0 at its first cell; NaN for cells that are not on
        the lineage.
    weights
        ``(n_cells, n_lineages)`` in [0, 1]; the largest of a cell is 1, 0 is off the lineage.
    lineage
        ``(n_cells,)`` lineage of the highest weight, of several the nearest; -1 where there is none.
    mean_pseudotime
        ``(n_cells,)`` weighted mean over lineages; NaN for cells that the start does not reach.
    converged
        Whether the curves stopped moving.
    """

    tree: ClusterTree
    curves: tuple[np.ndarray, ...]
    pseudotime: np.ndarray
    weights: np.ndarray
    lineage: np.ndarray
    mean_pseudotime: np.ndarray
    converged: bool


def slingshot(
    latent: np.ndarray,
    clusters: pd.Series,
    start: str,
    *,
    ends: Sequence[str] = (),
    components: np.ndarray | None = None,
    df: float = 5.0,
    n_points: int = 100,
    max_iterations: int = 15,
    tolerance: float = 1e-3,
) -> Slingshot:
    """Order cells along lineages through clusters.

    Parameters
    ----------
    latent
        ``(n_cells, n_dims)``; distances in it are taken at face value.
    clusters
        ``(n_cells,)`` categories.
    start
        Cluster at which all lineages begin.
    ends
        Clusters at which lineages end.
    components
        ``(n_cells,)`` connected component of each cell, as of the neighbours graph. Cells of other components than most
        cells of ``start`` get no pseudotime. Without it the tree joins everything, however far apart.
    df
        Effective degrees of freedom of each curve in each dimension.
    n_points
        Points of each curve.
    max_iterations, tolerance
        Iterations end when the sum of squared distances to the curves changes by less than this share.

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
    reached = _reached(labels, str(start), components)
    here = latent[reached]
    labels = labels[reached].cat.remove_unused_categories()
    tree = build_tree(here, labels, start, ends=[str(end) for end in ends])
    fit = _Fit(here, tree, labels, df, n_points)
    progress, converged, previous = Progress("Fitting lineages", max_iterations), False, np.inf
    for _ in range(max_iterations):
        total = fit.iterate()
        progress.advance()
        converged = abs(previous - total) <= tolerance * previous if np.isfinite(previous) else False
        if converged:
            break
        previous = total
    return _result(fit, reached, converged)


def slingshot_table(found: Slingshot, cells: pd.Index) -> pd.DataFrame:
    """What is found, one row a cell.

    Returns
    -------
    ``slingshot_pseudotime`` (weighted mean over lineages), ``slingshot_lineage`` (category ``lineage_1`` …), and per
    lineage ``slingshot_pseudotime_1`` … (NaN off the lineage) and ``slingshot_weight_1`` …
    """
    n_lineages = found.weights.shape[1]
    names = [f"lineage_{k + 1}" for k in range(n_lineages)]
    table = pd.DataFrame(
        {
            "slingshot_pseudotime": found.mean_pseudotime,
            "slingshot_lineage": pd.Categorical.from_codes(found.lineage, categories=names),
        },
        index=pd.Index(cells, name="cell"),
    )
    for k in range(n_lineages):
        table[f"slingshot_pseudotime_{k + 1}"] = found.pseudotime[:, k]
    for k in range(n_lineages):
        table[f"slingshot_weight_{k + 1}"] = found.weights[:, k]
    return table


def _reached(labels: pd.Series, start: str, components: np.ndarray | None) -> np.ndarray:
    starting = (labels == start).to_numpy()
    if components is None or not starting.any():
        return np.ones(len(labels), dtype=bool)
    values, counts = np.unique(components[starting], return_counts=True)
    return np.asarray(components == values[counts.argmax()])


class _Fit:
    """Curves, projections and weights between iterations."""

    def __init__(
        self, latent: np.ndarray, tree: ClusterTree, labels: pd.Series, df: float, n_points: int
    ) -> None:
        self.latent, self.tree, self.df, self.n_points = latent, tree, df, n_points
        on = np.array([[name in path for path in tree.lineages] for name in tree.clusters], dtype=np.float64)
        self.weights = on[labels.cat.codes.to_numpy()]
        self.groups = nested_groups([frozenset(np.flatnonzero(row).tolist()) for row in on > 0])
        self.curves: list[np.ndarray] = []
        self.projections: list[Projection] = []
        for k, path in enumerate(tree.lineages):
            self._place(k, self._through_centres(path), self._reach(path))

    def iterate(self) -> float:
        """Weigh cells, smooth, draw shared parts together; the sum of squared distances to the curves."""
        self.weights = reweigh(self.weights, self._squared_distances())
        for k in range(len(self.curves)):
            own = self.projections[k].arc
            on = own[self.weights[:, k] > 0]
            grid = np.linspace(on.min(), on.max(), self.n_points)
            smooth, _ = smoothing_spline(own, self.latent, self.weights[:, k], grid, self.df)
            self._place(k, smooth, STRETCH)
        arcs = [projection.arc for projection in self.projections]
        shrunk = shrink_together(self.latent, self.curves, arcs, self.weights, self.groups, self.n_points)
        for k, points in shrunk.items():
            self._place(k, points, STRETCH)
        return float(np.sum(self._squared_distances()[self.weights > 0]))

    def _squared_distances(self) -> np.ndarray:
        return np.column_stack([projection.squared_distance for projection in self.projections])

    def _through_centres(self, path: tuple[str, ...]) -> np.ndarray:
        return self.tree.centres[[self.tree.clusters.index(name) for name in path]]

    def _reach(self, path: tuple[str, ...]) -> float:
        """How far the straight line must be stretched to pass by all cells."""
        ends = self._through_centres(path)
        shortest = min(np.linalg.norm(ends[1] - ends[0]), np.linalg.norm(ends[-1] - ends[-2]))
        extent = float(np.linalg.norm(np.ptp(self.latent, axis=0)))
        return extent / max(float(shortest), 1e-6 * extent, np.finfo(np.float64).tiny)

    def _place(self, k: int, points: np.ndarray, stretch: float) -> None:
        """Let the curve reach from the first to the last cell of its lineage, and project all cells onto it."""
        longer = stretched(points, stretch)
        arc = project(self.latent, longer).arc[self.weights[:, k] > 0]
        if len(self.curves) == k:
            self.curves.append(points)
            self.projections.append(Projection(arc, arc))
        self.curves[k] = resample(longer, arc.min(), arc.max(), self.n_points)
        self.projections[k] = project(self.latent, self.curves[k])


def reweigh(weights: np.ndarray, squared_distances: np.ndarray) -> np.ndarray:
    """Weights of cells on lineages from their distances to the curves.

    Distances are ranked over all cells and lineages together, to ``z`` in [0, 1]. On the lineages that a cell is on,
    its weight is ``1 - z²`` relative to its best one. Cells near a curve (``z < 0.5``) join its lineage; a cell far
    from one (``z > 0.9``) leaves it where its weight is below 0.1.

    Parameters
    ----------
    weights
        ``(n_cells, n_lineages)`` before; each cell is on one lineage at least.
    squared_distances
        ``(n_cells, n_lineages)``.
    """
    order = np.argsort(squared_distances, axis=None, kind="stable")
    share = (weights / weights.sum(axis=1, keepdims=True)).ravel()
    ranked = np.empty(weights.size)
    ranked[order] = np.cumsum(share[order]) / share.sum()
    rank = ranked.reshape(weights.shape)
    on = weights > 0
    score = np.where(on, 1 - np.minimum(rank, 1) ** 2, 0.0)
    best = score.max(axis=1, keepdims=True)
    new = np.divide(score, best, out=on.astype(np.float64), where=best > 0)
    new[rank < CLOSE] = 1.0
    new[(rank > FAR) & (new < FAINT)] = 0.0
    return new


def _result(fit: _Fit, reached: np.ndarray, converged: bool) -> Slingshot:  # noqa: FBT001
    weights = reweigh(fit.weights, fit._squared_distances())
    arcs = np.column_stack([projection.arc for projection in fit.projections])
    arcs -= np.where(weights > 0, arcs, np.inf).min(axis=0)
    nearest = np.where(weights == weights.max(axis=1, keepdims=True), fit._squared_distances(), np.inf)
    shape = (len(reached), weights.shape[1])
    all_weights, pseudotime = np.zeros(shape), np.full(shape, np.nan)
    lineage, mean = np.full(len(reached), -1), np.full(len(reached), np.nan)
    all_weights[reached] = weights
    pseudotime[reached] = np.where(weights > 0, arcs, np.nan)
    lineage[reached] = nearest.argmin(axis=1)
    mean[reached] = np.sum(weights * np.maximum(arcs, 0), axis=1) / weights.sum(axis=1)
    return Slingshot(fit.tree, tuple(fit.curves), pseudotime, all_weights, lineage, mean, converged)
