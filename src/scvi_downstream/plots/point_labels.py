"""Names beside points, none on top of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

type Corners = tuple[float, float, float, float]
# Where a name may stand, in points from its point: near places first.
DIRECTIONS = ((0.9, 0.6), (-0.9, 0.6), (0.9, -0.6), (-0.9, -0.6), (0, 1.1), (0, -1.1), (1.2, 0), (-1.2, 0))
OFFSETS = [(radius * x, radius * y) for radius in (6, 13, 22, 34, 48) for x, y in DIRECTIONS]


def label_points(
    axes: Axes, xy: np.ndarray, names: Sequence[str], *, avoid: np.ndarray, fontsize: float = 7
) -> int:
    """Write each name beside its point where it covers the fewest other points and no other name.

    The first names are placed first; one that fits nowhere is left out.

    Places are found in pixels, so the figure must have its final layout: call
    ``figure.draw_without_rendering()`` before.

    Parameters
    ----------
    axes
        Axes that already show the points.
    xy
        ``(n_points, 2)`` data coordinates.
    names
        ``n_points`` texts.
    avoid
        ``(n_others, 2)`` data coordinates of points that names should not cover.

    Returns
    -------
    Number of names written.
    """
    from matplotlib.patheffects import withStroke

    frame = axes.get_window_extent()
    scale = axes.figure.dpi / 72
    places = np.asarray(xy, dtype=float).reshape(-1, 2)
    others = axes.transData.transform(np.asarray(avoid, dtype=float).reshape(-1, 2))
    taken: list[Corners] = []
    for place, (x, y), name in zip(places, axes.transData.transform(places), names, strict=True):
        text = axes.annotate(
            name, tuple(place), xytext=(0, 0), textcoords="offset points",
            fontsize=fontsize, ha="center", va="center",
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#777777", "shrinkA": 0, "shrinkB": 1},
        )  # fmt: skip
        text.set_in_layout(False)
        box = text.get_window_extent()
        half = (box.width / 2 + 1, box.height / 2)
        middles = [(x + dx * scale + np.sign(dx) * half[0], y + dy * scale) for dx, dy in OFFSETS]
        free = [
            (_covered(corners, others), order, corners, middle)
            for order, middle in enumerate(middles)
            if _inside(corners := _corners(middle, half), frame)
            and not any(_overlap(corners, each) for each in taken)
        ]
        if not free:
            text.remove()
            continue
        _, _, corners, middle = min(free)
        text.set_position(((middle[0] - x) / scale, (middle[1] - y) / scale))
        taken.append(corners)
    return len(taken)


def _corners(middle: tuple[float, float], half: tuple[float, float]) -> Corners:
    return (middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1])


def _covered(corners: Corners, points: np.ndarray) -> int:
    inside = (points > corners[:2]) & (points < corners[2:])
    return int(inside.all(axis=1).sum())


def _inside(corners: Corners, frame: Bbox) -> bool:
    return bool(
        corners[0] >= frame.x0
        and corners[2] <= frame.x1
        and corners[1] >= frame.y0
        and corners[3] <= frame.y1
    )


def _overlap(one: Corners, other: Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
