"""What a figure shows, as a table: read from what is drawn, in the coordinates of its axes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.collections import (
    FillBetweenPolyCollection,
    LineCollection,
    PathCollection,
    PolyCollection,
    QuadMesh,
)
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Polygon, Rectangle, StepPatch
from matplotlib.text import Annotation

from scvi_downstream.plots.drawn_names import (
    SIDES,
    axis_label,
    color_codes,
    legend_names,
    name_of_color,
    name_places,
    one_line,
    panel_names,
    tick_names,
)

MOST_POINTS = 100_000
"""Of a cloud or heat map whose points are listed; the study's own tables hold larger ones."""
_LABELED = (*SIDES, "value")
_NUMBERS = (*_LABELED, "low", "high", "area", "rim")
_COLUMNS = ("panel", "series", *_NUMBERS, "text", *(f"{name}_label" for name in _LABELED))
# Name of a column → an array of as many items as the part has rows, or what all of them share.
Part = dict[str, Any]


def drawn_data(figure: Figure) -> pd.DataFrame:
    """One row a point, a bar, an interval or a cell of a heat map, panel by panel.

    Colour bars, insets, frames, and panels whose axes are switched off, as tables are drawn, are left out. Clouds and
    heat maps of more than 100,000 points, and heat maps that name neither rows nor columns, are one row that says so.

    Parameters
    ----------
    figure
        Drawn or not.

    Returns
    -------
    Of these columns those that hold something, numbers of 6 digits; of a note without a panel its text.

    ``panel``
        Title or else number of the panel, where there are several; both where a title is used twice.
    ``series``
        Name in the legend; by the colour where the artist has none. Several lines of one name are numbered.
    ``x``, ``y``
        Coordinates, or the names that an axis has there; the length of bars. A column is called by the label of its
        axis where all panels have the same, and otherwise ``x_label`` and ``y_label`` hold the labels.
    ``value``
        What the colour stands for, called by the label of the colour bar in the same way.
    ``low``, ``high``
        Ends of an interval or band, of a bar that does not begin at 0, of the box of a box plot.
    ``area``, ``rim``
        Of dots that are not all alike: points², and the width of their outline in points.
    ``text``
        What is written at the point.
    """
    panels = [
        axes for axes in figure.axes if axes.axison and axes.get_visible() and not hasattr(axes, "_colorbar")
    ]
    parts = []
    for name, axes in zip(panel_names(panels), panels, strict=True):
        shared = {"panel": name} | {f"{side}_label": axis_label(axes, side, panels) for side in SIDES}
        parts += [part | shared for part in _Panel(axes, panels).parts()]
    if not parts and not figure.axes:
        return pd.DataFrame({"text": [text.get_text() for text in figure.texts]})
    return _as_table(parts)


class _Panel:
    """What one pair of axes shows."""

    def __init__(self, axes: Any, panels: Sequence[Any]) -> None:
        self._axes = axes
        self._names = [tick_names(axes, side, panels) for side in SIDES]
        self._legend = legend_names(axes)
        self._read: set[Any] = set()  # as parts of something else

    def parts(self) -> list[Part]:
        """Parts of the table."""
        axes = self._axes
        found = [*self._containers(), *self._boxes()]
        texts = list(self._texts())
        for drawn in (*axes.collections, *axes.lines, *axes.patches, *axes.images):
            read = next((read for kind, read in _READERS.items() if isinstance(drawn, kind)), None)
            if read and drawn.get_visible() and drawn not in self._read:
                found += read(self, drawn)
        found = [part for part in found if _length(part) or "text" in part]
        _number_lines(found)
        found += [text for text in texts if not _write_at_point(text, found)]
        return [self._named(part) for part in found]

    def _named(self, part: Part) -> Part:
        """With the names of the axes for places; what only passes by them has those that it is at."""
        if _length(part) > MOST_POINTS:
            return {"text": f"{_length(part):,} points are not listed"}
        near, named = "passing" not in part, zip(SIDES, self._names, strict=True)
        return part | {
            side: name_places(names, part[side], near=near) for side, names in named if side in part
        }

    def _series(self, drawn: Any, *colored: Any) -> Any:
        """The name of an artist; without one, those that the legend has for its colour or for each that it has."""
        label = one_line(drawn.get_label() or "_")
        if not label.startswith("_"):
            return label
        codes, at = np.unique(
            np.concatenate([color_codes(each) for each in colored or [drawn]]), return_inverse=True
        )
        named = [name_of_color(self._legend, code) for code in codes.tolist()]
        return np.array(named, dtype=object)[at] if len(named) > 1 else "".join(named)

    def _containers(self) -> Iterator[Part]:
        bars = [found for found in self._axes.containers if isinstance(found, BarContainer)]
        of_bars = [found.errorbar for found in bars]
        yield from (self._bars(drawn) for drawn in bars if drawn.patches)
        for drawn in self._axes.containers:
            if isinstance(drawn, ErrorbarContainer) and not any(drawn is own for own in of_bars):
                yield from self._points_with_errors(drawn)

    def _points_with_errors(self, drawn: Any) -> Iterator[Part]:
        points, _, ends = drawn
        middle = {} if points is None else dict(zip(SIDES, points.get_xydata().T, strict=True))
        series = self._series(drawn, *ends) if ends else ""
        yield from (part | middle | {"series": series} for part in self._errors(drawn))

    def _errors(self, drawn: Any) -> Iterator[Part]:
        points, caps, ends = drawn
        self._read |= {points, *caps, *ends} if ends else set()
        sides = [side for side, has in enumerate((drawn.has_xerr, drawn.has_yerr)) if has]
        for along, lines in zip(sides, ends, strict=True):
            yield self._intervals(along, _paths(lines, known=points is None))

    def _bars(self, bars: Any) -> Part:
        self._read |= set(bars.patches)
        place, along = (1, 0) if bars.orientation == "horizontal" else (0, 1)
        ends = np.array([patch.get_bbox().get_points() for patch in bars.patches])
        start, end = ends[:, :, along].T
        first = bars.patches[0]  # a histogram names its bars there
        series = self._series(first if str(bars.get_label()).startswith("_") else bars, *bars.patches)
        part = {"series": series, SIDES[place]: ends[:, :, place].mean(axis=1), SIDES[along]: end - start}
        if bars.errorbar:
            return next(self._errors(bars.errorbar)) | part
        return part | _between(start, end) if start.any() else part

    def _boxes(self) -> Iterator[Part]:
        """Of box plots, that draw two whiskers, two caps, the median and the outliers of each box, in this order."""
        boxes = [patch for patch in self._axes.patches if type(patch) is PathPatch]
        lines = self._axes.lines[: 6 * len(boxes)]
        if len(lines) < 6 * len(boxes) or any(line.get_linestyle() != "None" for line in lines[5::6]):
            return
        self._read |= {*boxes, *lines}
        for i, box in enumerate(boxes):
            *whiskers, _, _, median, outliers = (line.get_xydata() for line in lines[6 * i : 6 * i + 6])
            along = 0 if median[0, 0] == median[1, 0] else 1
            place, value = SIDES[1 - along], SIDES[along]
            at, reach = whiskers[0][:1, 1 - along], np.concatenate(whiskers)[:, along]
            quartiles = np.asarray(box.get_path().vertices)[:4, along]
            yield {"series": "median", place: at, value: median[:1, along]} | _range(quartiles)
            yield {"series": "whiskers", place: at} | _range(reach)
            yield {"series": "outliers", "x": outliers[:, 0], "y": outliers[:, 1]}

    def _intervals(self, along: int, lines: Sequence[np.ndarray]) -> Part:
        """Of lines of two points along an axis; a dash across a name of that axis is a point there."""
        ends = np.reshape(lines, (-1, 2, 2))
        start, end = ends[:, :, along].T
        part: Part = {SIDES[1 - along]: ends[:, 0, 1 - along]}
        if self._at_one_name(along, start, end):
            return part | {SIDES[along]: (start + end) / 2}
        return part | _between(start, end)

    def _at_one_name(self, side: int, start: np.ndarray, end: np.ndarray) -> bool:
        first, last = (name_places(self._names[side], each, near=True) for each in (start, end))
        return first.dtype == object and bool((first == last).all())

    def _band(self, drawn: Any) -> Iterator[Part]:
        """Polygons of a start, the way there along one curve, an end, and the way back along the other."""
        place = SIDES.index(drawn.t_direction)
        for path in drawn.get_paths():
            n = (len(path.vertices) - 3) // 2
            there, back = path.vertices[1 : n + 1], path.vertices[n + 2 : 2 * n + 2][::-1]
            ends = _between(there[:, 1 - place], back[:, 1 - place])
            yield {"series": self._series(drawn), SIDES[place]: there[:, place]} | ends

    def _segments(self, drawn: Any) -> Iterator[Part]:
        lines, series = _paths(drawn, known=True), self._series(drawn)
        if all(len(line) == 2 for line in lines):
            level = [side for side in (0, 1) if all(line[0, 1 - side] == line[1, 1 - side] for line in lines)]
            if level:
                yield self._intervals(level[0], lines) | {"series": series}
                return
        names = [series] * len(lines) if isinstance(series, str) else np.resize(series, len(lines)).tolist()
        joined: list[tuple[str, np.ndarray]] = []
        for name, line in zip(names, lines, strict=True):
            goes_on = joined and joined[-1][0] == name and (joined[-1][1][-1] == line[0]).all()
            joined.append((name, np.vstack([joined.pop()[1], line[1:]]) if goes_on else line))
        for name, line in joined:
            yield {"series": name, "x": line[:, 0], "y": line[:, 1], "line": True, "passing": True}

    def _mesh(self, drawn: Any) -> Iterator[Part]:
        corners = drawn.get_coordinates()
        middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
        yield _cells(middles[..., 0], middles[..., 1], drawn)

    def _points(self, drawn: Any) -> Iterator[Part]:
        """Dots, or the hexagons of a histogram in the plane."""
        xy = np.ma.filled(np.ma.asarray(drawn.get_offsets(), np.float64), np.nan)
        seen = np.isfinite(xy).all(axis=1)
        series = self._series(drawn)
        part: Part = dict(zip(SIDES, xy[seen].T, strict=True))
        part["series"] = series if isinstance(series, str) else np.resize(series, len(xy))[seen]
        if drawn.get_array() is not None:
            part |= {"value": _masked(drawn)[seen], "value_label": _color_label(drawn)}
        for name, given in (("area", drawn.get_sizes()), ("rim", drawn.get_linewidths())):
            sizes = np.array([np.nan if each is np.ma.masked else each for each in given], np.float64)
            if len(sizes) == len(xy) and len(np.unique(sizes[seen])) > 1:
                part[name] = sizes[seen]
        yield part

    def _image(self, drawn: Any) -> Iterator[Part]:
        values = drawn.get_array()
        if values.ndim == 2 and not self._has_places():
            yield {"text": f"{values.size:,} cells without names are not listed"}
        elif values.ndim == 2:
            left, right, bottom, top = drawn.get_extent()
            first, last = (top, bottom) if drawn.origin == "upper" else (bottom, top)
            rows, columns = ((np.arange(n) + 0.5) / n for n in values.shape)
            x, y = np.meshgrid(left + columns * (right - left), first + rows * (last - first))
            yield _cells(x, y, drawn)

    def _has_places(self) -> bool:
        """Whether a reader can tell which row or column of a heat map is which."""
        return any(self._names) or len(self._axes.get_xticks()) + len(self._axes.get_yticks()) > 0

    def _line(self, drawn: Any) -> Iterator[Part]:
        xy, inside = drawn.get_xydata(), self._in_data(drawn)
        if not all(inside):
            yield from self._across(drawn, inside, xy)
            return
        xy = xy[np.isfinite(xy).all(axis=1)]
        for side in (0, 1):
            if (
                len(xy) == 2
                and xy[0, 1 - side] == xy[1, 1 - side]
                and self._at_one_name(side, *xy[:, [side]])
            ):
                xy = xy.mean(axis=0, keepdims=True)
        joined = len(xy) > 1 and drawn.get_linestyle() != "None"
        yield {"series": self._series(drawn), "x": xy[:, 0], "y": xy[:, 1], "line": joined}

    def _rectangle(self, drawn: Any) -> Iterator[Part]:
        """A band through the panel; others frame what is there."""
        inside = self._in_data(drawn)
        if not all(inside):
            yield from self._across(drawn, inside, drawn.get_bbox().get_points())

    def _across(self, drawn: Any, inside: Sequence[bool], xy: np.ndarray) -> Iterator[Part]:
        """A line or band through the whole panel; one without a name only parts what is there."""
        side = inside.index(True) if any(inside) else 0
        ends, series = np.unique(xy[:, side]), self._series(drawn)
        if any(inside) and (series or not (self._names[side] or self._axes.images)):
            one = self._at_one_name(side, ends[:1], ends[-1:])
            yield {"series": series, SIDES[side]: ends.mean(keepdims=True) if one else ends}

    def _steps(self, drawn: Any) -> Iterator[Part]:
        values, edges, _ = drawn.get_data()
        place, along = SIDES if drawn.orientation == "vertical" else SIDES[::-1]
        yield {"series": self._series(drawn), place: (edges[1:] + edges[:-1]) / 2, along: values}

    def _polygon(self, drawn: Any) -> Iterator[Part]:
        """As the outline of a histogram."""
        x, y = drawn.get_xy().T
        yield {"series": self._series(drawn), "x": x, "y": y, "line": True}

    def _in_data(self, drawn: Any) -> Sequence[bool]:
        """Whether x and y are data, and not shares of the axes."""
        return drawn.get_transform().contains_branch_seperately(self._axes.transData)

    def _texts(self) -> Iterator[Part]:
        """Texts at data; a number in a bar or a cell only says again what is there."""
        places = self._labelled_points()
        with_numbers = self._axes.images or any(
            isinstance(each, BarContainer) for each in self._axes.containers
        )
        for drawn in self._axes.texts:
            text, inside = one_line(drawn.get_text()), self._in_data(drawn)
            place = places.get(drawn, drawn.get_position())
            if isinstance(drawn, Annotation):
                place, inside = drawn.xy, [drawn.xycoords == "data"] * 2
            elif drawn not in places and with_numbers and _is_number(text):
                continue
            axes = (self._axes.xaxis, self._axes.yaxis)
            at = [float(axis.convert_units(one)) for axis, one in zip(axes, place, strict=True)]
            if (
                text
                and any(inside)
                and all(data or 0 <= one <= 1 for one, data in zip(at, inside, strict=True))
            ):
                given = zip(SIDES, at, inside, strict=True)
                yield {"text": text} | {side: np.array([one]) for side, one, data in given if data}

    def _labelled_points(self) -> dict[Any, np.ndarray]:
        """Points of the names that ``label_points`` has written, from its lines to them."""
        names = [text for text in self._axes.texts if not text.get_in_layout()]
        for line in self._axes.lines:
            xy = line.get_xydata()
            if names and len(xy) == 3 * len(names) and np.isnan(xy[2::3]).all():
                self._read.add(line)
                return dict(zip(names, xy[::3], strict=True))
        return {}


_READERS = {
    FillBetweenPolyCollection: _Panel._band,
    LineCollection: _Panel._segments,
    QuadMesh: _Panel._mesh,
    PathCollection: _Panel._points,
    PolyCollection: _Panel._points,
    Line2D: _Panel._line,
    Rectangle: _Panel._rectangle,
    StepPatch: _Panel._steps,
    Polygon: _Panel._polygon,
    AxesImage: _Panel._image,
}


def _length(part: Part) -> int:
    return max((len(part[side]) for side in SIDES if side in part), default=0)


def _paths(drawn: Any, *, known: bool) -> list[np.ndarray]:
    """Corners of lines; where ``known``, of those that are drawn."""
    paths = [np.asarray(path.vertices) for path in drawn.get_paths()]
    return [path for path in paths if not known or np.isfinite(path).all()]


def _between(start: np.ndarray, end: np.ndarray) -> Part:
    return {"low": np.minimum(start, end), "high": np.maximum(start, end)}


def _range(values: np.ndarray) -> Part:
    return {"low": values.min(), "high": values.max()}


def _masked(drawn: Any) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(drawn.get_array(), np.float64), np.nan).ravel()


def _cells(x: np.ndarray, y: np.ndarray, drawn: Any) -> Part:
    values = _masked(drawn)
    known = np.isfinite(values)
    places = {side: at.ravel()[known] for side, at in zip(SIDES, (x, y), strict=True)}
    return places | {"value": values[known], "value_label": _color_label(drawn)}


def _color_label(drawn: Any) -> str:
    if not drawn.colorbar:
        return ""
    return one_line(drawn.colorbar.ax.get_ylabel() or drawn.colorbar.ax.get_xlabel())


def _is_number(text: str) -> bool:
    return text.lstrip("−-+").rstrip("% ").replace(".", "", 1).replace(",", "").isdigit()


def _number_lines(parts: Sequence[Part]) -> None:
    lines = [part for part in parts if part.get("line")]
    alike = Counter(part["series"] for part in lines)
    so_far: Counter[str] = Counter()
    for part in lines:
        name = part["series"]
        so_far[name] += 1
        if alike[name] > 1:
            part["series"] = f"{name or 'line'} {so_far[name]}"


def _write_at_point(text: Part, parts: Sequence[Part]) -> bool:
    """Whether there is a point where the text is, which from now on bears it."""
    for part in parts:
        if not all(side in part and side in text for side in SIDES):
            continue
        at = np.flatnonzero(np.logical_and(*(_near(part[side], text[side][0]) for side in SIDES)))
        written = part.get("text", np.full(_length(part), "", dtype=object))
        if len(at) and not written[at[0]]:
            written[at[0]] = text["text"]
            part["text"] = written
            return True
    return False


def _near(values: np.ndarray, place: float) -> np.ndarray:
    """Where values are a place, but for what the way there by pixels adds."""
    return np.abs(values - place) <= 1e-6 * abs(place) + 1e-9 * np.ptp(values)


def _as_table(parts: Sequence[Part]) -> pd.DataFrame:
    called = {name: name for name in _COLUMNS if any(name in part for part in parts)}
    if len({part["panel"] for part in parts}) < 2:
        called.pop("panel", None)
    for name in filter(called.__contains__, _LABELED):
        labels = {part.get(f"{name}_label", "") for part in parts}
        label = labels - {""} if name == "value" else labels
        if len(label) == 1 and label.isdisjoint({"", *called.values()}):
            called[name] = label.pop()
            del called[f"{name}_label"]
    columns = {title: _column(name, parts) for name, title in called.items()}
    return pd.DataFrame(
        {title: held for title, held in columns.items() if (held.notna() & (held != "")).any()}
    )


def _column(name: str, parts: Sequence[Part]) -> pd.Series:
    blank = np.nan if name in _NUMBERS else ""
    given = [(np.asarray(part.get(name, blank)), max(_length(part), 1)) for part in parts]
    column = np.concatenate([np.broadcast_to(one, n) for one, n in given])
    if column.dtype.kind == "U":
        return pd.Series(column.astype(object))
    return pd.Series(
        [float(f"{each:.6g}") + 0.0 if isinstance(each, float) else each for each in column.tolist()]
    )
