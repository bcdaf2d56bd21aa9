"""How a figure calls what it shows: titles of panels, names and labels at axes, colours in legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.category import StrCategoryFormatter, StrCategoryLocator
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

SIDES = ("x", "y")


def one_line(text: object) -> str:
    """A text without line breaks."""
    return " ".join(str(text).split())


def panel_names(panels: Sequence[Any]) -> list[str]:
    """Title or else number of each pair of axes; both where a title is used twice."""
    titles = [one_line(axes.get_title() or axes.get_title("left")) for axes in panels]
    return [
        (title if titles.count(title) == 1 else f"{title} ({i})") if title else str(i)
        for i, title in enumerate(titles, 1)
    ]


def axis_label(axes: Any, side: str, panels: Sequence[Any]) -> str:
    """Label of an axis; of one that has none, what others of its row or column say for it, or the figure."""
    same = [other for other in panels if _shared(axes, side).joined(axes, other)]
    if not tick_names(axes, side, panels):
        same += [other for other in panels if _is_beside(axes, other, side)]
    labels = [getattr(each, f"get_{side}label")() for each in (axes, *same)]
    return one_line(next(filter(None, [*labels, getattr(axes.figure, f"get_sup{side}label")()]), ""))


def tick_names(axes: Any, side: str, panels: Sequence[Any]) -> dict[float, str]:
    """Place → name of an axis of names; one without ticks has those of a panel beside it that shows the same range."""
    own = _written(axes, side)
    if own or not isinstance(getattr(axes, f"{side}axis").get_major_locator(), FixedLocator):
        return own
    limits = f"get_{side}lim"
    same = (other for other in panels if _is_beside(axes, other, side))
    alike = (other for other in same if getattr(other, limits)() == getattr(axes, limits)())
    return next(filter(None, (_written(other, side) for other in alike)), {})


def name_places(names: Mapping[float, str], values: np.ndarray, *, near: bool) -> np.ndarray:
    """Names for those numbers that are at one or, where ``near``, less than halfway from it to the next."""
    if not names:
        return values
    places = np.array(list(names))
    halfway = np.diff(places).min() / 2 if len(places) > 1 else 0.5
    nearest = np.searchsorted((places[1:] + places[:-1]) / 2, values)
    found = np.abs(values - places[nearest]) < halfway * (1 - 1e-6 if near else 1e-6)
    if not found.any():
        return values
    named = values.astype(object)
    named[found] = np.array(list(names.values()), dtype=object)[nearest[found]]
    return named


def color_codes(drawn: Any) -> np.ndarray:
    """One whole number a colour of an artist: red, green, blue and opacity."""
    if isinstance(drawn, Line2D):
        color = drawn.get_markerfacecolor() if drawn.get_linestyle() == "None" else drawn.get_color()
    elif isinstance(drawn, LineCollection):
        color = drawn.get_color()
    else:
        color = drawn.get_facecolor() if len(drawn.get_facecolor()) else drawn.get_edgecolor()
    return np.round(to_rgba_array(color) * 255).astype(int) @ (1 << 24, 1 << 16, 1 << 8, 1)


def legend_names(axes: Any) -> dict[int, str]:
    """Colour → its name in the legends that are for the panel, where it has one alone."""
    found: dict[int, str] = {}
    for legend in (axes.get_legend(), *axes.figure.legends, *axes.get_figure(root=True).legends):
        own: dict[int, set[str]] = {}
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True) if legend else ():
            for code in color_codes(handle)[:1].tolist():
                for key in (code, _opaque(code)):
                    own.setdefault(key, set()).add(one_line(text.get_text()))
        found = {code: names.pop() for code, names in own.items() if len(names) == 1} | found
    return found


def name_of_color(legend: Mapping[int, str], code: int) -> str:
    """The name of a colour, or of the same colour in another opacity."""
    return legend.get(code) or legend.get(_opaque(code), "")


def _opaque(code: int) -> int:
    """A colour without its opacity; no other code is negative."""
    return -1 - (code >> 8)


def _shared(axes: Any, side: str) -> Any:
    return getattr(axes, f"get_shared_{side}_axes")()


def _written(axes: Any, side: str) -> dict[float, str]:
    """Place → name, ascending, of fixed ticks that have texts."""
    axis = getattr(axes, f"{side}axis")
    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    if not isinstance(locator, FixedLocator | StrCategoryLocator):
        return {}
    if not isinstance(formatter, FixedFormatter | FuncFormatter | StrCategoryFormatter):
        return {}
    places = list(locator())
    names = zip(places, formatter.format_ticks(places), strict=True)
    return {float(place): one_line(name) for place, name in sorted(names) if name}


def _is_beside(axes: Any, other: Any, side: str) -> bool:
    """Whether the axes are in one column, for ``x``, or in one row, for ``y``."""
    one, two = axes.get_subplotspec(), other.get_subplotspec()
    if one is None or two is None or one.get_gridspec() is not two.get_gridspec():
        return False
    return one.colspan.start == two.colspan.start if side == "x" else one.rowspan.start == two.rowspan.start
