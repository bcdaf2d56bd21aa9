"""Columns of the leaderboard's figure: dots, bars and coloured cells, with intervals where they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CMAP = "YlGnBu"
_TALLEST = 0.46


def with_interval(board: pd.DataFrame, column: str, rows: np.ndarray) -> pd.DataFrame:
    """``value``, ``low`` and ``high`` of one column by the heights of its rows; NaN where not known."""
    parts = {"value": column, "low": f"{column}_low", "high": f"{column}_high"}
    values = {part: board[name].to_numpy(dtype=float) for part, name in parts.items() if name in board}
    return pd.DataFrame(values, index=rows).reindex(columns=list(parts))


def draw_dots(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """One coloured dot a row with its number inside."""
    middle = left + width / 2
    for y, value, share in _rows(axes, middle, column):
        face, ink = _shade(share)
        size = 560 * min(row / _TALLEST, 1) ** 2
        axes.scatter(middle, y, s=size, color=face, edgecolors="#999999", linewidths=0.4)
        axes.text(middle, y, f"{value:.2f}", ha="center", va="center", fontsize=7.5, color=ink)


def draw_shares(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """A number with half of its 95 % interval, above a bar from 0 to 1 that bears the interval as a line."""
    for y, value, share in _rows(axes, left + width / 2, column):
        low, high = column.loc[y, ["low", "high"]].clip(0, 1)
        text = f"{value:.2f}" + (f" ± {(high - low) / 2:.2f}" if np.isfinite(high - low) else "")
        axes.text(left + 0.06, y + 0.2 * row, text, ha="left", va="center", fontsize=8)
        height = y - 0.22 * row
        axes.barh(height, width - 0.12, 0.3 * row, left=left + 0.06, color="#F2F2F2")
        axes.barh(height, (width - 0.12) * value, 0.3 * row, left=left + 0.06, color=_shade(share)[0])
        if np.isfinite(high - low):
            ends = [left + 0.06 + (width - 0.12) * end for end in (low, high)]
            axes.plot(ends, [height, height], color="#D55E00", lw=2, solid_capstyle="butt", gid="interval")


def draw_costs(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """Grey bars up to the largest value."""
    reach = column["value"].max()
    for y, value, _ in _rows(axes, left + width / 2, column):
        length = (width - 0.12) * value / reach if reach > 0 else 0.0
        axes.barh(y, width - 0.12, 0.65 * row, left=left + 0.06, color="#F2F2F2")
        axes.barh(y, length, 0.65 * row, left=left + 0.06, color="#BBBBBB")
        text = f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
        axes.text(left + 0.12, y, text, ha="left", va="center", fontsize=8)


def draw_likelihoods(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """Coloured cells with the number and half of its interval."""
    from matplotlib.patches import Rectangle

    for y, value, share in _rows(axes, left + width / 2, column):
        face, ink = _shade(share)
        axes.add_patch(
            Rectangle((left + 0.04, y - 0.39 * row), width - 0.08, 0.78 * row, facecolor=face, linewidth=0)
        )
        low, high = column.loc[y, ["low", "high"]]
        text = f"{value:,.1f}".replace("-", "−")
        text += f" ± {(high - low) / 2:,.1f}" if np.isfinite(high - low) else ""
        axes.text(left + width / 2, y, text, ha="center", va="center", fontsize=8, color=ink)


def draw_differences(axes: Axes, left: float, width: float, column: pd.DataFrame, row: float) -> None:
    """Numbers with half of their interval, pale where the interval holds zero."""
    for y, value, _ in _rows(axes, left + width / 2, column):
        low, high = column.loc[y, ["low", "high"]]
        digits = 3 if column["value"].abs().max() < 2 else 1
        text = f"{value:,.{digits}f}".replace("-", "−")
        text += f" ± {(high - low) / 2:,.{digits}f}" if high > low else ""
        color = "#888888" if low <= 0 <= high else "black"
        axes.text(left + width / 2, y, text, ha="center", va="center", fontsize=8, color=color)


def _rows(axes: Axes, middle: float, column: pd.DataFrame) -> list[tuple[float, float, float]]:
    """Height, value and share of the way from the worst to the best; a dash is written for what is missing."""
    values = column["value"]
    spread = values.max() - values.min()
    shares = (values - values.min()) / spread if spread > 0 else values * 0 + 0.5
    for y in values.index[values.isna()]:
        axes.text(middle, y, "–", ha="center", va="center", fontsize=9, color="#888888")
    return [(y, values[y], shares[y]) for y in values.index[values.notna()]]


def _shade(share: float) -> tuple[Any, str]:
    import matplotlib as mpl

    return mpl.colormaps[_CMAP](0.08 + 0.8 * share), "white" if share > 0.55 else "black"
