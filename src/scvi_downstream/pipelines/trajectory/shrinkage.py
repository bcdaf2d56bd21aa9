"""Curves that share cells are drawn to their average where they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .principal_curves import arc_lengths, at_arcs, project, resample, stretched

KERNEL_REACH = 1 / np.sqrt(1 / 3 - 2 / np.pi**2)
"""Half the width of the cosine kernel with standard deviation 1."""
KERNEL_SHOWN = 3.0
STRETCH = 2.0


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
